r"""Whether some emission is a point source between pixels.

The square around it is fitted with all else held, $\min_E \frac12 E^T H E - E^T d$ for a few hundred pixels: by pixels
alone, which are not negative; by such pixels and a point source; and by a point source and emission that is coarser
than the beam. The second gains over the first what no pixels can show: resolved emission, or a source on a pixel, gains
nothing. The third costs nothing over the first where the data do not resolve the source.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
        residual, residual_of_pixels: the largest residual, and that of the best pixels alone, Jy/beam.
        alone_flux: of the source, if all beside it is twice as coarse as the beam, Jy.
        cost: how much higher chi^2 times sigma^2 is then than that of the best pixels alone, (Jy/beam)^2.
    """

    flux: float
    y: float
    x: float
    gain: float
    residual: float
    residual_of_pixels: float
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
        """Return the pixels up to `reach` away, without those outside of the image."""
        middle = round(y), round(x)
        return cls(*(slice(max(at - reach, 0), min(at + reach + 1, n)) for at, n in zip(middle, shape, strict=True)))

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def lags(self, psf: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the normal operator on these pixels, (pixel, pixel). psf: (2 ny, 2 nx), Jy/beam."""
        ny, nx = (n // 2 for n in psf.shape)
        y, x = np.indices(self.shape).reshape(2, -1)
        return psf[ny + np.subtract.outer(y, y), nx + np.subtract.outer(x, x)].astype(float)

    def blobs(self, width: float) -> NDArray[np.float64]:
        """Return Gaussians of that FWHM, in pixels, less than half of it apart, (blob, pixel)."""
        axes = []
        for each in self:
            length = each.stop - each.start
            centres = np.linspace(0, length - 1, max(2, int(np.ceil(length / (0.4 * width)))))
            axes.append(np.exp(-4 * np.log(2) * ((np.arange(length) - centres[:, None]) / width) ** 2))
        products = np.einsum("ay,bx->abyx", *axes)
        return products.reshape(-1, products.shape[2] * products.shape[3])


class LocalFits:
    """Compares fits of squares; what squares of one shape have in common is kept.

    Attributes:
        psf: (2 ny, 2 nx), Jy/beam.
        band: for `Rendering`.
        width: FWHM of the beam, pixels.
    """

    def __init__(self, psf: NDArray[np.floating], band: tuple[float, float], width: float):
        self.psf, self.band, self.width = psf, band, width
        self._bases: dict[tuple[int, int], Bases] = {}

    def of_point(
        self, square: Square, start: tuple[float, float], dirty: NDArray[np.floating], sigma: float
    ) -> LocalFit:
        """Return the fits of one square.

        Args:
            square: the pixels.
            start: y, x where the source may be, pixels.
            dirty: of all that is in the square, (ny, nx), Jy/beam.
            sigma: noise, Jy/beam.
        """
        seen = dirty[square].ravel().astype(float)
        if square.shape not in self._bases:
            self._bases[square.shape] = Bases.of(square, self.psf, self.width)
        bases = self._bases[square.shape]
        best_pixels = partial(least_squares, tolerance=NEGLIGIBLE_SLOPE * sigma)
        fine = Emission(bases.matrix, seen, None, best_pixels)
        coarse = Emission(bases.coarse_matrix, bases.coarse @ seen, bases.coarse, _free_least_squares)
        pixels_alone = Curvature.of(fine.matrix)
        alone = best_pixels(pixels_alone, seen)
        value, residual_of_pixels = _value(pixels_alone, seen, alone), np.abs(seen - pixels_alone.times(alone)).max()
        best, at = self._best_position(square, start, dirty, fine)
        single, _ = self._best_position(square, at, dirty, coarse)
        gain, cost = 2 * (value - best.value), 2 * (single.value - value)
        return LocalFit(best.flux, *at, gain, best.residual, float(residual_of_pixels), single.flux, cost)

    def _best_position(
        self, square: Square, at: tuple[float, float], dirty: NDArray[np.floating], emission: Emission
    ) -> tuple[Fit, tuple[float, float]]:
        """Return the fit at the best position beside that kind of emission, and the position."""
        for _ in range(MOST_STEPS):
            fit = _fit_at(square, at, dirty, emission, self.psf, self.band)
            if fit.flux <= 0:
                break
            step = np.clip(fit.slopes / fit.flux, -LONGEST_STEP, LONGEST_STEP)
            y, x = (float(np.clip(old + by, 0, n - 1)) for old, by, n in zip(at, step, dirty.shape, strict=True))
            at = y, x
            if np.abs(step).max() < SETTLED:
                break
        return fit, at


class Bases(NamedTuple):
    """What squares of one shape have in common.

    Attributes:
        matrix: the normal operator on the pixels, (pixel, pixel), Jy/beam.
        coarse: images that are coarser than the beam, (blob, pixel).
        coarse_matrix: the normal operator between them, (blob, blob).
    """

    matrix: NDArray[np.float64]
    coarse: NDArray[np.float64]
    coarse_matrix: NDArray[np.float64]

    @classmethod
    def of(cls, square: Square, psf: NDArray[np.floating], width: float) -> Bases:
        """Return the bases of a square; psf and width as in `LocalFits`."""
        matrix = square.lags(psf)
        matrix += RIDGE * matrix[0, 0] * np.eye(len(matrix))
        coarse = square.blobs(COARSE * width)
        return cls(matrix, coarse, coarse @ matrix @ coarse.T)


class Curvature(NamedTuple):
    """A symmetric matrix minus what a source of free flux and position takes up of it: M - A^T S A.

    Attributes:
        matrix: M, (n, n).
        across: A, (3, n), or (0, n) without a source.
        inverse: S, (3, 3).
    """

    matrix: NDArray[np.float64]
    across: NDArray[np.float64]
    inverse: NDArray[np.float64]

    @classmethod
    def of(cls, matrix: NDArray[np.float64]) -> Curvature:
        """Return the matrix as it is, without a source."""
        return cls(matrix, np.zeros((0, len(matrix))), np.zeros((0, 0)))

    def columns(self, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return some of its columns, (n, chosen)."""
        return self.matrix[:, chosen] - self.across.T @ (self.inverse @ self.across[:, chosen])

    def times(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the product with a vector, (n,), of which only a few are not zero."""
        chosen = vector != 0
        return self.columns(chosen) @ vector[chosen]


#: From a curvature and a right side to the amplitudes that fit best.
Solver = Callable[[Curvature, NDArray[np.float64]], NDArray[np.float64]]


class Emission(NamedTuple):
    """What may be beside a source: images of a square, each times an amplitude.

    Attributes:
        matrix: the normal operator between them, (n, n).
        seen: their products with the dirty image, (n,).
        basis: the images, (n, pixel); None where each is a pixel.
        best: finds the amplitudes.
    """

    matrix: NDArray[np.float64]
    seen: NDArray[np.float64]
    basis: NDArray[np.float64] | None
    best: Solver


class Fit(NamedTuple):
    """The best fit of a source at one position beside some emission.

    Attributes:
        flux: Jy.
        slopes: flux times the shift that would fit better, Jy pixels.
        value: of the quadratic function.
        residual: the largest that is left of `Emission.seen`.
    """

    flux: float
    slopes: NDArray[np.float64]
    value: float
    residual: float


def _fit_at(
    square: Square,
    at: tuple[float, float],
    dirty: NDArray[np.floating],
    emission: Emission,
    psf: NDArray[np.floating],
    band: tuple[float, float],
) -> Fit:
    """Return the best fit with the source at one position."""
    source = Rendering.at(at, dirty.shape, band)
    patches, rows, columns = source.patches()[:, 0], source.rows[0], source.columns[0]
    inverse = np.linalg.inv(np.einsum("iyx,jyx->ij", patches, _beams(patches, rows, columns, psf, rows, columns)))
    in_square = (np.arange(each.start, each.stop) for each in square)
    across = _beams(patches, rows, columns, psf, *in_square).reshape(3, -1)
    if emission.basis is not None:
        across = across @ emission.basis.T
    of_source = np.einsum("iyx,yx->i", patches, dirty[np.ix_(rows, columns)])
    rest = Curvature(emission.matrix, across, inverse)
    right = emission.seen - across.T @ inverse @ of_source
    amplitudes = emission.best(rest, right)
    found = inverse @ (of_source - across @ amplitudes)
    value = _value(rest, right, amplitudes) - 0.5 * of_source @ inverse @ of_source
    residual = emission.seen - Curvature.of(emission.matrix).times(amplitudes) - found @ across
    return Fit(float(found[0]), found[1:], float(value), float(np.abs(residual).max()))


def _beams(
    patches: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    psf: NDArray[np.floating],
    seen_rows: NDArray[np.int64],
    seen_columns: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the dirty images of patches in some other pixels, (n, seen row, seen column), Jy/beam.

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


def _value(curvature: Curvature, right: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    return float(x @ (0.5 * curvature.times(x) - right))


def _free_least_squares(curvature: Curvature, right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the minimum over all x, of either sign."""
    return np.asarray(np.linalg.lstsq(curvature.columns(np.ones(right.size, bool)), right)[0], float)


def least_squares(curvature: Curvature, right: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    r"""Return the minimum of $\frac12 x^T M x - x^T r$ over x that are not negative.

    The algorithm is that of Bro & De Jong (1997, J. Chemom. 11, 393).

    Args:
        curvature: M, positive definite.
        right: r, (n,).
        tolerance: how steep the function may still fall along a pixel at zero.
    """
    x, free = np.zeros(right.size), np.zeros(right.size, bool)
    for _ in range(3 * right.size):
        slope = np.where(free, -np.inf, right - curvature.times(x))
        if slope.max() <= tolerance:
            break
        free[slope.argmax()] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.solve(curvature.columns(free)[free], right[free])
            if trial[free].min() > 0:
                break
            falling = free & (trial <= 0)
            x += np.min(x[falling] / (x[falling] - trial[falling] + 1e-300)) * (trial - x)
            free &= x > 1e-12 * x.max()
            if not free.any():
                return x
        x = trial
    return x
