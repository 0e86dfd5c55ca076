"""How a task reads the visibilities again that its major cycle does not hold, to compare them with a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casa_ml_tasks.calibration.residual_statistics import SecondReading
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import read_cell, read_direction
from casa_ml_tasks.data.directions import tracked
from casa_ml_tasks.data.input_checks import ARCSEC, CONTINUUM, SINGLE_POINTING, cells_in_arcsec
from casa_ml_tasks.data.measurement_set import selections
from casa_ml_tasks.data.stokes import stokes_planes
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.data.workspace import Workspace, taylor_terms
from casa_ml_tasks.engine.protocols import MajorCycle


def second_reading(
    major: MajorCycle, workspace: Workspace, parameters: Mapping[str, Any], data: Survey
) -> SecondReading | None:
    """Return how to read the visibilities again; None where F is more than a Fourier transform of Stokes I.

    Args:
        major: has the images.
        workspace, parameters: of the task.
        data: the survey.
    """
    oblong = len(set(cells_in_arcsec(parameters["cell"]))) > 1
    if oblong or parameters["gridder"] not in SINGLE_POINTING or parameters["specmode"] not in CONTINUUM:
        return None
    if workspace.outliers or taylor_terms(parameters) or stokes_planes(parameters["stokes"])[0] != "I":
        return None
    image = major.product("psf")
    frame = ImageFrame(*read_direction(image), tracks=tracked(parameters["phasecenter"]))
    return SecondReading(selections(parameters), frame, read_cell(image) * ARCSEC, data.visibilities)
