"""Regularisers for where the emission lies."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.minor.rml.regularisers.sparsity import magnitude


def edge_clamp(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Empty edges: $\sum_{\mathrm{edge}} (I / \epsilon)^2$ over the outermost pixels.

    Keeps sources beyond the image from piling up at its edges (MPoL's `edge_clamp`: Czekala et al. 2021,
    doi:10.5281/zenodo.3594081).
    """
    inside = jnp.zeros(image.shape[-2:], bool).at[1:-1, 1:-1].set(True)
    return jnp.sum(jnp.where(inside, 0, (image / noise.floor) ** 2))


def compactness(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Flux near the centre: $\sum |I|\, r^2 / (R^2 \sigma)$.

    r is the distance from the pixel (ny // 2, nx // 2), R half the shorter side: `l1` at R, free in the centre. The
    second moment about the centre (Issaoun et al. 2019, A&A 629, A32) and not about the centroid, which an empty
    image does not have.
    """
    ny, nx = image.shape[-2:]
    y, x = jnp.indices((ny, nx))
    squared_distance = (y - ny // 2) ** 2 + (x - nx // 2) ** 2
    return jnp.sum(magnitude(image) * squared_distance / (min(ny, nx) / 2) ** 2 / noise.sigma)
