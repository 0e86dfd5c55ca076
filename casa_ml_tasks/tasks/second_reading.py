"""How a task reads the visibilities again that its major cycle does not hold, to compare them with a model."""

from __future__ import annotations

from casa_ml_tasks.calibration.residual_statistics import SecondReading
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import read_direction
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.engine.protocols import MajorCycle
from casa_ml_tasks.request.request import Request


def second_reading(major: MajorCycle, request: Request, data: Survey) -> SecondReading | None:
    """Return how to read the visibilities again; None where F is more than a Fourier transform of Stokes I.

    Args:
        major: has the images.
        request: of the task.
        data: the survey.
    """
    grid = request.grid
    if grid.oblong or not request.gridding.single_pointing or not grid.one_image:
        return None
    if request.outlierfile or grid.planes[0] != "I":
        return None
    image = major.product("psf")
    frame = ImageFrame(*read_direction(image), tracks=grid.tracks)
    return SecondReading(request.selection.selections, frame, grid.cell, data.visibilities)
