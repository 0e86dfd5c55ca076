r"""The Hankel transform of a user's radial profile, $F(q) = 2\pi \int_0^R I(r) J_0(2\pi q r)\, r\, dr$.

Gauss-Legendre quadrature over r turns it into a sum. As F has no detail finer than 1/R, it is a Chebyshev series in q^2
of little more than $\pi R q_{max}$ terms; its coefficients are a constant matrix times the profile at the nodes. So the
cost per visibility is that of a short series, and no Bessel function is evaluated while sampling.

Both the sum and the series resolve the fringes to 1e-8 of $2\pi \int |I| r\, dr$ by their length. What remains is the
quadrature error of the profile: exponentially small in `points` where it is smooth, of order 1/points where it jumps.
"""

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.polynomial.chebyshev import chebinterpolate
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray
from scipy import special


def transform(
    profile: Callable[[Array], Array], outer: float, points: int, longest: float, squared_frequency: Array
) -> Array:
    """F(q).

    Args:
        profile: brightness, Jy/arcsec^2, at radii in arcsec, (node,) to (node,).
        outer: R, arcsec; the profile is taken as 0 beyond.
        points: nodes for the structure of the profile, in addition to those that the fringes need.
        longest: the largest q, cycles/arcsec.
        squared_frequency: q^2, any shape, at most longest^2.

    Returns:
        Jy, shaped like `squared_frequency`.
    """
    radius, matrix = _quadrature(outer, points, longest)
    return _chebyshev(jnp.asarray(matrix) @ profile(jnp.asarray(radius)), 2 * squared_frequency / longest**2 - 1)


@lru_cache(maxsize=32)
def _quadrature(outer: float, points: int, longest: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes, (node,), arcsec, and the matrix from brightness to coefficients, (term, node), arcsec^2."""
    phase = 2 * np.pi * outer * longest
    degree = int(np.ceil(phase / 2 + 5 * np.cbrt(phase) + 10))
    node, weight = leggauss(degree + points)
    radius = outer * (node + 1) / 2
    area = 2 * np.pi * radius * weight * outer / 2

    def kernel(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return area * special.j0(2 * np.pi * longest * np.sqrt((t + 1) / 2)[:, None] * radius)

    return radius, chebinterpolate(kernel, degree)  # type: ignore[arg-type]  # works for rows of values too


def _chebyshev(coefficients: Array, t: Array) -> Array:
    r"""$\sum_k c_k T_k(t)$ by Clenshaw's recurrence; coefficients: (term,)."""

    def step(carry: tuple[Array, Array], coefficient: Array) -> tuple[tuple[Array, Array], None]:
        first, second = carry
        return (coefficient + 2 * t * first - second, first), None

    zero = jnp.zeros_like(t)
    (first, second), _ = jax.lax.scan(step, (zero, zero), coefficients[:0:-1])
    return coefficients[0] + t * first - second
