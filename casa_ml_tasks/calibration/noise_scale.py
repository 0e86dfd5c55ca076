r"""The noise scale: true sigma over the nominal sigma = WEIGHT^-1/2 that the Measurement Set states.

Two measurements of the same visibility differ by noise alone, whatever the sky. Structure, polarisation and gain
errors can only add to a difference, so of several estimates the smallest is the best.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

LONGEST_GAP = 120.0  # s; over more, the sky itself turns through the fringe
MOST_DIFFERENCES = 2_000_000  # more make the estimate no better


class ScaleSource(StrEnum):
    """Where a noise scale comes from, as logs and reports name it."""

    HANDS = "XX-YY"
    NEIGHBOURS = "neighbouring integrations"
    WEIGHT = "WEIGHT as it is"


@dataclass(frozen=True)
class NoiseScale:
    """True sigma over nominal sigma, and which differences it was measured from."""

    value: float
    source: ScaleSource


def normalised_differences(
    first: NDArray[np.complexfloating],
    second: NDArray[np.complexfloating],
    first_variance: NDArray[np.floating],
    second_variance: NDArray[np.floating],
) -> NDArray[np.float64]:
    r"""Return $|V_1 - V_2|^2 / (\sigma_1^2 + \sigma_2^2)$: $s^2\chi^2$ with two degrees of freedom, s the noise scale.

    Args:
        first, second: visibilities of the same shape, Jy.
        first_variance, second_variance: nominal variances of the real (and of the imaginary) part, Jy^2.
    """
    return np.abs(first - second).astype(np.float64) ** 2 / (first_variance + second_variance)


def scale_of(differences: NDArray[np.float64]) -> float | None:
    r"""Return $s = \sqrt{\mathrm{median} / (2 \ln 2)}$; the median disregards outliers.

    Args:
        differences: what `normalised_differences` gave, any shape.

    Returns:
        The noise scale, dimensionless; None without differences, or where most are exactly zero (copied data).
    """
    median = float(np.median(differences)) if differences.size else 0.0
    return float(np.sqrt(median / (2 * np.log(2)))) if median > 0 else None


def smallest(hands: NDArray[np.float64], neighbours: NDArray[np.float64]) -> NoiseScale:
    """Return the smaller of the two estimates; 1 from WEIGHT where the data allow neither.

    Args:
        hands: normalised differences of the two parallel hands of a sample.
        neighbours: normalised differences of neighbouring integrations.
    """
    estimates = [
        NoiseScale(value, source)
        for source, differences in ((ScaleSource.HANDS, hands), (ScaleSource.NEIGHBOURS, neighbours))
        if (value := scale_of(differences)) is not None
    ]
    return min(estimates, key=lambda estimate: estimate.value, default=NoiseScale(1.0, ScaleSource.WEIGHT))


def neighbouring_integrations(
    streams: NDArray[np.integer], time: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows that observe the same thing one integration after the other.

    Args:
        streams: (key, row), what must agree: baseline, field, spectral window.
        time: (row,), seconds.

    Returns:
        Earlier and later row of each pair, less than LONGEST_GAP apart.
    """
    order = np.lexsort((time, *streams))
    same = (np.diff(streams[:, order], axis=1) == 0).all(axis=0)
    gap = np.diff(time[order])
    paired = np.flatnonzero(same & (gap > 0) & (gap < LONGEST_GAP))
    return order[paired], order[paired + 1]


class Thinned:
    """A collection of values that keeps an even spread of at most MOST_DIFFERENCES of them."""

    def __init__(self) -> None:
        self.values: NDArray[np.float64] = np.empty(0)
        self._stride = 1

    def add(self, values: NDArray[np.float64]) -> None:
        """Add values, (n,)."""
        self.values = np.concatenate([self.values, values[:: self._stride]])
        while self.values.size > MOST_DIFFERENCES:
            self.values = self.values[::2]
            self._stride *= 2
