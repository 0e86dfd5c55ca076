"""casatools' synthesisimager: its reading of a task's parameters, and an open one for the images of all fields."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from casa_ml_tasks.casa_compat import ImagerParameters, PySynthesisImager
from casa_ml_tasks.request.grid import CONTINUUM, cell_with_unit

#: Names that tclean's parameters have inside CASA's imager.
_IMAGER_NAMES = {
    "vis": "msname",
    "timerange": "timestr",
    "uvrange": "uvdist",
    "observation": "obs",
    "intent": "state",
    "gain": "loopgain",
    "smallscalebias": "scalebias",
}


def deconvolution_parameters(parameters: Mapping[str, Any], imagename: str | Path) -> tuple[dict, dict]:
    """What casatools' deconvolver and iteration control want to know, for images under `imagename`."""
    translated = imager_parameters(parameters, imagename)
    return translated.getDecPars()["0"], translated.getIterPars()


def imager_parameters(parameters: Mapping[str, Any], imagename: str | Path, **changes: Any) -> ImagerParameters:
    """tclean's reading of the task parameters, for products under another imagename."""
    renamed = {_IMAGER_NAMES.get(name, name): value for name, value in {**parameters, **changes}.items()}
    renamed |= {"imagename": str(imagename), "startmodel": "", "outlierfile": "", "restart": True}
    renamed["savemodel"] = changes.get("savemodel", "none")
    renamed |= {"parallel": False, "interactive": False, "cell": cell_with_unit(renamed["cell"])}
    if renamed["specmode"] in CONTINUUM:
        renamed |= {"specmode": "mfs", "perchanweightdensity": False}
    if "native" in (renamed["gridder"], renamed.get("imager")):
        renamed["gridder"] = "standard"
    renamed["mosweight"] = renamed["mosweight"] and renamed["gridder"] in ("mosaic", "awp2")
    known = inspect.signature(ImagerParameters.__init__).parameters
    return ImagerParameters(**{name: value for name, value in renamed.items() if name in known})


def open_imager(fields: Sequence[ImagerParameters], fieldofview: str = "") -> PySynthesisImager:
    """Return an imager of one or several fields, which has its Measurement Sets open.

    Args:
        fields: parameters of the main field, and of each outlier.
        fieldofview: in whose uv cells uniform and Briggs weights are counted; those of the main field by default.
    """
    main, *outliers = fields
    imager = PySynthesisImager(params=main)
    for number, each in enumerate(outliers, 1):
        imager.allimpars[str(number)] = each.getImagePars()["0"]
        imager.allgridpars[str(number)] = each.getGridPars()["0"]
        imager.alldecpars[str(number)] = each.getDecPars()["0"]
        imager.allnormpars[str(number)] = each.getNormPars()["0"]
    imager.NF = len(fields)
    if fieldofview:
        imager.weightpars["fieldofview"] = fieldofview
    imager.initializeImagers()
    imager.initializeNormalizers()
    return imager
