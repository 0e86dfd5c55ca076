"""Which Measurement Sets are one array that observed a mosaic in parts, such as a Measurement Set for each pointing.

Their flux scales cannot be compared: they see different parts of the sky. So they are one data set, which is compared
with others. Measurement Sets that share a pointing, such as two configurations of an array or two executions of a
mosaic, stay data sets of their own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAME_POINTING = 0.2  # of the radius of half power
SAME_ARRAY = 2.0  # ratio of the longest baselines, which are shorter where the source is low


@dataclass(frozen=True)
class Coverage:
    """Where and with which antennas a Measurement Set was observed.

    Attributes:
        name: of the Measurement Set.
        dishes: what its primary beams are told apart by.
        pointings: l and m, radians, (pointing, 2).
        half_power: smallest radius at which a primary beam is at half of its peak, radians.
        longest: uv distance, wavelengths.
    """

    name: str
    dishes: frozenset[Hashable]
    pointings: NDArray[np.floating]
    half_power: float
    longest: float

    def __or__(self, other: Coverage) -> Coverage:
        """Return the coverage of two parts of one Measurement Set."""
        return Coverage(
            self.name,
            self.dishes | other.dishes,
            np.concatenate([self.pointings, other.pointings]),
            min(self.half_power, other.half_power),
            max(self.longest, other.longest),
        )

    def shares_pointing(self, other: Coverage) -> bool:
        """Whether a pointing of one is a pointing of the other."""
        apart = np.linalg.norm(self.pointings[:, None] - other.pointings, axis=-1)
        return bool(apart.min() < SAME_POINTING * min(self.half_power, other.half_power))

    def is_more_of(self, other: Coverage) -> bool:
        """Whether both can be parts of one mosaic by one array."""
        ratio = max(self.longest, other.longest) / min(self.longest, other.longest)
        return self.dishes == other.dishes and ratio < SAME_ARRAY and not self.shares_pointing(other)


def arrays_of(sets: Sequence[Coverage]) -> dict[str, str]:
    """Return the name of the data set that each Measurement Set is in, by its own name.

    A Measurement Set is more of the first data set with which it shares no pointing; else it begins another one.
    """
    arrays: list[list[Coverage]] = []
    for each in sets:
        for array in arrays:
            if all(each.is_more_of(other) for other in array):
                array.append(each)
                break
        else:
            arrays.append([each])
    return {each.name: _name(array) for array in arrays for each in array}


def _name(array: Sequence[Coverage]) -> str:
    first, *others = (each.name for each in array)
    return f"{first} and {len(others)} more" if others else first
