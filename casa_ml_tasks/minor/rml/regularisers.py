r"""Regularisers: what a good image is believed to look like, as pure functions whose docstring is the formula.

Every regulariser takes the image and the noise level and returns a dimensionless number, to be added to chi^2/2 with a
dimensionless strength. Images are measured in the noise, so that the same strength serves every data set, and
strength 1 is a sensible beginning everywhere: `benchmarks/regularisers.py` scores each on skies of known truth.

A new one is a function and a line in `REGULARISERS`; JAX differentiates it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class NoiseLevel(NamedTuple):
    """The noise against which an image is judged.

    Attributes:
        sigma: r.m.s. of the noise in the dirty image, Jy/beam; also the uncertainty of a lone point source, Jy.
        beam_area: solid angle of the CLEAN beam, pixels.
    """

    sigma: jax.Array | float
    beam_area: jax.Array | float

    @property
    def floor(self) -> jax.Array | float:
        """Five sigma spread over one beam, Jy/pixel: emission fainter than this is lost in the noise."""
        return 5 * self.sigma / self.beam_area


Regulariser = Callable[[jax.Array, NoiseLevel], jax.Array]


def _squared_gradient(image: jax.Array) -> jax.Array:
    r"""$|\nabla I|^2$ by forward differences, zero across the far edges; (y, x)."""
    along_y = jnp.diff(image, axis=-2, append=image[..., -1:, :])
    along_x = jnp.diff(image, axis=-1, append=image[..., :, -1:])
    return along_y**2 + along_x**2


def l1(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Sparsity: $\sum_{lm} |I_{lm}| / \sigma$.

    Strength 1 asks of every pixel that holds flux a gain of one sigma in the residual (Tibshirani 1996; Honma et al.
    2014, PASJ 66, 95).
    """
    magnitude = jnp.where(image < 0, -image, image)  # slope +1 at zero, where jnp.abs would have none
    return jnp.sum(magnitude) / noise.sigma


def total_squared_variation(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Smoothness: $10^{-3} \sum_{lm} |\nabla I|^2 / \sigma^2$ (Kuramochi et al. 2018, ApJ 858, 56)."""
    return 1e-3 * jnp.sum(_squared_gradient(image)) / noise.sigma**2


def total_variation(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Flat pieces with sharp edges: $0.3 \sum_{lm} (\sqrt{|\nabla I|^2 + \epsilon^2} - \epsilon) / \sigma$.

    Isotropic (Rudin, Osher & Fatemi 1992), rounded off below the floor $\epsilon$ so that it has a gradient everywhere.
    """
    return 0.3 * jnp.sum(jnp.sqrt(_squared_gradient(image) + noise.floor**2) - noise.floor) / noise.sigma


def entropy(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Negative entropy: $0.1 \sum_{lm} \left[(I + \epsilon) \ln \frac{I + \epsilon}{\epsilon} - I\right] / \sigma$.

    Maximum entropy against a flat prior image at the floor $\epsilon$, finite with a finite slope at zero
    (Cornwell & Evans 1985, A&A 143, 77). For non-negative images only.
    """
    shifted = image + noise.floor
    return 0.1 * jnp.sum(shifted * jnp.log(shifted / noise.floor) - image) / noise.sigma


def log_smoothness(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Smoothness of the logarithm: $\sum_{lm} |\nabla \ln(I_{lm} + \epsilon)|^2$.

    Penalises relative, not absolute, differences, so bright and faint emission are treated alike; emission far below
    the floor $\epsilon$ costs nothing. For non-negative images only.
    """
    return jnp.sum(_squared_gradient(jnp.log(image + noise.floor)))


REGULARISERS: dict[str, Regulariser] = {
    "l1": l1,
    "tsv": total_squared_variation,
    "tv": total_variation,
    "entropy": entropy,
    "log_smoothness": log_smoothness,
}

#: Those that take the logarithm of the image, and so contradict positivity=False.
NEED_POSITIVITY = frozenset({"entropy", "log_smoothness"})
