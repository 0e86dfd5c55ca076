"""What the network for spectra is trained to minimise."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.simulation.random_spectra import Lines, Spectrum

CORE = 0.4  # half width of the core of a line, FWHM


def loss(network: LineNetwork, spectra: Spectrum) -> jax.Array:
    """Return the cross entropy of range and core of the lines, the mean over the observed channels of a batch."""
    observed = jnp.isfinite(spectra.error)
    channels = jnp.arange(spectra.flux.shape[1])
    line, core = network(spectra.flux, spectra.error)
    entropy = cross_entropy(line, near(channels, spectra.lines, 1.0))
    entropy += cross_entropy(core, near(channels, spectra.lines, CORE))
    return jnp.sum(jnp.where(observed, entropy, 0.0)) / jnp.sum(observed)


def near(channels: jax.Array, lines: Lines, reach: float) -> jax.Array:
    """Return which channels lie within so many FWHM of the centre of a line, (..., channel)."""
    distance = jnp.abs(channels[:, None] - lines.centre[..., None, :])
    return jnp.any((distance <= reach * lines.fwhm[..., None, :]) & (lines.snr[..., None, :] > 0), -1)


def cross_entropy(logit: jax.Array, truth: jax.Array) -> jax.Array:
    """Return the cross entropy of each value, in natural units."""
    return jax.nn.softplus(logit) - logit * truth
