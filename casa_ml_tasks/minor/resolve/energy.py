"""Minus the logarithm of the probability of a sky, given the data: what the inference explores."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from casa_ml_tasks.kernels.normal_operator import Operator
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
        dirty = self.quick((sky - self.model).astype(jnp.float32)).astype(sky.dtype)
        return (self.sources.without(dirty) - self.residual) / self.sigma**2

    def draw_fluxes(self, sky: jax.Array, key: jax.Array) -> jax.Array:
        """Of the point sources beside that sky, (source,), Jy, as if their prior were flat."""
        return self.sources.draw(self.normal(sky - self.model), self.sigma[0, 0, 0], key)


def energy(sky: LogNormalSky, position: Position, likelihood: Likelihood) -> jax.Array:
    r"""$\frac12 |\xi|^2 + \frac12 |\theta|^2 + L(I(\xi, \theta))$: excitations, spectrum, and the `Likelihood`."""
    excitations, spectrum = position
    prior = 0.5 * jnp.vdot(excitations, excitations) + 0.5 * jnp.vdot(spectrum, spectrum)
    return prior + likelihood(sky(position))


def slope_of_energy(sky: LogNormalSky, position: Position, likelihood: Likelihood) -> Position:
    """Along excitations and spectrum."""
    images, pull_back = jax.vjp(sky, position)
    (of_likelihood,) = pull_back(likelihood.slope(images))
    return jax.tree.map(jnp.add, position, of_likelihood)


@jax.jit
def spectral_curvature(sky: LogNormalSky, position: Position, likelihood: Likelihood) -> jax.Array:
    r"""$D^T H D / \sigma^2$ with $D = \partial I / \partial \theta$ at fixed excitations, (parameters, parameters)."""
    planes = sky.planes(position)

    def along(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
        fields = hartley(sky.amplitude_slope(position.spectrum, direction) * position.excitations)
        slope = sky.images(planes * mix(sky.mixing, fields))
        return slope.ravel(), (likelihood.operator(slope) / likelihood.sigma**2).ravel()

    slopes, dirty = jax.lax.map(along, jnp.eye(sky.parameters))
    return slopes @ dirty.T
