"""CASA tasks for imaging beyond CLEAN.

Called like tclean, from the CASA prompt or from Python:

    from casa_ml_tasks import rmlclean
    rmlclean(vis="my.ms", imagename="my", imsize=512, cell="0.05arcsec")

rmlclean gives the most probable image, resolveimage the posterior: samples of the sky, their mean and its uncertainty;
jointdeconv explains mosaics of several arrays and single-dish maps by one image.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from casa_ml_tasks.casa_environment import configure_casa
from casa_ml_tasks.version import __version__

if TYPE_CHECKING:
    from casa_ml_tasks.wrappers.jointdeconv import jointdeconv
    from casa_ml_tasks.wrappers.resolveimage import resolveimage
    from casa_ml_tasks.wrappers.rmlclean import rmlclean

__all__ = ["__version__", "jointdeconv", "resolveimage", "rmlclean"]

configure_casa()


def __getattr__(name: str) -> Any:
    """A task, imported when it is asked for: casatools begins its log where it is imported."""
    if name not in ("jointdeconv", "resolveimage", "rmlclean"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"casa_ml_tasks.wrappers.{name}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
