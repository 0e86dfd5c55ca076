"""What a finished image tells of its data and of the call: judgements, and the warnings that follow from them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.engine.solver import Progress

#: Below zero, in units of the noise: no noise does that in an image of 1e6 beams.
DEEP = 5.0
#: Of the primary beam: outside of this the image is no field.
FIELD = 0.2
#: A run that was ended by one of these may have left sidelobes of what it has not modelled yet.
EARLY = (StopCode.ITERATION_LIMIT, StopCode.MAJOR_LIMIT, StopCode.THRESHOLD, StopCode.NSIGMA, StopCode.DIVERGED)


class Hole(NamedTuple):
    """Where a residual is deepest below zero."""

    depth: float  # in units of the noise
    channel: int
    stokes: int
    y: int
    x: int


def deepest_hole(residual: Image, noise: NDArray[np.floating], beam: Image) -> Hole | None:
    """The deepest pixel within the field, if it is more than `DEEP` times the noise below zero.

    Args:
        residual: (channel, stokes, ny, nx), Jy/beam, with even noise.
        noise: (channel, stokes), Jy/beam; infinite for planes without data.
        beam: primary beam, (channel or 1, stokes or 1, ny, nx).
    """
    in_noise = np.where(beam > FIELD, residual / noise[..., None, None], 0)
    channel, stokes, y, x = np.unravel_index(int(in_noise.argmin()), in_noise.shape)
    depth = -float(in_noise[channel, stokes, y, x])
    return Hole(depth, int(channel), int(stokes), int(y), int(x)) if depth > DEEP else None


def warn_of_negative_sky(
    progress: Progress, noise: NDArray[np.floating], beam: Image, positive: NDArray[np.bool_], remedy: str
) -> None:
    """Name the deepest hole that a model without negative brightness has left.

    Args:
        progress: how the run ended.
        noise: (channel or 1, stokes), Jy/beam.
        beam: primary beam, (channel or 1, stokes or 1, ny, nx).
        positive: whether the model was kept from being negative, (stokes,).
        remedy: what to call the task with where the sky is negative.
    """
    if progress.stop in EARLY or progress.residual is None or not positive.any():
        return
    hole = deepest_hole(progress.residual[: len(noise)], np.where(positive, noise, np.inf), beam)
    if hole is None:
        return
    channel = f" in channel {hole.channel}" if len(noise) > 1 else ""
    casalog.post(
        f"the residual is {hole.depth:.1f} times the noise below zero at pixel [{hole.x}, {hole.y}]{channel}, where "
        f"the model may not be negative; if the sky is (absorption, the Sunyaev-Zel'dovich effect), use {remedy}",
        "WARN",
        "warnings_at_end",
    )
