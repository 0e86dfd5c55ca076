"""What a regulariser is: a pure function of an image and of the noise against which the image is judged.

Every regulariser returns a dimensionless number, to be added to chi^2/2 with a dimensionless strength. Images are
measured in the noise, so that the same strength serves every data set, and strength 1 is a sensible beginning
everywhere: `benchmarks/regularisers.py` scores each on skies of known truth. The docstring is the formula; JAX
differentiates it.

Images are (y, x) or (..., channel, y, x), Jy/pixel; sums without indices run over all pixels of all channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class NoiseLevel(NamedTuple):
    """The noise and the beam against which an image is judged, and what was known before.

    Attributes:
        sigma: r.m.s. of the noise in the dirty image, Jy/beam; also the uncertainty of a lone point source, Jy.
            One number, or (channel, 1, 1).
        beam_area: solid angle of the CLEAN beam, pixels. One number, or (channel, 1, 1).
        prior: the image that the entropy prefers to all others, Jy/pixel. One number, or shaped like the image.
        expected: an image that `l1` and `log_smoothness` judge others by, Jy/pixel, shaped like them; None where
            nothing is expected. One sigma spread over one beam, everywhere, is as good as nothing.
    """

    sigma: jax.Array | float
    beam_area: jax.Array | float
    prior: jax.Array | float = 0.0
    expected: jax.Array | None = None

    @property
    def floor(self) -> jax.Array | float:
        """Five sigma spread over one beam, Jy/pixel: emission fainter than this is lost in the noise."""
        return 5 * self.sigma / self.beam_area

    @property
    def resolved_frequency(self) -> jax.Array:
        r"""$q_b = \sqrt{\pi / (4 \ln 2\, \Omega)}$, cycles per pixel: one in the FWHM of a round beam of area Omega."""
        return jnp.sqrt(jnp.pi / (4 * jnp.log(2) * self.beam_area))


Regulariser = Callable[[jax.Array, NoiseLevel], jax.Array]
