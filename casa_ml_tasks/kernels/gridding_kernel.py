"""The anti-aliasing kernel that carries visibilities to the uv grid: Kaiser-Bessel, as piecewise polynomials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import i0e

from casa_ml_tasks.kernels.vector_intrinsics import HALF

#: Kernels to choose from, in uv cells and in uv cells over image pixels.
SUPPORTS = range(4, 17)
OVERSAMPLINGS = (1.25, 1.5, 1.65, 2.0)

#: The best relative accuracy that sums in this precision reach.
ATTAINABLE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-12}

#: Wide kernels at low oversampling are corrected by large factors, which single precision does not bear.
WIDEST = {np.dtype(np.float32): HALF, np.dtype(np.float64): 16}

ALIASES = 8  # replicas of the image on either side that are counted; the others are weaker
PIXEL_COST = 4.5  # of a pixel of the padded image in the FFTs, in kernel rows of one visibility


@dataclass(frozen=True)
class GriddingKernel:
    r"""$\phi(d) = I_0(\beta\sqrt{1 - (2d/W)^2}) / I_0(\beta)$ for $|d| \le W/2$, d in uv cells.

    Near a visibility at U, the tap j at $d_j = j - W/2 + (t + 1)/2$ is a polynomial in $t \in [-1, 1)$.

    Attributes:
        support: W, uv cells.
        oversampling: uv cells over image pixels that it is meant for, at least.
        coefficients: (degree + 1, support), highest power of t first.
    """

    support: int
    oversampling: float
    coefficients: NDArray[np.float64]

    def cost(self, visibilities: int, pixels: int) -> float:
        """Return the cost of gridding visibilities for an image of so many pixels, in kernel rows of one visibility."""
        return _cost(self.support, self.oversampling, visibilities, pixels)

    def transform(self, frequency: ArrayLike) -> NDArray[np.float64]:
        r"""Return $\hat\phi(k) = \int \phi(d) \cos(2\pi k d)\,dd$ of the polynomials, k in cycles a uv cell."""
        nodes, weights = np.polynomial.legendre.leggauss(64)
        frequency = np.asarray(frequency, float)
        total = np.zeros(frequency.shape)
        for tap in range(self.support):
            distance = tap - self.support / 2 + (nodes + 1) / 2
            values = np.polyval(self.coefficients[:, tap], nodes) * weights / 2
            total += np.cos(2 * np.pi * np.multiply.outer(frequency, distance)) @ values
        return total


def shape_parameter(support: int, oversampling: float) -> float:
    r"""Return $\beta = \pi\sqrt{W^2(1 - 1/2\sigma)^2 - 0.8}$.

    The formula is that of Beatty, Nishimura & Pauly (2005, IEEE TMI 24, 799, eq. 5).
    """
    return float(np.pi * np.sqrt((support * (1 - 0.5 / oversampling)) ** 2 - 0.8))


@lru_cache(None)
def expected_error(support: int, oversampling: float) -> float:
    r"""Return the relative l2 error of visibilities of an image of white noise, into which replicas of the image leak.

    $\epsilon^2 = 2\langle\sum_{m\ne0}\hat\phi(k+m)^2/\hat\phi(k)^2\rangle$ over the field, $|k| \le 1/2\sigma$;
    the 2 is for two axes. In the outermost pixels of the field it is up to four times larger.
    """
    beta = shape_parameter(support, oversampling)

    k = np.linspace(0, 0.5 / oversampling, 200)
    replicas = [m for m in range(-ALIASES, ALIASES + 1) if m]
    leaked = sum(_transform(beta, support, k + m) ** 2 for m in replicas)
    return float(np.sqrt(2 * np.mean(leaked / _transform(beta, support, k) ** 2)))


def _transform(beta: float, support: int, frequency: ArrayLike) -> NDArray[np.float64]:
    """Return the transform of the Kaiser-Bessel function, up to a factor; frequency in cycles a uv cell."""
    root = np.sqrt(beta**2 - (np.pi * support * np.asarray(frequency, complex)) ** 2)
    return np.real(np.sinh(root) / root)


def choose_kernel(tolerance: float, precision: np.dtype, visibilities: int, pixels: int) -> GriddingKernel:
    """Return the cheapest kernel within the tolerance: wide ones cost per visibility, oversampling costs per pixel.

    Args:
        tolerance: relative l2 error of the visibilities of an image of white noise.
        precision: float32 or float64.
        visibilities: how many will be gridded on one grid.
        pixels: of the image.

    Raises:
        ValueError: the tolerance is out of reach of this precision, or larger than any kernel's error.
    """
    best = ATTAINABLE[np.dtype(precision)]
    if not best <= tolerance <= 1e-2:
        raise ValueError(
            f"tolerance={tolerance} cannot be met in {np.dtype(precision)}; use {best} to 0.01, or float64 below 1e-6"
        )
    affordable = [
        (support, oversampling)
        for support in SUPPORTS
        for oversampling in OVERSAMPLINGS
        if support <= WIDEST[np.dtype(precision)] and expected_error(support, oversampling) <= 0.8 * tolerance
    ]

    return kaiser_bessel(
        *min(affordable, key=lambda choice: _cost(choice[0], choice[1], visibilities, pixels)), tolerance
    )


def _cost(support: int, oversampling: float, visibilities: int, pixels: int) -> float:
    passes = (-(-support // HALF)) ** 2  # a patch wider than the registers is visited in parts
    return visibilities * (support + 4) * passes + PIXEL_COST * pixels * oversampling**2


@lru_cache(None)
def kaiser_bessel(support: int, oversampling: float, tolerance: float) -> GriddingKernel:
    """Return the kernel in polynomials of the lowest degree whose error, also at the edge, is within the tolerance."""
    beta = shape_parameter(support, oversampling)
    t = np.cos(np.pi * (np.arange(64) + 0.5) / 64)
    distance = np.arange(support) - support / 2 + (t[:, None] + 1) / 2
    argument = beta * np.sqrt(np.maximum(0, 1 - (2 * distance / support) ** 2))
    values = i0e(argument) / i0e(beta) * np.exp(argument - beta)
    edge = _transform(beta, support, 0.5 / oversampling) / _transform(beta, support, 0.0)
    for degree in range(3, 24):
        fit = np.polynomial.chebyshev.chebfit(t, values, degree)
        if np.abs(np.polynomial.chebyshev.chebval(t, fit).T - values).max() < max(0.2 * tolerance * edge, 1e-14):
            break
    powers = [np.pad(p := np.polynomial.chebyshev.cheb2poly(column), (0, degree + 1 - p.size)) for column in fit.T]
    return GriddingKernel(support, oversampling, np.stack(powers, axis=1)[::-1].copy())
