"""CASA tasks for imaging beyond CLEAN.

Called like tclean, from the CASA prompt or from Python:

    from casa_ml_tasks import rmlclean
    rmlclean(vis="my.ms", imagename="my", imsize=512, cell="0.05arcsec")

rmlclean gives the most probable image, resolveimage the posterior: samples of the sky, their mean and its uncertainty;
jointdeconv explains mosaics of several arrays and single-dish maps by one image; deepfocus finds sources and their
lines.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from casa_ml_tasks.casa_environment import configure_casa
from casa_ml_tasks.version import __version__

if TYPE_CHECKING:
    from casa_ml_tasks.wrappers.deepfocus import deepfocus
    from casa_ml_tasks.wrappers.jointdeconv import jointdeconv
    from casa_ml_tasks.wrappers.resolveimage import resolveimage
    from casa_ml_tasks.wrappers.rmlclean import rmlclean

__all__ = ["__version__", "deepfocus", "jointdeconv", "resolveimage", "rmlclean"]
TASKS = frozenset(__all__[1:])

configure_casa()


def __getattr__(name: str) -> Any:
    """A task, imported when it is asked for: casatools begins its log where it is imported."""
    if name not in TASKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"casa_ml_tasks.wrappers.{name}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Names of tasks stay those of the tasks: `import casa_ml_tasks.deepfocus` would put its command line there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in TASKS or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
