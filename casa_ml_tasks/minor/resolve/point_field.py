"""Point sources in every pixel, of which nearly all are nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr, ndtri

from casa_ml_tasks.minor.resolve.modes import Modes

FAINTEST = -5.0  # logarithm of the flux over the prior's scale: what is less probable than 1e-60


@dataclass(frozen=True)
class PointField:
    r"""A field whose pixels $\zeta$ are independent and standard normal, for fluxes with an inverse-gamma prior.

    Of the sources with $p(f) = q f^{-2} e^{-q/f}$, as of those of the radio sky, as many are brighter than f as 1/f;
    RESOLVE has the same prior of another slope (Selig & Enßlin 2015, A&A 574, A74). The probability of a flux below f
    is $e^{-q/f}$, so that $\ln f/q = -\ln(-\ln\Phi(\zeta))$ with the normal distribution $\Phi$.

    Attributes:
        shape: (ny, nx).
    """

    shape: tuple[int, int]
    count = 1
    parameters = 0
    directions = np.zeros((0, 0))

    @cached_property
    def modes(self) -> Modes:
        """The Fourier modes of the image, all of which are as strong."""
        return Modes.of(self.shape)

    def log_amplitude_of_rings(self, _: jax.Array) -> jax.Array:
        """Return the logarithm of the amplitude of one mode in each ring, (1, rings)."""
        return jnp.full((1, self.modes.count.size), -0.5 * np.log(np.prod(self.shape)))

    @staticmethod
    def spectrum(standard: jax.Array) -> jax.Array:
        """Return the spectrum, which has no parameters, (0,)."""
        return standard

    @staticmethod
    def standard(spectrum: jax.Array) -> jax.Array:
        """Return the standard normal numbers of the spectrum, of which there are none, (0,)."""
        return spectrum

    @staticmethod
    def log_volume(_: jax.Array) -> jax.Array:
        """Return zero: a spectrum without parameters has no volume to compare."""
        return jnp.zeros(())

    @staticmethod
    def curvature_of_prior(_: jax.Array) -> jax.Array:
        """Return the curvature along no parameters, (0, 0)."""
        return jnp.zeros((0, 0))

    @staticmethod
    def logarithm(field: jax.Array) -> jax.Array:
        r"""Return $\ln f/q$ of $\zeta$."""
        of_bright = jnp.log1p(-ndtr(-jnp.abs(field)))  # which in the other form is lost in the rounding of 1
        return -jnp.log(-jnp.where(field > 0, of_bright, log_ndtr(field)))

    @staticmethod
    def field(logarithm: jax.Array) -> jax.Array:
        r"""Return $\zeta$ of $\ln f/q$, nowhere less than of the faintest."""
        return -ndtri(-jnp.expm1(-jnp.exp(-jnp.maximum(logarithm, FAINTEST))))
