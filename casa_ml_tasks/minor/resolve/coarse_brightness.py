r"""How bright a sky is at the resolution of the data, which hold that tightly, and what is finer loosely or not at all.

Both are in all modes of the logarithm: a source of which the finer modes grow gets brighter as a whole, and where the
data know its flux to one in thousands, they hold another direction of the logarithm for every structure it may have.
Coordinates in which they always hold the same have in place of the coarse modes those of the logarithm of the
brightness that the data resolve.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray

from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, hartley
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, mix
from casa_ml_tasks.minor.resolve.modes import frequencies

WIDTH = 0.5  # FWHM of the Gaussian that smoothes, in waves of the finest coarse mode
#: Of the noise of a beam, spread over it. Of brighter sources the data know finer structure than the Gaussian leaves.
BRIGHTEST = 1e5
FAINTEST = 0.1  # of the noise: what a reference has in empty sky


class CoarseBrightness(NamedTuple):
    r"""$s = \ln(1 + K e^{\tau_0 + h}) - \ln(1 + K e^{\tau_0})$, the logarithm of the brightness in units of the noise.

    h is the fine part of the logarithm of the planes, $\tau_0$ their coarse part in a sky for reference, and K
    smoothes. What is fainter than the noise does not count.

    In single precision, whose rounding moves a sky by far less than the noise.

    Attributes:
        coarse: whether a mode is, (field, ny, nx), 1 or 0; all modes of point sources are.
        kernel: K of half the modes, (ny, nx // 2 + 1).
        reference: $\tau_0$, (plane, ny, nx).
        brightness: of it, (plane, ny, nx).
    """

    coarse: jax.Array
    kernel: jax.Array
    reference: jax.Array
    brightness: jax.Array

    @classmethod
    def none(cls, sky: LogNormalSky) -> CoarseBrightness:
        """Return that of coarse modes alone: the logarithm of the sky is as linear as that of the brightness."""
        ny, nx = sky.shape
        images = jnp.zeros((len(sky.mixing), ny, nx), np.float32)
        coarse = jnp.ones((len(sky.offsets), ny, nx), np.float32)
        return cls(coarse, jnp.zeros((ny, nx // 2 + 1), np.float32), images, images)

    @classmethod
    def of(
        cls,
        sky: LogNormalSky,
        planes: NDArray[np.floating],
        noise: NDArray[np.floating],
        finest: float,
        precision: DTypeLike = np.float32,
    ) -> CoarseBrightness:
        """Return that beside some planes, or that of coarse modes alone where the planes are too bright.

        Args:
            sky: of which they are planes.
            planes: (plane, ny, nx), Jy/pixel, not negative.
            noise: of a beam, spread over it, (plane,), Jy/pixel; infinite for a plane that is not seen.
            finest: frequency of coarse modes, cycles per pixel.
            precision: of real numbers.
        """
        ny, nx = sky.shape
        frequency = frequencies(sky.shape) / finest
        has_fine = np.repeat(
            [isinstance(each, CorrelatedField) for each in sky.sets], [each.count for each in sky.sets]
        )
        is_coarse = np.where(has_fine[:, None, None], frequency < 1, 1.0)
        half = frequency[:, : nx // 2 + 1]
        gaussian = np.exp(-((np.pi * WIDTH * half) ** 2) / (4 * np.log(2)))
        in_noise = np.fft.irfft2(np.fft.rfft2(planes / noise[:, None, None]) * gaussian, s=(ny, nx))
        if in_noise.max() > BRIGHTEST:
            return cls.none(sky)
        logarithm = np.fft.rfft2(np.log(np.maximum(in_noise, 0) + FAINTEST))
        smooth = np.fft.irfft2(logarithm * (half < 1), s=(ny, nx))
        coarse, kernel, reference = (jnp.asarray(each.astype(precision)) for each in (is_coarse, gaussian, smooth))
        return cls(coarse, kernel, reference, _of_planes(reference, kernel))

    def of_fine_modes(self, sky: LogNormalSky, coefficients: jax.Array) -> jax.Array:
        """Return the coarse modes of the logarithm of the brightness, (field, ny, nx).

        coefficients: (field, ny, nx), of which only the fine ones count.
        """
        precision = self.reference.dtype
        fields = hartley((1 - self.coarse) * coefficients.astype(precision))
        log_planes = self.reference + mix(sky.mixing.astype(precision), fields)
        logarithm = _of_planes(log_planes, self.kernel) - self.brightness
        modes = self.coarse * hartley(mix(sky.unmixing.astype(precision), logarithm))
        return modes.astype(coefficients.dtype) / np.prod(sky.shape)


@jax.jit
def _of_planes(log_planes: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return the logarithm of the brightness of planes, (plane, ny, nx), from their logarithm, (plane, ny, nx)."""
    smooth = jnp.fft.irfft2(jnp.fft.rfft2(jnp.exp(log_planes)) * kernel, s=log_planes.shape[-2:])
    return jnp.log1p(jnp.maximum(smooth, 0))
