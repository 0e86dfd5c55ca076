"""The normal operator F^H W F as a convolution: what makes a minor-cycle step independent of the number of visibilities."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NormalOperator:
    r"""$F^H W F / \sum W$ on images without w-terms: an exact convolution with the PSF, Jy/pixel to Jy/beam.

    A Toeplitz operator on the (ny, nx) image needs the PSF at all lags -N..N, that is on twice the field. It is then
    embedded in a circulant of that size and costs two FFTs, whatever the number of visibilities. The circulant's
    eigenvalues may be negative although the operator on the image is not: clipping them, or truncating the PSF,
    gives another operator, to which the major cycles do not converge.

    Attributes:
        transfer: (2 ny, nx + 1), real: the half-plane Fourier transform of the PSF.
    """

    transfer: jax.Array

    @classmethod
    def from_psf(cls, psf: jax.Array) -> NormalOperator:
        """psf: (2 ny, 2 nx), with its peak in the pixel (ny, nx), Jy/beam."""
        if psf.shape[0] % 2 or psf.shape[1] % 2:
            raise ValueError(f"psf of shape {psf.shape} does not cover twice the image in both directions")
        return cls(jnp.fft.rfft2(jnp.fft.ifftshift(jnp.asarray(psf))).real)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.transfer.shape[0] // 2, self.transfer.shape[1] - 1

    def __call__(self, image: jax.Array) -> jax.Array:
        """image: (ny, nx), Jy/pixel. Returns the dirty image of it, (ny, nx), Jy/beam."""
        ny, nx = self.shape
        doubled = (2 * ny, 2 * nx)
        return jnp.fft.irfft2(jnp.fft.rfft2(image, s=doubled) * self.transfer, s=doubled)[:ny, :nx]

    def spectral_norm(self) -> jax.Array:
        """An upper bound on the largest eigenvalue: the largest modulus of the embedding circulant's."""
        return jnp.max(jnp.abs(self.transfer))
