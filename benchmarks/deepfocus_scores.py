"""How detections in one plane compare with the truth, one to one.

Boxes enclose ellipses of 2 sigma; axes below half a beam count as half a beam, because nothing measures them. A source
is complete where a box overlaps its own by an intersection over union of 0.6, each box used once. Sources below a
signal-to-noise ratio of 3 do not count as missed, nor what finds them as wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from casa_ml_tasks.sources.gaussians import Gaussians

IOU = 0.6
FAINTEST = 3.0  # S/N of sources that count
BINS = ((3.0, 6.0), (6.0, 12.0), (12.0, 30.0), (30.0, np.inf))
ELONGATED = 0.7  # axis ratio below which the position angle counts
WITHIN_ANGLE = np.radians(9)
WITHIN_FLUX = 0.1
LEAST_AXIS = 0.5  # beams


@dataclass(frozen=True)
class Truth:
    """The true sources of a plane.

    Attributes:
        gaussians: of the same second moments, pixels; their fluxes are those of the mean over the channels, Jy.
        snr: of the peaks in the dirty mean over the channels, (source,).
    """

    gaussians: Gaussians
    snr: NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """What a method has found in a plane.

    Attributes:
        boxes: x0, y0, x1, y1, pixels, (source, 4).
        gaussians: shapes, with their fluxes in the mean over the channels; None of a method that finds boxes alone.
        flux_error: of these fluxes, (source,).
        probability: that the method states, (source,).
    """

    boxes: NDArray[np.float64]
    gaussians: Gaussians | None = None
    flux_error: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    probability: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def centres(self) -> NDArray[np.float64]:
        """x and y, (source, 2)."""
        if self.gaussians is None:
            return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        return np.column_stack([self.gaussians.x, self.gaussians.y])

    def grown(self, factor: float) -> Detections:
        """Return the boxes with their sides times a factor."""
        middle, half = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2, (self.boxes[:, 2:] - self.boxes[:, :2]) / 2
        return replace(self, boxes=np.hstack([middle - factor * half, middle + factor * half]))


def boxes_of(gaussians: Gaussians, beam: float) -> NDArray[np.float64]:
    """Return the boxes of sources, (source, 4). beam: mean FWHM, pixels."""
    least = LEAST_AXIS * beam
    floored = replace(gaussians, major=np.maximum(gaussians.major, least), minor=np.maximum(gaussians.minor, least))
    return floored.boxes()


def overlaps(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes, (one, other)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=-1)
    area = [(each[:, 2:] - each[:, :2]).prod(axis=-1) for each in (one, other)]
    return both / (area[0][:, None] + area[1] - both)


def paired(score: NDArray[np.float64], least: float) -> NDArray[np.intp]:
    """Return the partner of each row, one to one and as many as possible, -1 without, (row,).

    Args:
        score: (row, column); the higher the better.
        least: score of a pair.
    """
    partner = np.full(len(score), -1)
    good = score >= least
    # A pair more is worth more than any gain in the scores of the others.
    rows, columns = linear_sum_assignment(-np.where(good, 1 + score / (1 + np.abs(score).max(initial=0)) / 1e3, 0))
    kept = good[rows, columns]
    partner[rows[kept]] = columns[kept]
    return partner


def near(one: NDArray[np.float64], other: NDArray[np.float64], distance: float) -> NDArray[np.intp]:
    """Return the partner of each place within a distance, one to one, -1 without. Places are (place, 2)."""
    return paired(-np.hypot(*(one[:, None] - other[None]).transpose(2, 0, 1)), -distance)


@dataclass
class Scores:
    """Counts over planes. Lists hold one array for each plane."""

    snr: list[NDArray[np.float64]] = field(default_factory=list)
    complete: list[NDArray[np.bool_]] = field(default_factory=list)
    centred: list[NDArray[np.bool_]] = field(default_factory=list)
    unmatched: list[NDArray[np.bool_]] = field(default_factory=list)
    spurious: list[NDArray[np.bool_]] = field(default_factory=list)
    probability: list[NDArray[np.float64]] = field(default_factory=list)
    excess: int = 0
    matches: list[NDArray[np.float64]] = field(default_factory=list)  # (match, S/N, flux error, pull, angle, ratio)
    seconds: float = 0.0
    planes: int = 0

    def add(self, truth: Truth, found: Detections, beam: float, seconds: float) -> None:
        """Count one plane.

        Args:
            truth: of the plane.
            found: in it.
            beam: mean FWHM, pixels.
            seconds: of CPU, that the method took.
        """
        true_boxes = boxes_of(truth.gaussians, beam)
        places = np.column_stack([truth.gaussians.x, truth.gaussians.y])
        partner = paired(overlaps(true_boxes, found.boxes), IOU)
        counts = truth.snr >= FAINTEST
        self.snr.append(truth.snr[counts])
        self.complete.append(partner[counts] >= 0)
        self.centred.append(near(places, found.centres, beam / 2)[counts] >= 0)
        inside = np.all(
            (places[:, None] > found.boxes[None, :, :2] - beam / 2)
            & (places[:, None] < found.boxes[None, :, 2:] + beam / 2),
            axis=-1,
        )
        taken = np.isin(np.arange(len(found.boxes)), partner)
        self.unmatched.append(~taken)
        self.spurious.append(~inside.any(axis=0) & ~taken)
        self.probability.append(found.probability)
        self.excess += max(len(found.boxes) - len(truth.snr), 0)
        if found.gaussians is not None:
            self.matches.append(_compared(truth, found, partner))
        self.seconds += seconds
        self.planes += 1

    def share(self, what: str, low: float = FAINTEST, high: float = np.inf) -> float:
        """Return the share of the true sources with S/N from low to high that are 'complete' or 'centred'."""
        snr, hit = np.concatenate(self.snr), np.concatenate(getattr(self, what))
        chosen = (snr >= low) & (snr < high)
        return float(hit[chosen].mean()) if chosen.any() else np.nan

    @property
    def found(self) -> int:
        """Detections."""
        return sum(map(len, self.unmatched))

    def of_matches(self, low: float) -> NDArray[np.float64]:
        """Return flux error, pull, angle error and axis ratio of matches with S/N from low, (match, 4)."""
        every = np.concatenate(self.matches) if self.matches else np.zeros((0, 5))
        return every[every[:, 0] >= low, 1:]


def _compared(truth: Truth, found: Detections, partner: NDArray[np.intp]) -> NDArray[np.float64]:
    """S/N, relative flux error, pull, error of the position angle and true axis ratio of all pairs, (pair, 5)."""
    assert found.gaussians is not None
    rows = []
    for number in np.flatnonzero((partner >= 0) & (truth.snr >= FAINTEST)):
        match = partner[number]
        flux = truth.gaussians.flux[number]
        error = found.gaussians.flux[match] - flux
        turn = found.gaussians.angle[match] - truth.gaussians.angle[number]
        turn = abs((turn + np.pi / 2) % np.pi - np.pi / 2)
        ratio = truth.gaussians.minor[number] / truth.gaussians.major[number]
        rows.append((truth.snr[number], error / flux, error / found.flux_error[match], turn, ratio))
    return np.array(rows, float).reshape(-1, 5)
