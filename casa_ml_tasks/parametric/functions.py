r"""Functions of the baselines in JAX, with derivatives that are finite everywhere and cheap.

The Bessel functions are written in s = x^2, where they are smooth, so gradients are finite at the origin.

JAX itself has J_n by a recurrence that fails for large arguments. Below s = SPLIT a polynomial in s is used, above it
Hankel's form

$$J_n(x) = \sqrt{\frac{2}{\pi x}} \left(P_n \cos\chi - Q_n \sin\chi\right), \qquad \chi = x - (2n + 1)\frac{\pi}{4},$$

with P_n and x Q_n smooth functions of 1/s, polynomials too. The coefficients are Chebyshev interpolations of scipy's
functions, made when this module is imported; the absolute error is below 1e-13. The derivatives are

$$\frac{d}{ds} J_0 = -\frac{1}{4} \frac{2 J_1}{x}, \qquad \frac{d}{ds} \frac{2 J_1}{x} = \frac{J_0 - 2 J_1 / x}{s}.$$

A gradient needs the value and the slope of each function once. XLA would fuse their computation into the sum over
visibilities of every parameter, and do it anew for each: `_once` keeps it from that, and gradients are 4 times faster.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.polynomial import Chebyshev
from numpy.polynomial.chebyshev import cheb2poly
from numpy.polynomial.polynomial import polyder, polyval
from numpy.typing import NDArray
from scipy.special import jv, yv

SPLIT = 64.0
NEAR, FAR = 16, 10  # degrees of the polynomials


@jax.custom_jvp
def j0(s: Array) -> Array:
    r"""$J_0(\sqrt s)$, s >= 0: the visibility of a thin ring of 1 Jy."""
    return jnp.where(s < SPLIT, _near(_J0, s), _far(0, s))


@jax.custom_jvp
def jinc(s: Array) -> Array:
    r"""$2 J_1(\sqrt s) / \sqrt s$, s >= 0: the visibility of a uniform disk of 1 Jy."""
    return jnp.where(s < SPLIT, _near(_JINC, s), 2 * _far(1, s) / jnp.sqrt(jnp.maximum(s, SPLIT)))


@j0.defjvp
def _j0_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    value, slope = _once(lambda s: (j0(s), -jinc(s) / 4), *primals)
    return value, slope * tangents[0]


@jinc.defjvp
def _jinc_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    def both(s: Array) -> tuple[Array, Array]:
        value = jinc(s)
        return value, jnp.where(s < SPLIT, _near(_JINC_SLOPE, s), (j0(s) - value) / jnp.maximum(s, SPLIT))

    value, slope = _once(both, *primals)
    return value, slope * tangents[0]


@jax.custom_jvp
def cosine_and_sine(phase: Array) -> tuple[Array, Array]:
    """Of a phase in radians."""
    return jnp.cos(phase), jnp.sin(phase)


@cosine_and_sine.defjvp
def _cosine_and_sine_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    cosine, sine = _once(lambda phase: (jnp.cos(phase), jnp.sin(phase)), *primals)
    return (cosine, sine), (-sine * tangents[0], cosine * tangents[0])


def _once(function: Callable[[Array], tuple[Array, Array]], x: Array) -> tuple[Array, Array]:
    """function(x) behind a condition that holds wherever it is defined: XLA does not fuse across conditions."""

    def undefined(x: Array) -> tuple[Array, Array]:
        return jnp.full_like(x, jnp.nan), jnp.full_like(x, jnp.nan)

    return jax.lax.cond(jnp.isfinite(jnp.sum(x)), function, undefined, x)


def _near(series: NDArray[np.float64], s: Array) -> Array:
    return jnp.asarray(polyval(2 * jnp.minimum(s, SPLIT) / SPLIT - 1, series))


def _far(order: int, s: Array) -> Array:
    s = jnp.maximum(s, SPLIT)
    x = jnp.sqrt(s)
    phase = x - (2 * order + 1) * np.pi / 4
    p, xq = (polyval(2 * SPLIT / s - 1, series) for series in _HANKEL[order])
    return jnp.sqrt(2 / np.pi / x) * (p * jnp.cos(phase) - xq / x * jnp.sin(phase))


def _series(function: Callable[[NDArray], NDArray], degree: int, end: float) -> NDArray[np.float64]:
    """Coefficients of a polynomial in 2 x / end - 1 for a function on [0, end], lowest first."""
    return np.asarray(cheb2poly(Chebyshev.interpolate(function, degree, domain=[0, end]).coef), float)


def _hankel_series(order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """P and x Q as series in SPLIT / s on [0, 1]."""

    def parts(y: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        x = np.sqrt(SPLIT / y)
        turn = np.sqrt(np.pi * x / 2) * np.exp(-1j * (x - (2 * order + 1) * np.pi / 4))
        hankel = turn * (jv(order, x) + 1j * yv(order, x))
        return hankel.real, hankel.imag, x

    return _series(lambda y: parts(y)[0], FAR, 1.0), _series(lambda y: parts(y)[1] * parts(y)[2], FAR, 1.0)


_J0 = _series(lambda s: jv(0, np.sqrt(s)), NEAR, SPLIT)
_JINC = _series(lambda s: 2 * jv(1, np.sqrt(s)) / np.sqrt(s), NEAR, SPLIT)
_JINC_SLOPE = np.asarray(polyder(_JINC) * 2 / SPLIT, float)
_HANKEL = (_hankel_series(0), _hankel_series(1))
