"""Narrow annuli of the uv plane, in which visibilities are summed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

ANNULI = 4096  # 0.3 % wide each
DECADES = 5  # that they span


def longest_on_grid(cell: float) -> float:
    """The uv distance, wavelengths, of the corner of a grid for pixels of `cell` radians."""
    return math.sqrt(0.5) / cell


def annulus_edges(longest: float) -> NDArray[np.float64]:
    """(ANNULI + 1,), wavelengths: 0, then evenly spaced in the logarithm up to `longest`."""
    edges = longest * np.logspace(-DECADES, 0, ANNULI + 1)
    edges[0] = 0
    return edges


def annulus_of(uvw: NDArray[np.float64], longest: float) -> NDArray[np.uint16]:
    """The annulus, (n,), of each of (n, 3) baselines, wavelengths."""
    with np.errstate(divide="ignore"):
        decades = np.log10(uvw[:, 0] ** 2 + uvw[:, 1] ** 2) / 2 - math.log10(longest)
    return np.clip(ANNULI * (1 + decades / DECADES), 0, ANNULI - 1).astype(np.uint16)
