"""The field of the same size to the North-East of the image: a factor turns the visibilities towards it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: In steps of 1/256 of a turn.
ROTATIONS = np.exp(2j * np.pi * (np.arange(256) + 0.5) / 256).astype(np.complex64)


def rotation_beside(uvw: NDArray[np.float64], shape: tuple[int, int], cell: float) -> NDArray[np.complex64]:
    """What turns each visibility towards the next field to the North-East, (n,).

    Args:
        uvw: (n, 3), wavelengths.
        shape: (ny, nx) of the image.
        cell: size of a pixel, radians.
    """
    ny, nx = shape
    return np.exp(-2j * np.pi * cell * (nx * uvw[:, 0] + ny * uvw[:, 1])).astype(np.complex64)


def turns_of(rotation: NDArray[np.complexfloating]) -> NDArray[np.uint8]:
    """The nearest of `ROTATIONS`, which takes an eighth of the memory."""
    return np.floor(np.angle(rotation) / (2 * np.pi) * ROTATIONS.size).astype(np.int64).astype(np.uint8)
