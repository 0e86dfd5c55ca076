"""The network for images: it corrects a model of the sky, and says where sources are and what they look like.

It sees the residual, the model and the PSF, and is called again with the residual of its own model (as R2D2 does,
Aghabiglou et al. 2024, ApJS 273, 3), so that it never has to know the PSF by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp

from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.networks.layers import Block, Convolution, double, from_patches, halve, to_patches

PATCH = 4  # pixels; one source is found in each patch
MULTIPLE = 16  # the size of images is a multiple of it
TYPICAL_AXIS = 6.0  # pixels; unit of the axes of sources
PIXELS_PER_BEAM = 5.2  # geometric mean of the axes of the beam, that the training centres on
BEAM_RANGE = (4.5, 6.5)  # pixels a beam, seen in training
RARE = -5.0  # logit of a source in a patch, before training


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DetectionMaps:
    """What the network says of each patch, (..., patch in y, patch in x).

    Attributes:
        logit: log odds that the centre of a source lies in the patch.
        x, y: of the centre, from the middle of the patch, in patches.
        log_major, log_minor: natural logarithms of the axes (FWHM) in units of `TYPICAL_AXIS`.
        cosine, sine: of twice the angle from the x axis towards the y axis, times 1 - minor / major.
    """

    logit: jax.Array
    x: jax.Array
    y: jax.Array
    log_major: jax.Array
    log_minor: jax.Array
    cosine: jax.Array
    sine: jax.Array


NUMBERS = 7  # of a patch, the fields of DetectionMaps


class ImageNetwork(eqx.Module):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) on patches of 4 x 4 pixels, at three scales."""

    down: list[Block]
    up: list[Block]
    sky: Convolution
    detect: list[Convolution]
    width: tuple[int, int, int] = eqx.field(static=True)

    def __init__(self, key: jax.Array, width: tuple[int, int, int] = (48, 64, 96)):
        """Draw the weights.

        Args:
            key: of the random numbers.
            width: channels at each scale, from the finest.
        """
        keys = iter(jax.random.split(key, 8))
        fine, middle, coarse = self.width = width
        inputs = 4 * PATCH**2
        self.down = [
            Block(inputs, fine, next(keys)),
            Block(fine, middle, next(keys)),
            Block(middle, coarse, next(keys)),
        ]
        self.up = [Block(coarse + middle, middle, next(keys)), Block(middle + fine, fine, next(keys))]
        self.sky = jax.tree.map(lambda array: 0.1 * array, Convolution(fine, PATCH**2, 1, next(keys)))
        self.detect = [Convolution(fine, fine, 1, next(keys)), Convolution(fine, NUMBERS, 1, next(keys))]
        bias = jnp.zeros(NUMBERS).at[0].set(RARE)
        self.detect[1] = eqx.tree_at(lambda layer: layer.bias, self.detect[1], bias)

    def __call__(self, residual: jax.Array, model: jax.Array, psf: jax.Array) -> tuple[jax.Array, DetectionMaps]:
        """Return a correction of the model, (batch, n, n), noise units a pixel, and where sources are.

        Args:
            residual: of the model, (batch, n, n), in units of the noise of the dirty image.
            model: of the sky, (batch, n, n), noise units a pixel.
            psf: (batch, n, n), peak 1 in the pixel (n // 2, n // 2).
        """
        peak = jnp.maximum(jnp.abs(residual).max((1, 2), keepdims=True), 1.0)
        scaled = [jnp.arcsinh(residual / 2) / 2, residual / peak, jnp.arcsinh(10 * model) / 3, psf]
        images = to_patches(jnp.stack(scaled, -1), PATCH)
        kept = []
        for block in self.down[:-1]:
            images = block(images)
            kept.append(images)
            images = halve(images)
        images = self.down[-1](images)
        for block, skipped in zip(self.up, kept[::-1], strict=True):
            images = block(jnp.concatenate([double(images), skipped], -1))
        correction = 0.1 * peak * from_patches(self.sky(images), PATCH)
        numbers = self.detect[1](jax.nn.leaky_relu(self.detect[0](images)))
        return correction, DetectionMaps(*jnp.moveaxis(numbers, -1, 0))


def first_model(correction: jax.Array, residual: jax.Array) -> jax.Array:
    """Return the model that begins with a correction; softly positive, so that every pixel has a gradient."""
    scale = 0.1 * jnp.maximum(jnp.abs(residual).max((-2, -1), keepdims=True), 1.0)
    return scale * jax.nn.softplus(20 * correction / scale) / 20


def refine(
    network: ImageNetwork,
    dirty: jax.Array,
    psf: jax.Array,
    operator: NormalOperator,
    steps: int,
    known: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, DetectionMaps]:
    """Correct the model several times, each with the exact residual of the last; gradients see the last step only.

    Args:
        network: the same in each step.
        dirty: (batch, n, n), in units of its noise.
        psf: (batch, n, n).
        operator: H of each image.
        steps: how often the network is called.
        known: the model to begin with, (batch, n, n); an empty sky by default.

    Returns:
        The model (batch, n, n), its residual, and the detections of the last step.
    """
    model = jnp.zeros_like(dirty) if known is None else known
    residual = dirty if known is None else dirty - operator(known)
    for step in range(steps):
        correction, found = network(residual, model, psf)
        begins = step == 0 and known is None
        new = first_model(correction, residual) if begins else jax.nn.relu(model + correction)
        model = new if step == steps - 1 else jax.lax.stop_gradient(new)
        residual = dirty - operator(model)
    return model, residual, found
