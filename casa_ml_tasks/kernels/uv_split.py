"""Splitting the visibilities into folds by where they are in the uv plane, for cross-validation.

Visibilities that are near each other say the same, and would give a held-out one away: whole cells of the uv plane go
to one fold. A visibility and its conjugate are in the same cell. The centre, which holds the total flux, stays out of
the game: no image can be asked to guess it. The cells are squares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELL = 1.0  # of the squares, in units of 1 / field of view: the distance at which visibilities become independent
CORE = 2.0  # inner radius, in the same units: what is nearer to the centre is never held out


def cells(uv: NDArray[np.floating], field_of_view: float) -> NDArray[np.integer]:
    """Return the square that each visibility is in, (n, 2). uv: (n, 2), wavelengths; field_of_view: radians."""
    return np.floor(_folded(uv) * (field_of_view / CELL)).astype(np.int64)


def folds(uv: NDArray[np.floating], field_of_view: float, count: int, seed: int = 1) -> NDArray[np.uint8]:
    """Return the fold of each visibility, (n,), below `count`, or `count` for the core.

    A cell is in one fold in any call.

    Args:
        uv: (n, 2), wavelengths.
        field_of_view: of the image, radians.
        count: number of folds.
        seed: another one deals the cells anew.
    """
    column, row = cells(uv, field_of_view).astype(np.uint64).T
    fold = (_scrambled(_scrambled(column + np.uint64(seed)) ^ row) % np.uint64(count)).astype(np.uint8)
    return np.where(np.hypot(uv[:, 0], uv[:, 1]) < CORE / field_of_view, np.uint8(count), fold)


def _scrambled(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers that look random: the finaliser of splitmix64 (Steele, Lea & Flood 2014)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _folded(uv: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return each visibility or its conjugate, whichever has u > 0, or v >= 0 on the axis."""
    conjugate = (uv[:, :1] < 0) | ((uv[:, :1] == 0) & (uv[:, 1:] < 0))
    return np.where(conjugate, -uv, uv)
