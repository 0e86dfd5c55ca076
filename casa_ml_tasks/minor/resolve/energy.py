"""Minus the logarithm of the probability of a sky, given the data: what the inference explores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.minor.resolve.centring import Centring
from casa_ml_tasks.minor.resolve.correlated_field import hartley
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position, mix
from casa_ml_tasks.minor.resolve.point_sources import PointSources


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OperatorBesidePointSources:
    """A normal operator without what point sources explain.

    Attributes:
        normal: Jy/pixel to Jy/beam.
        sources: point sources in the first image.
    """

    normal: NormalOperator
    sources: PointSources

    @property
    def transfer(self) -> jax.Array:
        """That of the operator without sources, which is another one in few directions only."""
        return self.normal.transfer

    def __call__(self, sky: jax.Array) -> jax.Array:
        """Return the dirty images in the precision of the sky, (channel or term, ny, nx), Jy/beam."""
        return self.sources.without(self.normal(sky.astype(self.transfer.dtype)).astype(sky.dtype))

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue, from which the sources only subtract."""
        return self.normal.spectral_norm()


class Likelihood(NamedTuple):
    """The likelihood of images beside point sources, exactly and in single precision.

    Attributes:
        normal: Jy/pixel to Jy/beam; the operator of the likelihood is what the point sources leave of it.
        quick: the same in single precision.
        residual: what they leave of the residual, (channel or term, ny, nx), Jy/beam.
        model: whose residual that is, (channel or term, ny, nx), Jy/pixel.
        sigma: noise of the residual, (channel or 1, 1, 1), Jy/beam; infinite where there are no data.
        sources: which are not part of the sky.
    """

    normal: NormalOperator
    quick: NormalOperator
    residual: jax.Array
    model: jax.Array
    sigma: jax.Array
    sources: PointSources

    @property
    def exact(self) -> QuadraticLikelihood:
        """The likelihood for energies."""
        return self._with(self.normal)

    @property
    def single(self) -> QuadraticLikelihood:
        """The same with its operator in single precision, for gradients and curvatures.

        The error of single precision is that of a force which is always the same at the same place: a trajectory
        bends by less than the leapfrog bends it, and whether it is accepted is decided by exact energies.
        """
        return self._with(self.quick)

    def _with(self, normal: NormalOperator) -> QuadraticLikelihood:
        operator = OperatorBesidePointSources(normal, self.sources)
        return QuadraticLikelihood(operator, self.residual, self.model, self.sigma)

    def draw_fluxes(self, sky: jax.Array, generator: np.random.Generator) -> jax.Array:
        """Return fluxes of the point sources beside a sky, (source,), Jy, drawn as if their prior were flat."""
        noise = jnp.asarray(generator.standard_normal(self.sources.seen.shape))
        return self.sources.draw(self.normal(sky - self.model), self.sigma[0, 0, 0], noise)


def energy(sky: LogNormalSky, position: Position, likelihood: Likelihood, centring: Centring) -> jax.Array:
    """Return the energy of prior and likelihood at a position in the coordinates of the centring."""
    prior, images = centring.prior_and_sky(sky, position)
    return prior + likelihood.exact.value(images)


def slope_of_energy(sky: LogNormalSky, position: Position, likelihood: Likelihood, centring: Centring) -> Position:
    """Return the derivatives of the energy along the coordinates of the centring and along the spectrum."""
    (prior, images), pull_back = jax.vjp(partial(centring.prior_and_sky, sky), position)
    (slope,) = pull_back((jnp.ones_like(prior), likelihood.single.gradient(images)))
    return slope


@jax.jit
def spectral_curvature(sky: LogNormalSky, at: Position, likelihood: Likelihood, centring: Centring) -> jax.Array:
    r"""Return $D^T H D / \sigma^2$ with $D = \partial I / \partial \theta$ at fixed x, (parameters, parameters).

    Args:
        sky: of excitations and spectra.
        at: a position with its excitations.
        likelihood: of the sky.
        centring: gives the coordinates x.
    """
    planes = sky.planes(at)

    def along(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
        _, coefficients = centring.slope(sky, at, direction)
        slope = sky.images(planes * mix(sky.mixing, hartley(coefficients)))
        return slope.ravel(), likelihood.single.curvature(slope).ravel()

    slopes, dirty = jax.lax.map(along, jnp.asarray(sky.directions))
    return sky.directions.T @ (slopes @ dirty.T) @ sky.directions
