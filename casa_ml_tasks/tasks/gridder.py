"""Which program runs the major cycles: our own kernels where they serve, or CASA's imager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casa_ml_tasks.data.input_checks import NATIVE_SPECMODES, SINGLE_POINTING, cells_in_arcsec
from casa_ml_tasks.data.measurement_set import TOTAL_INTENSITY
from casa_ml_tasks.data.workspace import taylor_terms
from casa_ml_tasks.major.cube_channels import needs_interpolation


def with_gridder(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with gridder='native' where our kernels make the image that is asked for.

    Args:
        parameters: of a task; imager='casa' leaves them as they are.
    """
    ours = parameters["imager"] == "auto" and our_kernels_serve(parameters)
    return {**parameters, "gridder": "native"} if ours else dict(parameters)


def our_kernels_serve(parameters: Mapping[str, Any]) -> bool:
    """Return whether nothing is asked for that only CASA's imager has.

    Raises:
        ValueError: `cell` is no pixel size; or of a cube, a selection selects nothing, or CASA makes no channels of it.
    """
    return (
        parameters["gridder"] in SINGLE_POINTING
        and parameters["specmode"] in NATIVE_SPECMODES
        and parameters["stokes"] in TOTAL_INTENSITY
        and parameters["projection"] == "SIN"
        and parameters["facets"] == 1
        and not parameters["outlierfile"]
        and not taylor_terms(parameters)
        and len(set(cells_in_arcsec(parameters["cell"]))) == 1
        and (parameters["gridder"] == "native" or not needs_interpolation(parameters))
    )
