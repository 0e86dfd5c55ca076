r"""Whether some emission is a point source between pixels.

The square around it is fitted with all else held, $\min_E \frac12 E^T H E - E^T d$ for a few hundred pixels: by pixels
alone, which are not negative; by such pixels and a point source; and by a point source and emission that is coarser
than the beam. The second gains over the first what no pixels can show: resolved emission, or a source on a pixel, gains
nothing. The third costs nothing over the first where the data do not resolve the source.
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
COARSE = 2.0  # beams


class LocalFit(NamedTuple):
    """Pixels and a point source.

    Attributes:
        flux: of the source, Jy.
        y, x: its position, pixels.
        gain: decrease of chi^2 times sigma^2 below that of the best pixels alone, (Jy/beam)^2.
        left, left_alone: largest residual, and that of the best pixels alone, Jy/beam.
        alone_flux: of the source, if all beside it is twice as coarse as the beam, Jy.
        cost: how much higher chi^2 times sigma^2 is then than that of the best pixels alone, (Jy/beam)^2.
    """

    flux: float
    y: float
    x: float
    gain: float
    left: float
    left_alone: float
    alone_flux: float
    cost: float


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

    def blobs(self, width: float) -> NDArray[np.float64]:
        """Gaussians of that FWHM, in pixels, less than half of it apart, (blob, pixel)."""
        axes = []
        for each in self:
            length = each.stop - each.start
            centres = np.linspace(0, length - 1, max(2, int(np.ceil(length / (0.4 * width)))))
            axes.append(np.exp(-4 * np.log(2) * ((np.arange(length) - centres[:, None]) / width) ** 2))
        products = np.einsum("ay,bx->abyx", *axes)
        return products.reshape(-1, products.shape[2] * products.shape[3])


def fit_point(
    square: Square,
    start: tuple[float, float],
    dirty: NDArray[np.floating],
    psf: NDArray[np.floating],
    band: tuple[float, float],
    sigma: float,
    width: float,
) -> LocalFit:
    """Compare both fits of a square.

    Args:
        square: the pixels.
        start: y, x where the source may be, pixels.
        dirty: of all that is in the square, (ny, nx), Jy/beam.
        psf: (2 ny, 2 nx), Jy/beam.
        band: for `Rendering`.
        sigma: noise, Jy/beam.
        width: FWHM of the beam, pixels.
    """
    tolerance = NEGLIGIBLE_SLOPE * sigma
    matrix = square.lags(psf)
    matrix += RIDGE * matrix[0, 0] * np.eye(len(matrix))
    seen = dirty[square].ravel().astype(float)
    alone = least_squares(matrix, seen, tolerance)
    value = _value(matrix, seen, alone)

    def moved(at: tuple[float, float], pixels: Pixels) -> tuple[Fit, tuple[float, float]]:
        """Steps towards the position with that kind of pixels."""
        for _ in range(MOST_STEPS):
            fit = _beside(square, at, dirty, matrix, psf, band, pixels)
            if fit.flux <= 0:
                break
            step = np.clip(fit.slopes / fit.flux, -LONGEST_STEP, LONGEST_STEP)
            y, x = (float(np.clip(old + by, 0, n - 1)) for old, by, n in zip(at, step, dirty.shape, strict=True))
            at = y, x
            if np.abs(step).max() < SETTLED:
                break
        return fit, at

    best, at = moved(start, lambda rest, right: least_squares(rest, right, tolerance))
    coarse = square.blobs(COARSE * width)
    single, _ = moved(at, lambda rest, right: coarse.T @ np.linalg.lstsq(coarse @ rest @ coarse.T, coarse @ right)[0])
    left_alone = float(np.abs(seen - matrix @ alone).max())
    return LocalFit(
        best.flux, *at, 2 * (value - best.value), best.left, left_alone, single.flux, 2 * (single.value - value)
    )


#: From a matrix and a right side to the pixels that fit best.
Pixels = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


class Fit(NamedTuple):
    """Of a source at one position beside some pixels.

    Attributes:
        flux: Jy.
        slopes: flux times the shift that would fit better, Jy pixels.
        value: of the quadratic function.
        left: largest residual, Jy/beam.
    """

    flux: float
    slopes: NDArray[np.float64]
    value: float
    left: float


def _beside(
    square: Square,
    at: tuple[float, float],
    dirty: NDArray[np.floating],
    matrix: NDArray[np.float64],
    psf: NDArray[np.floating],
    band: tuple[float, float],
    best_pixels: Pixels,
) -> Fit:
    seen = dirty[square].ravel().astype(float)
    source = Rendering.at(at, dirty.shape, band)
    patches, rows, columns = source.patches()[:, 0], source.rows[0], source.columns[0]
    inverse = np.linalg.inv(np.einsum("iyx,jyx->ij", patches, _beams(patches, rows, columns, psf, rows, columns)))
    in_square = (np.arange(each.start, each.stop) for each in square)
    across = _beams(patches, rows, columns, psf, *in_square).reshape(3, -1)
    of_source = np.einsum("iyx,yx->i", patches, dirty[np.ix_(rows, columns)])
    rest = matrix - across.T @ inverse @ across
    right = seen - across.T @ inverse @ of_source
    pixels = best_pixels(rest, right)
    found = inverse @ (of_source - across @ pixels)
    value = _value(rest, right, pixels) - 0.5 * of_source @ inverse @ of_source
    left = seen - matrix @ pixels - found @ across
    return Fit(float(found[0]), found[1:], float(value), float(np.abs(left).max()))


def _beams(
    patches: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    psf: NDArray[np.floating],
    seen_rows: NDArray[np.int64],
    seen_columns: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The normal operator on some pixels, seen in some others: (n, seen row, seen column), Jy/beam.

    Args:
        patches: (n, row, column), Jy/pixel.
        rows, columns: of the image, where the patches are.
        psf: (2 ny, 2 nx), Jy/beam.
        seen_rows, seen_columns: of the image.
    """
    ny, nx = (n // 2 for n in psf.shape)
    down, right = np.subtract.outer(seen_rows, rows) + ny, np.subtract.outer(seen_columns, columns) + nx
    lags = psf[down[:, None, :, None], right[None, :, None, :]]
    return np.einsum("syx,pqyx->spq", patches, lags, optimize=True)


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
