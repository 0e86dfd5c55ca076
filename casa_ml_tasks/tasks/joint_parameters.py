"""tclean's parameters as a joint image of pointings and maps takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from casa_ml_tasks.data.measurement_set import TOTAL_INTENSITY
from casa_ml_tasks.data.projections import HEALPIX
from casa_ml_tasks.request.grid import CONTINUUM
from casa_ml_tasks.request.values import as_list, listed
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.inference_parameters import without_clean

SPECMODES = (*CONTINUUM, "cubedata")
#: Strength of l1, which keeps emission from where no baseline measures its flux. Of arrays alone full l1 predicts
#: held-out visibilities of the Antennae best, and little l1 finds most flux of simulated clouds: this is between.
#: A map measures the flux itself; a little l1 keeps its noise from being taken for emission, which may not be negative.
L1_OF_ARRAYS, L1_BESIDE_A_DISH = 0.3, 0.03


def as_joint(arguments: Arguments, task: str) -> Arguments:
    """Return the arguments with what a joint image has in the place of tclean's choices; the CASA log names them.

    Raises:
        ValueError: what is asked for has no joint image.
    """
    taken = without_clean(arguments, task)
    values = taken.values
    stokes, specmode, terms = values["stokes"], values["specmode"], values["deconvolver"]
    if specmode not in SPECMODES:
        raise ValueError(
            f"specmode='{specmode}' interpolates between channels, which a joint image does not; use "
            "specmode='cubedata', and mstransform before if the channels should lie elsewhere"
        )
    if stokes not in TOTAL_INTENSITY:
        raise ValueError(f"stokes='{stokes}' has no joint image; use one of {', '.join(TOTAL_INTENSITY)}")
    if terms == "mtmfs":
        raise ValueError("deconvolver='mtmfs' has no joint image; use another deconvolver, or specmode='cubedata'")
    if "points" in listed(values["regularizer"]):
        raise ValueError(
            f"regularizer={values['regularizer']!r}: 'points' has no joint image; leave it out, point sources need none"
        )
    if vptable := values["vptable"]:
        raise ValueError(f"vptable='{vptable}' is not read; use '', for the known beams of ALMA's dishes and the VLA's")
    if outlierfile := values["outlierfile"]:
        raise ValueError(f"outlierfile='{outlierfile}' is not supported; use '' and a larger imsize")
    if values["inference"] == "posterior" and specmode not in CONTINUUM:
        raise ValueError(
            f"inference='posterior' serves one image, not specmode='{specmode}'; use inference='map', or one channel "
            "with specmode='mfs' and spw"
        )
    if values["savemodel"] == "virtual":
        raise ValueError("savemodel='virtual' cannot hold a sky without primary beam; use savemodel='modelcolumn'")
    if str(values["projection"]).upper() == HEALPIX:
        _check_healpix(values)
    strengths = _strengths(values["regularizer"], values["regstrength"], has_maps=bool(listed(values["sdimage"])))
    mosaic = {"gridder": "mosaic", "imager": "native", "normtype": "flatnoise", "conjbeams": False}
    return replace(taken, values={**values, **mosaic, "regstrength": strengths})


def _check_healpix(values: Mapping[str, Any]) -> None:
    """Check that nothing is asked for that needs the rows and columns of a rectangle."""
    for name in ("startmodel", "priorimage"):
        if given := "".join(listed(values[name])):
            raise ValueError(
                f"{name}='{given}' is not brought to the pixels of projection='HEALPIX'; leave it out, or use another "
                "projection"
            )
    if "edge_clamp" in listed(values["regularizer"]):
        raise ValueError(
            f"regularizer={values['regularizer']!r}: 'edge_clamp' has no edges with projection='HEALPIX'; leave it "
            "out, or use another projection"
        )


def _strengths(regularizer: Any, regstrength: Any, has_maps: bool) -> Any:
    """Return the strengths of the regularisers, also where they are left to the task."""
    l1 = L1_BESIDE_A_DISH if has_maps else L1_OF_ARRAYS
    return as_list(regstrength) or [l1 if name == "l1" else 1.0 for name in listed(regularizer)]
