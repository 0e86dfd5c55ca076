"""Normal operators of the channels of an image beside each other, where they differ from channel to channel."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.normal_operator import NormalOperator


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ChannelOperators:
    """$H_c$ of each channel c by itself.

    Attributes:
        operators: of every channel.
    """

    operators: tuple[NormalOperator, ...]

    @property
    def transfer(self) -> jax.Array:
        """The transfer functions, (channel, 2 ny, nx + 1)."""
        return jnp.stack([each.transfer for each in self.operators])

    def __call__(self, image: jax.Array) -> jax.Array:
        """Return the dirty images of channels, (..., channel, ny, nx), Jy/pixel to Jy/beam."""
        return jnp.stack([each(image[..., c, :, :]) for c, each in enumerate(self.operators)], axis=-3)

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue of all channels."""
        return jnp.max(jnp.stack([each.spectral_norm() for each in self.operators]))

    def of_channels(self, channels: int | NDArray[np.integer]) -> NormalOperator:
        """Return the operator of one channel, which takes (ny, nx), or of some, which takes (channel, ny, nx)."""
        if isinstance(channels, np.ndarray) and channels.ndim:
            return ChannelOperators(tuple(self.operators[c] for c in channels.tolist()))
        return self.operators[int(channels)]
