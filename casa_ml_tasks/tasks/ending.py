"""How a run ended, and what its residual tells: judgements, from which the warnings at the end follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from casa_ml_tasks.calibration.calibration_errors import CalibrationErrors
from casa_ml_tasks.calibration.error_step import SHORTEST
from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.engine.solver import Progress

#: Below zero, in units of the noise: no noise does that in an image of 1e6 beams.
DEEP = 5.0
#: A hole in the sky is deeper than the residual is high, by this factor.
DEEPER_THAN_HIGH = 1.5
#: Depth of what errors of calibration leave, over their fraction of the visibilities times the brightest dirty pixel.
ARTEFACTS = 0.5
#: Of the primary beam: outside of this the image is no field.
FIELD = 0.2
#: A residual is more than thermal noise from this factor plus so many errors of it, which matter where beams are few.
EXCESS, SURE = 1.3, 3.0
#: A bin of uv distance has more than noise from so many errors of its reduced chi^2 on.
LOUD = 5.0
#: Of the largest value that noise would reach, for a single pixel.
EXCESS_OF_PEAK = 1.5


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        progress: of the main field.
        noise: with errors of calibration, (channel, stokes), Jy/beam; infinite for planes without data.
        thermal: noise without, (channel, stokes), Jy/beam.
        calibration: errors of calibration that `noise` includes.
        beside: r.m.s. of the residual in the field next to the image, (channel, stokes), Jy/beam; None where it is not
            known.
        visibilities: residuals by uv distance; None where they are not known.
        primary_beam: (channel or 1, stokes or 1, ny, nx).
        beam_areas: of the CLEAN beams, (channel,), pixels.
    """

    progress: Progress
    noise: NDArray[np.floating]
    thermal: NDArray[np.floating]
    calibration: CalibrationErrors
    beside: NDArray[np.floating] | None
    visibilities: ResidualStatistics | None
    primary_beam: Image
    beam_areas: NDArray[np.floating]


class Hole(NamedTuple):
    """Where a residual is deepest below zero."""

    depth: float  # in units of the noise
    channel: int
    stokes: int
    y: int
    x: int


def deepest_hole(residual: Image, noise: NDArray[np.floating], beam: Image) -> Hole | None:
    """The deepest pixel within the field, if it is more than `DEEP` times the noise below zero.

    What errors of calibration leave is about as high as it is deep; a sky that is negative is not.

    Args:
        residual: (channel, stokes, ny, nx), Jy/beam, with even noise.
        noise: (channel, stokes), Jy/beam; infinite for planes without data.
        beam: primary beam, (channel or 1, stokes or 1, ny, nx).
    """
    in_noise = np.where(beam > FIELD, residual / noise[..., None, None], 0)
    channel, stokes, y, x = np.unravel_index(int(in_noise.argmin()), in_noise.shape)
    depth = -float(in_noise[channel, stokes, y, x])
    if depth < max(DEEP, DEEPER_THAN_HIGH * float(in_noise.max())):
        return None
    return Hole(depth, int(channel), int(stokes), int(y), int(x))


def artefacts(ending: Ending) -> float:
    """How deep errors of calibration may make the residual around the brightest source, Jy/beam."""
    assert ending.progress.dirty is not None
    return ARTEFACTS * ending.calibration.fraction * float(ending.progress.dirty.max())


@dataclass(frozen=True)
class Excess:
    """A residual image in units of the thermal noise; noise alone has 1, and a peak of four or five.

    Attributes:
        deviation: standard deviation in the field, of the worst plane.
        peak: largest modulus in the field, of the worst plane.
        beside: root mean square in the next field, where nothing is modelled; None where it is not known.
        beams: solid angles of the beam in the field.
    """

    deviation: float
    peak: float
    beside: float | None
    beams: float

    def __bool__(self) -> bool:
        """Whether it is more than noise."""
        least = EXCESS + SURE / np.sqrt(2 * self.beams)
        expected_peak = float(norm.isf(0.5 * (1 - 0.5 ** (1 / self.beams))))
        return bool(
            max(self.deviation, self.beside or 0.0) > least or self.peak > max(EXCESS_OF_PEAK * expected_peak, DEEP)
        )

    def sentence(self) -> str:
        """For the log."""
        beside = "" if self.beside is None else f", and {self.beside:.2g} times beside the image"
        return (
            f"the residual is {self.deviation:.2g} times the thermal noise in the image (peak {self.peak:.2g}){beside}"
        )


def excess_of(ending: Ending) -> Excess | None:
    """Compare the residual image with the thermal noise; None where no plane has data in its field."""
    if ending.progress.residual is None:
        return None
    thermal, beside, planes = ending.thermal, ending.beside, []
    residual = ending.progress.residual[: len(thermal)]
    field = np.broadcast_to(ending.primary_beam > FIELD, residual.shape)
    for channel, stokes in np.argwhere(np.isfinite(thermal)):
        in_noise = residual[channel, stokes][field[channel, stokes]] / thermal[channel, stokes]
        if in_noise.size > 1:
            planes.append(
                (float(in_noise.std()), float(np.abs(in_noise).max()), in_noise.size / ending.beam_areas[channel])
            )
    if not planes:
        return None
    deviations, peaks, beams = zip(*planes, strict=True)
    seen = np.isfinite(thermal)
    next_field = None if beside is None else float(np.max(beside[seen] / thermal[seen]))
    return Excess(max(deviations), max(peaks), next_field, max(float(np.median(beams)), 1.0))


def shortest_alone(ending: Ending) -> float | None:
    """Return the uv distance, wavelengths, up to which baselines cause all of an excess, if the shortest alone do.

    An image that lacks extended flux leaves a residual there. None where other baselines have one as well, or the field
    beside the image, or where that is not known.
    """
    visibilities, beside = ending.visibilities, ending.beside
    if visibilities is None or beside is None or ending.calibration:
        return None
    seen = np.isfinite(ending.thermal)
    is_loud = (visibilities.reduced_chi2 - 1) * np.sqrt(visibilities.count) > LOUD
    share_within = np.cumsum(visibilities.count) / np.sum(visibilities.count)
    is_short = share_within < 1.2 * SHORTEST  # bins of a twentieth each
    if not is_loud.any() or is_loud[~is_short].any() or np.max(beside[seen] / ending.thermal[seen]) > EXCESS:
        return None
    return float(visibilities.edges[1 + np.flatnonzero(is_loud)[-1]])
