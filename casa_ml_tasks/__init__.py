"""CASA tasks for imaging beyond CLEAN.

Called like tclean, from the CASA prompt or from Python:

    from casa_ml_tasks import rmlclean
    rmlclean(vis="my.ms", imagename="my", imsize=512, cell="0.05arcsec")

rmlclean gives the most probable image, resolveimage the posterior: samples of the sky, their mean and its uncertainty.
"""

from casa_ml_tasks.casa_environment import configure_casa

configure_casa()

# casatools must find its configuration set.
from casa_ml_tasks.wrappers.resolveimage import resolveimage  # noqa: E402
from casa_ml_tasks.wrappers.rmlclean import rmlclean  # noqa: E402

__all__ = ["resolveimage", "rmlclean"]
