"""Minus the logarithm of the probability of a sky, given the data: what the inference explores."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, hartley
from casa_ml_tasks.minor.resolve.point_sources import PointSources


class Position(NamedTuple):
    """In the space of skies and spectra; a priori every number in it is standard normal.

    Attributes:
        excitations: of the field, (ny, nx).
        spectrum: parameters of the power spectrum, (parameters,).
    """

    excitations: jax.Array
    spectrum: jax.Array


class Likelihood(NamedTuple):
    r"""$\frac{1}{\sigma^2}\left[\frac12 \Delta^T H \Delta - \Delta^T r\right]$ of a sky I, $\Delta = I - I_0$.

    Attributes:
        normal: Jy/pixel to Jy/beam; H is what the point sources leave of it.
        residual: r, what they leave of the residual, (ny, nx), Jy/beam.
        model: $I_0$, whose residual that is, (ny, nx), Jy/pixel.
        sigma: noise of the residual, Jy/beam.
        sources: which are not part of the sky I.
    """

    normal: NormalOperator
    residual: jax.Array
    model: jax.Array
    sigma: jax.Array | float
    sources: PointSources

    def operator(self, sky: jax.Array) -> jax.Array:
        """H I, (ny, nx), Jy/beam."""
        return self.sources.without(self.normal(sky))

    def __call__(self, sky: jax.Array) -> jax.Array:
        """Minus the logarithm of the likelihood, up to a constant. sky: (ny, nx), Jy/pixel."""
        change = sky - self.model
        # H is symmetric. Said so, the gradient is H change - r from the one product that the value needs.
        dirty = jax.lax.stop_gradient(self.operator(change))
        quadratic = jnp.vdot(change, dirty) - 0.5 * jax.lax.stop_gradient(jnp.vdot(change, dirty))
        return (quadratic - jnp.vdot(change, self.residual)) / self.sigma**2


def sky(field: CorrelatedField, position: Position) -> jax.Array:
    """The exponential of the field, (ny, nx), Jy/pixel."""
    return jnp.exp(field.log_sky(field.amplitude(position.spectrum), position.excitations))


def energy(field: CorrelatedField, position: Position, likelihood: Likelihood) -> jax.Array:
    r"""$\frac12 |\xi|^2 + \frac12 |\theta|^2 + L(I(\xi, \theta))$: excitations, spectrum, and the `Likelihood`."""
    excitations, spectrum = position
    prior = 0.5 * jnp.vdot(excitations, excitations) + 0.5 * jnp.vdot(spectrum, spectrum)
    return prior + likelihood(sky(field, position))


@partial(jax.jit, static_argnames="field")
def spectral_curvature(field: CorrelatedField, position: Position, likelihood: Likelihood) -> jax.Array:
    r"""$D^T H D / \sigma^2$ with $D = \partial I / \partial \theta$ at fixed excitations, (parameters, parameters)."""
    brightness = sky(field, position)

    def along(direction: jax.Array) -> tuple[jax.Array, jax.Array]:
        slope = brightness * hartley(amplitude_slope(field, position.spectrum, direction) * position.excitations)
        return slope.ravel(), likelihood.operator(slope).ravel()

    slopes, dirty = jax.lax.map(along, jnp.eye(field.parameters))
    return slopes @ dirty.T / likelihood.sigma**2


def amplitude_slope(field: CorrelatedField, spectrum: jax.Array, direction: jax.Array) -> jax.Array:
    """Of the field's amplitudes along a direction of the spectrum's parameters, (ny, nx)."""
    return jax.jvp(field.amplitude, (spectrum,), (direction,))[1]
