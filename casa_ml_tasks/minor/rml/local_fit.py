r"""Whether some emission is a point source between pixels: can pixels that are not negative hold it?

The square around it is fitted with all else held: once by pixels alone, once by pixels and a point source. Both are
quadratic problems of a few hundred pixels,
$\min_E \frac12 E^T H E - E^T d$, and have the same pixels, so that what the source gains is what no pixels can show: an
emission that is resolved, or lies on a pixel, gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.sub_pixel import Rendering

RIDGE = 1e-7  # of the peak of the PSF, added to the diagonal: its smallest eigenvalues are rounding
NEGLIGIBLE_SLOPE = 0.5  # noise sigma; steeper ones gain chi^2
MOST_STEPS = 8  # towards the position
LONGEST_STEP = 0.5  # pixels
SETTLED = 1e-4  # pixels


class LocalFit(NamedTuple):
    """Pixels and a point source.

    Attributes:
        flux: of the source, Jy.
        y, x: its position, pixels.
        gain: decrease of chi^2 times sigma^2 below that of the best pixels alone, (Jy/beam)^2.
        left, left_alone: largest residual, and that of the best pixels alone, Jy/beam.
    """

    flux: float
    y: float
    x: float
    gain: float
    left: float
    left_alone: float


class Square(NamedTuple):
    """Pixels around a place, within an image.

    Attributes:
        rows, columns: slices of the image.
    """

    rows: slice
    columns: slice

    @classmethod
    def around(cls, y: float, x: float, reach: int, shape: tuple[int, int]) -> Square:
        """Pixels up to so many away, without those outside of the image."""
        middle = round(y), round(x)
        return cls(*(slice(max(at - reach, 0), min(at + reach + 1, n)) for at, n in zip(middle, shape, strict=True)))

    def lags(self, psf: NDArray[np.floating]) -> NDArray[np.float64]:
        """The normal operator on these pixels, (pixel, pixel). psf: (2 ny, 2 nx), Jy/beam."""
        ny, nx = (n // 2 for n in psf.shape)
        height, width = (each.stop - each.start for each in self)
        y, x = np.indices((height, width)).reshape(2, -1)
        return psf[ny + np.subtract.outer(y, y), nx + np.subtract.outer(x, x)].astype(float)


def fit_point(
    square: Square,
    start: tuple[float, float],
    dirty: NDArray[np.floating],
    psf: NDArray[np.floating],
    operator: Callable[[NDArray[np.floating]], NDArray[np.floating]],
    band: tuple[float, float],
    sigma: float,
) -> LocalFit:
    """Compare both fits of a square.

    Args:
        square: the pixels.
        start: y, x where the source may be, pixels.
        dirty: of all that is in the square, (ny, nx), Jy/beam.
        psf: (2 ny, 2 nx), Jy/beam.
        operator: the normal operator, of images (..., ny, nx).
        band: for `Rendering`.
        sigma: noise, Jy/beam.
    """
    tolerance = NEGLIGIBLE_SLOPE * sigma
    shape = dirty.shape
    matrix = square.lags(psf)
    matrix += RIDGE * matrix[0, 0] * np.eye(len(matrix))
    seen = dirty[square].ravel().astype(float)
    alone = least_squares(matrix, seen, tolerance)
    (y, x), flux, best, left = start, 0.0, np.inf, seen
    for _ in range(MOST_STEPS):
        source = Rendering.at((y, x), shape, band)
        images = source.images(shape)[:, 0]
        beams = np.asarray(operator(images), float)
        inverse = np.linalg.inv(np.einsum("iyx,jyx->ij", images, beams))
        across = beams[(slice(None), *square)].reshape(3, -1)
        of_source = np.einsum("iyx,yx->i", images, dirty)
        rest = matrix - across.T @ inverse @ across
        right = seen - across.T @ inverse @ of_source
        pixels = least_squares(rest, right, tolerance)
        best = _value(rest, right, pixels) - 0.5 * of_source @ inverse @ of_source
        flux, *slopes = found = inverse @ (of_source - across @ pixels)
        left = seen - matrix @ pixels - found @ across
        if flux <= 0:
            break
        step = np.clip(np.array(slopes) / flux, -LONGEST_STEP, LONGEST_STEP)
        y, x = (float(np.clip(at, 0, n - 1)) for at, n in zip((y + step[0], x + step[1]), shape, strict=True))
        if np.abs(step).max() < SETTLED:
            break
    gain, left_alone = 2 * float(_value(matrix, seen, alone) - best), seen - matrix @ alone
    return LocalFit(float(flux), y, x, gain, *(float(np.abs(each).max()) for each in (left, left_alone)))


def _value(matrix: NDArray[np.float64], seen: NDArray[np.float64], pixels: NDArray[np.float64]) -> float:
    return float(pixels @ (0.5 * matrix @ pixels - seen))


def least_squares(matrix: NDArray[np.float64], right: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    r"""The minimum of $\frac12 x^T M x - x^T r$ over x that are not negative (Bro & De Jong 1997, J. Chemom. 11, 393).

    Args:
        matrix: M, symmetric and positive definite, (n, n).
        right: r, (n,).
        tolerance: how steep the function may still fall along a pixel at zero.
    """
    x, free = np.zeros(right.size), np.zeros(right.size, bool)
    for _ in range(3 * right.size):
        slope = np.where(free, -np.inf, right - matrix @ x)
        if slope.max() <= tolerance:
            break
        free[slope.argmax()] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.solve(matrix[np.ix_(free, free)], right[free])
            if trial[free].min() > 0:
                break
            falling = free & (trial <= 0)
            x += np.min(x[falling] / (x[falling] - trial[falling] + 1e-300)) * (trial - x)
            free &= x > 1e-12 * x.max()
            if not free.any():
                return x
        x = trial
    return x
