"""The sky that a joint image is found on: larger than the image that is asked for, where a single dish sees more."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from casa_ml_tasks.data.casa_image import cut_middle, image_shape

#: Emission farther from the image than so many beams of the dish adds nothing to what the dish sees inside.
MARGIN = 2.0


def sky_shape(shape: tuple[int, int], reach: tuple[float, float], beam: float) -> tuple[int, int]:
    """Return the shape of the sky, (ny, nx), pixels: as far as the maps reach, but no farther than they matter.

    Args:
        shape: (ny, nx) of the image that is asked for.
        reach: of the maps from the middle of the image along y and x, pixels.
        beam: the largest full width at half maximum of a dish, pixels.
    """

    def size(pixels: int, extent: float) -> int:
        wide = min(2 * int(np.ceil(extent)), pixels + 2 * int(np.ceil(MARGIN * beam)))
        if wide <= pixels:
            return pixels
        wide = next_fast_len(wide, real=True)
        return wide + (wide - pixels) % 2  # so that the image lies on pixels of the sky, the same on both sides

    return size(shape[0], reach[0]), size(shape[1], reach[1])


def middle(array: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.floating]:
    """Return the pixels of an image in the middle of a sky, (..., ny, nx)."""
    (ny, nx), (height, width) = array.shape[-2:], shape
    y, x = ny // 2 - height // 2, nx // 2 - width // 2
    return array[..., y : y + height, x : x + width]


def embedded(array: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.floating]:
    """Return a sky, (..., ny, nx), that has an image in its middle and is empty around it."""
    sky = np.zeros((*array.shape[:-2], *shape), array.dtype)
    middle(sky, (array.shape[-2], array.shape[-1]))[:] = array
    return sky


def cut_images(paths: Iterable[Path], shape: tuple[int, int]) -> None:
    """Leave the middle, (ny, nx), of those images on disk that are there and have more than one pixel."""
    for path in paths:
        if path.exists() and min(image_shape(path)[-2:]) > 1:
            cut_middle(path, shape)
