"""The mass of Hamiltonian Monte Carlo: nearly the curvature of the energy, and as easy to invert as to draw from."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg.lapack import dpstrf

from casa_ml_tasks.minor.resolve.coarse_likelihood import Points
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, hartley
from casa_ml_tasks.minor.resolve.energy import Position, amplitude_slope
from casa_ml_tasks.minor.resolve.leapfrog import unit_curvature
from casa_ml_tasks.minor.resolve.point_sources import PointSources

NEGLIGIBLE_CURVATURE = 0.3  # the prior's is 1
FILLED_UP = 500  # to a multiple of so many points, with points without weight: another shape is another compilation


class Mass(NamedTuple):
    r"""$M = 1 + J^T C J$, the curvature of a likelihood that sees the field in some points only.

    $C_{ij} = S_i\, H_{ij}\, S_j / \sigma^2 = L L^T$ is the curvature of the likelihood of the fluxes S of `Points`,
    H the PSF less what `PointSources` explain. J takes excitations and the spectrum to the logarithm of the sky in
    these points, the spectrum in coordinates t in which the rest of its curvature is 1 too, $\theta = \theta_0 + T t$.
    Woodbury's identity gives $M^{-1} = 1 - J^T X J$, $X = L (1 + L^T J J^T L)^{-1} L^T$. With it trajectories take
    tens of steps for what takes thousands without, for the curvature is $10^8$ where the signal is $10^4$ times the
    noise, and 1 in empty sky.

    Attributes:
        amplitude: of the field, (ny, nx).
        y, x: pixels, (point,).
        slopes: of the logarithm of the sky along t, (point, parameters).
        scale: T, (parameters, parameters); zero for a spectrum that is known.
        inverse: X, (point, point).
        factor: L, (point, point).
    """

    amplitude: jax.Array
    y: jax.Array
    x: jax.Array
    slopes: jax.Array
    scale: jax.Array
    inverse: jax.Array
    factor: jax.Array

    @classmethod
    def of(
        cls,
        field: CorrelatedField,
        at: Position,
        points: Points,
        psf: NDArray[np.floating],
        sources: PointSources,
        sigma: float,
        curvature: NDArray[np.floating] | None = None,
    ) -> Mass:
        """Make it.

        Args:
            field: of the logarithm of the sky.
            at: where slopes are taken.
            points: where the flux is.
            psf: (2 ny, 2 nx), Jy/beam.
            sources: beside the sky.
            sigma: noise of the dirty image, Jy/beam.
            curvature: of the likelihood in the spectrum's parameters, (parameters, parameters); without it the spectrum
                is known.
        """
        ny, nx = field.shape
        beams = np.asarray(sources.beams)[:, points.y, points.x]
        operator = psf[_distances(points, ny, nx)] - beams.T @ np.asarray(sources.inverse) @ beams
        flux_curvature = np.multiply.outer(points.flux, points.flux) * operator / sigma**2
        factor, points = _factorised(flux_curvature, points)
        scale: NDArray[Any] = np.zeros((field.parameters, field.parameters))
        slopes: NDArray[Any] = np.zeros((len(points.y), field.parameters))
        if curvature is not None:
            along = np.asarray(_spectral_slopes(field, at, points.y, points.x))
            scale = np.asarray(unit_curvature(jnp.asarray(curvature - _gram(factor.T @ along))))
            slopes = along @ scale
        amplitude = field.amplitude(at.spectrum)
        covariance = np.asarray(field.covariance(amplitude))[_distances(points, 0, 0)] + slopes @ slopes.T
        inner = np.eye(factor.shape[1]) + factor.T @ covariance @ factor
        root = scipy.linalg.solve_triangular(scipy.linalg.cholesky(inner, lower=True), factor.T, lower=True)
        size = len(points.y) + -len(points.y) % FILLED_UP
        return cls(
            amplitude=amplitude,
            y=_filled_up(points.y, size),
            x=_filled_up(points.x, size),
            slopes=_filled_up(slopes, size, field.parameters),
            scale=jnp.asarray(scale),
            inverse=_filled_up(_gram(root), size, size),
            factor=_filled_up(factor, size, size),
        )

    def velocity(self, momentum: Position) -> Position:
        """$M^{-1} p$; the spectrum's parts are in t."""
        seen = hartley(self.amplitude * momentum.excitations)[self.y, self.x] + self.slopes @ momentum.spectrum
        return self._pulled(momentum, -(self.inverse @ seen))

    def draw(self, key: jax.Array) -> Position:
        """A momentum of covariance M."""
        keys = jax.random.split(key, 3)
        shapes = self.amplitude.shape, self.scale.shape[:1], self.factor.shape[1:]
        white, spectral, coarse = (jax.random.normal(*each) for each in zip(keys, shapes, strict=True))
        return self._pulled(Position(white, spectral), self.factor @ coarse)

    def _pulled(self, position: Position, at_points: jax.Array) -> Position:
        """Added $J^T$ of numbers at the points, (point,)."""
        image = jnp.zeros_like(self.amplitude).at[self.y, self.x].add(at_points)
        return Position(
            position.excitations + self.amplitude * hartley(image), position.spectrum + self.slopes.T @ at_points
        )


def _distances(points: Points, y: int, x: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of all pairs in pixels, from (y, x), (point, point)."""
    return np.subtract.outer(points.y, points.y) + y, np.subtract.outer(points.x, points.x) + x


def _filled_up(array: NDArray[Any], *shape: int) -> jax.Array:
    """With zeros to that shape."""
    return jnp.asarray(np.pad(array, [(0, size - n) for size, n in zip(shape, array.shape, strict=True)]))


def _gram(matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    return matrix.T @ matrix


def _factorised(curvature: NDArray[np.floating], points: Points) -> tuple[NDArray[np.floating], Points]:
    """L without what is negligible, and the points in its order."""
    if not points.flux.size:
        return np.zeros((0, 0)), points
    factor, pivots, rank, _ = dpstrf(curvature, tol=NEGLIGIBLE_CURVATURE, lower=1)
    return np.tril(factor)[:, :rank], Points(*(each[pivots - 1] for each in points))


@partial(jax.jit, static_argnames="field")
def _spectral_slopes(field: CorrelatedField, at: Position, y: jax.Array, x: jax.Array) -> jax.Array:
    """Of the logarithm of the sky in some pixels along the spectrum's parameters, (point, parameters)."""

    def along(direction: jax.Array) -> jax.Array:
        return hartley(amplitude_slope(field, at.spectrum, direction) * at.excitations)[y, x]

    return jax.lax.map(along, jnp.eye(field.parameters)).T
