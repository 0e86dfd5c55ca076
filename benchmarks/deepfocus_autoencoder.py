"""The autoencoder of the paper, as a baseline: Blobs Finder of Delli Veneri et al. (2023, MNRAS 518, 3407).

An encoder with 8, 16, 32 and 64 filters, a latent space of 1024 and a mirrored decoder, without skip connections: 33.7
million weights for 256 x 256 pixels. It sees images stretched to [0, 1] by their own extremes, and is trained on L1 +
SSIM. Means over 2 x 2 pixels and repetition stand for its strides, whose gradients are slow on CPUs, and normalisation
of each image for that of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import binary_dilation, find_objects, label

from benchmarks.deepfocus_scores import Detections
from casa_ml_tasks.networks.image_training import BATCH, CONFIGURATIONS, COVERAGES
from casa_ml_tasks.networks.layers import Convolution, double, halve
from casa_ml_tasks.networks.training import Plan, train
from casa_ml_tasks.simulation.random_fields import SimulatedField, draw_field
from casa_ml_tasks.simulation.uv_coverage import random_observations, stacked
from casa_ml_tasks.sources.dirty_cube import Plane

FILTERS = (8, 16, 32, 64)
LATENT = 1024
THRESHOLD = 0.15  # of the brightest pixel of the autoencoder's map, as published
GROWTH = (0.6, 0.7, 0.8, 1.0, 1.2, 1.5)  # of its boxes, the best of which is taken


class Autoencoder(eqx.Module):
    """Blobs Finder, for images of one size."""

    encoder: list[list[Convolution]]
    dense: list[eqx.nn.Linear]
    decoder: list[list[Convolution]]
    last: Convolution

    def __init__(self, pixels: int, key: jax.Array):
        """Draw the weights.

        Args:
            pixels: of the image in each direction, a multiple of 16.
            key: of the random numbers.
        """
        keys = iter(jax.random.split(key, 32))
        down, up = (1, *FILTERS), (*FILTERS[::-1], FILTERS[0])
        flat = FILTERS[-1] * (pixels // 16) ** 2

        def pair(inputs: int, outputs: int) -> list[Convolution]:
            return [Convolution(inputs, outputs, 3, next(keys)), Convolution(outputs, outputs, 3, next(keys))]

        self.encoder = [pair(down[i], down[i + 1]) for i in range(4)]
        self.dense = [eqx.nn.Linear(flat, LATENT, key=next(keys)), eqx.nn.Linear(LATENT, flat, key=next(keys))]
        self.decoder = [pair(up[i], up[i + 1]) for i in range(4)]
        self.last = Convolution(FILTERS[0], 1, 3, next(keys))

    def __call__(self, dirty: jax.Array) -> jax.Array:
        """Return a map of sources in [0, 1], (batch, n, n), of dirty images (batch, n, n)."""
        act = jax.nn.leaky_relu
        images = stretched(dirty)[..., None]
        for first, second in self.encoder:
            images = _normalised(act(second(halve(_normalised(act(first(images)))))))
        shape = images.shape
        latent = jax.vmap(lambda flat: act(self.dense[1](act(self.dense[0](flat)))))
        images = latent(images.reshape(shape[0], -1)).reshape(shape)
        for first, second in self.decoder:
            images = _normalised(act(second(_normalised(act(first(double(images)))))))
        return jax.nn.sigmoid(self.last(images)[..., 0])


def stretched(images: jax.Array) -> jax.Array:
    """Return images from 0 to 1, (batch, n, n); empty ones are 0."""
    low, high = images.min((1, 2), keepdims=True), images.max((1, 2), keepdims=True)
    return (images - low) / jnp.maximum(high - low, 1e-12)


def _normalised(images: jax.Array) -> jax.Array:
    mean, variance = images.mean((1, 2, 3), keepdims=True), images.var((1, 2, 3), keepdims=True)
    return (images - mean) / jnp.sqrt(variance + 1e-5)


def structural_similarity(one: jax.Array, other: jax.Array, size: int = 3) -> jax.Array:
    """Return the mean structural similarity (Wang et al. 2004) of images in [0, 1], (batch, n, n)."""

    def mean(images: jax.Array) -> jax.Array:
        window = (1, size, size)
        return jax.lax.reduce_window(images, 0.0, jax.lax.add, window, (1, 1, 1), "SAME") / size**2

    means = mean(one), mean(other)
    variances = mean(one * one) - means[0] ** 2, mean(other * other) - means[1] ** 2
    both = mean(one * other) - means[0] * means[1]
    top = (2 * means[0] * means[1] + 1e-4) * (2 * both + 9e-4)
    return jnp.mean(top / ((means[0] ** 2 + means[1] ** 2 + 1e-4) * (variances[0] + variances[1] + 9e-4)))


def loss(network: Callable[[jax.Array], jax.Array], fields: SimulatedField) -> jax.Array:
    """Return the mean absolute error of the map plus its structural dissimilarity, of a batch of fields."""
    target, said = stretched(fields.sky), network(fields.dirty)
    return jnp.abs(said - target).mean() + (1 - structural_similarity(said, target)) / 2


def trained_autoencoder(pixels: int, hours: float, cache: Path, seed: int = 1) -> Autoencoder:
    """Return the autoencoder, trained on the fields that the network for images is trained on.

    Args:
        pixels: of the images in each direction.
        hours: of training, all runs together.
        cache: folder in which its checkpoint stays; a later call goes on from there.
        seed: of observations, skies and weights.
    """
    coverages = stacked(random_observations(CONFIGURATIONS, COVERAGES, seed), pixels)

    def of_batch(network: Autoencoder, key: jax.Array, variant: int) -> jax.Array:
        return loss(network, jax.vmap(partial(draw_field, coverages=coverages))(jax.random.split(key, BATCH)))

    cache.mkdir(parents=True, exist_ok=True)
    network = Autoencoder(pixels, jax.random.PRNGKey(seed))
    plan = Plan("autoencoder", of_batch, (0,), BATCH, seed=seed)
    return train(plan, network, 3600 * hours, cache / f"autoencoder{pixels}.checkpoint.safetensors").network


@eqx.filter_jit
def _mapped(network: Callable[[jax.Array], jax.Array], dirty: jax.Array) -> jax.Array:
    return stretched(network(dirty[None]))[0]


def autoencoder_boxes(network: Callable[[jax.Array], jax.Array], plane: Plane) -> Detections:
    """Return the published boxes: islands above the threshold, grown by one pixel."""
    islands = np.asarray(_mapped(network, jnp.asarray(plane.dirty, jnp.float32))) > THRESHOLD
    labels, _ = label(binary_dilation(islands, np.ones((3, 3))), np.ones((3, 3)))
    boxes = [(x.start - 0.5, y.start - 0.5, x.stop - 0.5, y.stop - 0.5) for y, x in find_objects(labels)]
    return Detections(np.array(boxes, float).reshape(-1, 4))
