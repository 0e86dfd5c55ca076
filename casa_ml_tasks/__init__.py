"""CASA tasks for imaging beyond CLEAN.

Called like tclean, from the CASA prompt or from Python:

    from casa_ml_tasks import rmlclean
    rmlclean(vis="my.ms", imagename="my", imsize=512, cell="0.05arcsec")
"""

from casa_ml_tasks.casa_environment import configure_casa

configure_casa()

from casa_ml_tasks.wrappers.rmlclean import rmlclean  # noqa: E402  (casatools must find its configuration set)

__all__ = ["rmlclean"]
