"""Regularisers that count the ways in which an image may have come about. For non-negative images only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln

from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel


def entropy(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Negative entropy: $0.1 \sum \left[(I + \epsilon) \ln \frac{I + \epsilon}{P + \epsilon} - I + P\right] / \sigma$.

    Maximum entropy against the prior image P, by default an empty one, both raised by the floor $\epsilon$ so that the
    slope at zero is finite (Cornwell & Evans 1985, A&A 143, 77). Zero for I = P, positive elsewhere.
    """
    shifted, prior = image + noise.floor, noise.prior + noise.floor
    return 0.1 * jnp.sum((shifted * jnp.log(shifted / prior) - image + noise.prior) / noise.sigma)


def multiplicity(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Few ways: $0.1 \frac{\epsilon}{\sigma} \left[\sum \ln\Gamma(n + 1) - \ln\Gamma(N + 1) + N \ln M\right]$.

    With $n = I / \epsilon$ quanta in a pixel, $N = \sum n$, and M pixels: minus the logarithm of the fraction of all
    ways to scatter N quanta that give this image (Sutton & Wandelt 2006, ApJS 162, 401). Every channel is scattered by
    itself. Unlike `entropy` it resists the concentration of flux, not flux.
    """
    quanta = image / noise.floor
    total = jnp.sum(quanta, axis=(-2, -1), keepdims=True)
    pixels = image.shape[-2] * image.shape[-1]
    surprise = jnp.sum(gammaln(quanta + 1), axis=(-2, -1), keepdims=True) - gammaln(total + 1) + total * jnp.log(pixels)
    return 0.1 * jnp.sum(noise.floor / noise.sigma * surprise)
