"""Stages of the ALMA pipeline: our imaging tasks in a recipe, beside hif_makeimages.

    import casa_ml_tasks.pipeline
    casa_ml_tasks.pipeline.register()

adds hifx_rmlclean and hifx_resolveimage to the pipeline of this process. The pipeline is not needed to import this
package: only `register` imports it.
"""

from pathlib import Path

#: A recipe from calibrated data to exported images with both stages, for `pipeline.recipereducer.reduce`.
RECIPE = Path(__file__).parent / "recipes" / "procedure_hifx_image.xml"


def register() -> None:
    """Add the stages to the pipeline of this process; once more does no harm.

    Raises:
        ImportError: the pipeline is not installed.
    """
    from casa_ml_tasks.pipeline import plugin

    plugin.add_stages()
