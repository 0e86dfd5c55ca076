r"""Interpolation between the pixels of a regular grid that is exact for low spatial frequencies.

A function with frequencies $|u| \le b$ is, between pixels, $f(x) = \sum_j w_j(x) f(j)$ with few weights, which are the
least squares of $|\sum_j w_j e^{2\pi iuj} - e^{2\pi iux}|^2$ over the band. The higher the band, the more weights:
about $3 / (1 - 2b)$ of them for 1e-3.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

MOST_TAPS = 40
HIGHEST_BAND = 0.42  # cycles a pixel, where MOST_TAPS reach 1e-4
PRICE = 1e-14  # of the squares of the weights, against the mean square error within the band
DEGREE = 20  # of the polynomials in the fraction of a pixel that the weights are
AT_ONCE = 1 << 14  # points


def tap_count(band: float, tolerance: float) -> int:
    """Return how many weights interpolate a band to a relative tolerance.

    Args:
        band: highest spatial frequency, cycles a pixel.
        tolerance: of each frequency's amplitude.

    Raises:
        ValueError: MOST_TAPS do not suffice.
    """
    if band <= HIGHEST_BAND:
        for count in range(2, MOST_TAPS + 1, 2):
            if worst_error(band, count) <= tolerance:
                return count
    raise ValueError(
        f"pixels sample the longest baseline with {0.5 / band:.2f} of the pixels that it needs at least, too few to "
        f"interpolate to {tolerance:.0e}; use a cell of at most {HIGHEST_BAND / band:.2f} times this one"
    )


def taps(position: NDArray[np.float64], band: float, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the first pixel, (point,), and the weights of the pixels from there, (point, count), which add up to 1.

    Args:
        position: pixels, (point,).
        band: highest spatial frequency, cycles a pixel.
        count: of the weights, even.
    """
    whole = np.floor(position)
    fraction, coefficients = 2 * (position - whole) - 1, _coefficients(band, count)
    weights = np.empty((position.size, count))
    for start in range(0, position.size, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        weights[part] = chebyshev.chebvander(fraction[part], DEGREE) @ coefficients
    return whole.astype(np.int64) - count // 2 + 1, weights / weights.sum(axis=1, keepdims=True)


@lru_cache(maxsize=256)
def worst_error(band: float, count: int) -> float:
    """Return the largest relative error of any frequency in the band at any point between two pixels."""
    position, frequency = np.linspace(0, 1, 41), np.linspace(0, band, 129)
    first, weights = taps(position, band, count)
    pixels = first[:, None] + np.arange(count)
    found = np.einsum("pj,pju->pu", weights, np.exp(2j * np.pi * pixels[..., None] * frequency))
    return float(np.abs(found - np.exp(2j * np.pi * position[:, None] * frequency)).max())


@lru_cache(maxsize=256)
def _coefficients(band: float, count: int) -> NDArray[np.float64]:
    """Chebyshev coefficients of the weights in 2 d - 1, d the distance from the pixel before, (degree + 1, count)."""
    nodes = chebyshev.chebpts1(DEGREE + 1)
    pixels = np.arange(count) - count // 2 + 1
    distance = pixels - (nodes[:, None] + 1) / 2
    gram = np.sinc(2 * band * np.subtract.outer(pixels, pixels)) + PRICE * np.eye(count)
    weights = np.linalg.solve(gram, np.sinc(2 * band * distance).T).T
    return chebyshev.chebfit(nodes, weights, DEGREE)
