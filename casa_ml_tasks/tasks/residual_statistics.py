"""What a model leaves of the visibilities, by uv distance, whatever program runs the major cycles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics, read_residuals
from casa_ml_tasks.data.casa_image import read_cell, read_direction
from casa_ml_tasks.data.directions import tracked
from casa_ml_tasks.data.input_checks import ARCSEC, CONTINUUM, SINGLE_POINTING, cells_in_arcsec
from casa_ml_tasks.data.measurement_set import selections
from casa_ml_tasks.data.stokes import stokes_planes
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.data.workspace import Workspace, taylor_terms
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.major.native import NativeMajorCycle

MOST_COMPARED = 1 << 20  # visibilities with the model, where they have to be read for it


def residual_statistics(
    major: CasaMajorCycle,
    model: Image,
    scale: float,
    visibilities: int,
    workspace: Workspace,
    parameters: Mapping[str, Any],
) -> ResidualStatistics | None:
    """What the model leaves unexplained, by uv distance; None where F is more than a Fourier transform of Stokes I.

    Our own major cycle has the visibilities. For CASA's they are read once more; of many, a random sample is enough for
    errors far below a percent.

    Args:
        major: made the images.
        model: (channel or term, stokes, ny, nx), Jy/pixel.
        scale: true noise over the noise that the weights of the major cycle claim.
        visibilities: how many are selected.
        workspace, parameters: of the task.
    """
    if isinstance(major, NativeMajorCycle):
        return major.residual_visibilities(model).statistics(scale)
    oblong = len(set(cells_in_arcsec(parameters["cell"]))) > 1
    if oblong or parameters["gridder"] not in SINGLE_POINTING or parameters["specmode"] not in CONTINUUM:
        return None
    if workspace.outliers or taylor_terms(parameters) or stokes_planes(parameters["stokes"])[0] != "I":
        return None
    image = major.product("residual")
    frame = ImageFrame(*read_direction(image), tracks=tracked(parameters["phasecenter"]))
    cell = read_cell(image) * ARCSEC
    share = min(1.0, MOST_COMPARED / visibilities)
    sums = read_residuals(selections(parameters), frame, model[0, 0], cell, share)
    return sums.statistics(scale) if sums.count.any() else None
