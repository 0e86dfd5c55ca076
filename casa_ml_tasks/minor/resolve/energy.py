"""Minus the logarithm of the probability of a sky, given the data: what the inference explores."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from casa_ml_tasks.kernels.normal_operator import Operator
from casa_ml_tasks.minor.resolve.centring import Centring
from casa_ml_tasks.minor.resolve.correlated_field import hartley
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position, mix
from casa_ml_tasks.minor.resolve.point_sources import PointSources


class Likelihood(NamedTuple):
    r"""$\sum_c \frac{1}{\sigma_c^2}\left[\frac12 \Delta^T H \Delta - \Delta^T r\right]_c$ of images I, with
    $\Delta = I - I_0$.

    Attributes:
        normal: Jy/pixel to Jy/beam; H is what the point sources leave of it.
        quick: the same in single precision.
        residual: r, what they leave of the residual, (channel or term, ny, nx), Jy/beam.
        model: $I_0$, whose residual that is, (channel or term, ny, nx), Jy/pixel.
        sigma: noise of the residual, (channel or 1, 1, 1), Jy/beam; infinite where there are no data.
        sources: which are not part of the sky I.
    """

    normal: Operator
    quick: Operator
    residual: jax.Array
    model: jax.Array
    sigma: jax.Array
    sources: PointSources

    def operator(self, sky: jax.Array) -> jax.Array:
        """H I, (channel or term, ny, nx), Jy/beam."""
        return self.sources.without(self.normal(sky))

    def __call__(self, sky: jax.Array) -> jax.Array:
        """Minus the logarithm of the likelihood, up to a constant. sky: (channel or term, ny, nx), Jy/pixel."""
        change = sky - self.model
        return jnp.vdot(change, (0.5 * self.operator(change) - self.residual) / self.sigma**2)

    def slope(self, sky: jax.Array) -> jax.Array:
        r"""$(H \Delta - r) / \sigma^2$, (channel or term, ny, nx), pixel/Jy.

        In single precision, whose error is that of a force which is always the same at the same place: a trajectory
        bends by less than the leapfrog bends it, and whether it is accepted is decided by exact energies.
        """
        return (self.quickly(sky - self.model) - self.residual) / self.sigma**2

    def quickly(self, sky: jax.Array) -> jax.Array:
        """H I in single precision, (channel or term, ny, nx), Jy/beam."""
        return self.sources.without(self.quick(sky.astype(jnp.float32)).astype(sky.dtype))

    def draw_fluxes(self, sky: jax.Array, generator: np.random.Generator) -> jax.Array:
        """Of the point sources beside that sky, (source,), Jy, as if their prior were flat."""
        noise = jnp.asarray(generator.standard_normal(self.sources.seen.shape))
        return self.sources.draw(self.normal(sky - self.model), self.sigma[0, 0, 0], noise)


def energy(sky: LogNormalSky, position: Position, likelihood: Likelihood, centring: Centring) -> jax.Array:
    """Of the prior and the `Likelihood`; position: in the coordinates of the centring."""
    prior, images = centring.prior_and_sky(sky, position)
    return prior + likelihood(images)


def slope_of_energy(sky: LogNormalSky, position: Position, likelihood: Likelihood, centring: Centring) -> Position:
    """Along these coordinates and the spectrum."""
    (prior, images), pull_back = jax.vjp(partial(centring.prior_and_sky, sky), position)
    (slope,) = pull_back((jnp.ones_like(prior), likelihood.slope(images)))
    return slope


@jax.jit
def spectral_curvature(sky: LogNormalSky, at: Position, likelihood: Likelihood, centring: Centring) -> jax.Array:
    r"""$D^T H D / \sigma^2$ with $D = \partial I / \partial \theta$ at fixed x, (parameters, parameters).

    at: with its excitations.
    """
    planes = sky.planes(at)

    def along(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, coefficients = centring.slope(sky, at, direction)
        slope = sky.images(planes * mix(sky.mixing, hartley(coefficients)))
        return slope.ravel(), (likelihood.quickly(slope) / likelihood.sigma**2).ravel()

    slopes, dirty = jax.lax.map(along, jnp.asarray(sky.directions))
    return sky.directions.T @ (slopes @ dirty.T) @ sky.directions
