"""Layers for batches of images, (batch, y, x, channel): the layout that XLA's convolutions are fastest in on CPUs.

Strided convolutions, whose gradients are slow there, are avoided: images shrink by means over 2 x 2 pixels and grow by
repetition.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp


class Convolution(eqx.Module):
    """A convolution that keeps the size of the image, of 3 x 3 pixels or of one.

    Attributes:
        weight: (size, size, input, output).
        bias: (output,).
    """

    weight: jax.Array
    bias: jax.Array

    def __init__(self, inputs: int, outputs: int, size: int, key: jax.Array):
        """Draw the weights (He et al. 2015, arXiv 1502.01852).

        Args:
            inputs, outputs: channels.
            size: of the kernel, pixels.
            key: of the random numbers.
        """
        self.weight = jax.random.normal(key, (size, size, inputs, outputs)) * jnp.sqrt(2 / (size**2 * inputs))
        self.bias = jnp.zeros(outputs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return (batch, y, x, output)."""
        if self.weight.shape[0] == 1:
            return images @ self.weight[0, 0] + self.bias
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(images, self.weight, (1, 1), "SAME", dimension_numbers=layout) + self.bias


class Block(eqx.Module):
    """Two convolutions of 3 x 3 pixels, the second as a correction of what the first has found."""

    first: Convolution
    second: Convolution

    def __init__(self, inputs: int, outputs: int, key: jax.Array):
        """Draw the weights. inputs, outputs: channels."""
        of_first, of_second = jax.random.split(key)
        self.first = Convolution(inputs, outputs, 3, of_first)
        self.second = Convolution(outputs, outputs, 3, of_second)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return (batch, y, x, output)."""
        found = jax.nn.leaky_relu(self.first(images))
        return jax.nn.leaky_relu(found + 0.5 * self.second(found))


def to_patches(images: jax.Array, size: int) -> jax.Array:
    """Make the pixels of square patches channels: (batch, y, x, channel) to (batch, y/size, x/size, size^2 channel)."""
    b, h, w, c = images.shape
    split = images.reshape(b, h // size, size, w // size, size, c)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(b, h // size, w // size, size * size * c)


def from_patches(patches: jax.Array, size: int) -> jax.Array:
    """Undo `to_patches` of images with one channel: (batch, y/size, x/size, size^2) to (batch, y, x)."""
    b, h, w, _ = patches.shape
    return patches.reshape(b, h, w, size, size).transpose(0, 1, 3, 2, 4).reshape(b, h * size, w * size)


def halve(images: jax.Array) -> jax.Array:
    """Return the means over 2 x 2 pixels."""
    b, h, w, c = images.shape
    return images.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def double(images: jax.Array) -> jax.Array:
    """Repeat each pixel 2 x 2 times."""
    return jnp.repeat(jnp.repeat(images, 2, 1), 2, 2)
