"""The normal operator F^H W F as a convolution: its cost does not depend on the number of visibilities."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray


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
    def from_psf(cls, psf: NDArray[np.floating]) -> NormalOperator:
        """psf: (2 ny, 2 nx), with its peak in the pixel (ny, nx), Jy/beam."""
        if psf.shape[0] % 2 or psf.shape[1] % 2:
            raise ValueError(f"psf of shape {psf.shape} does not cover twice the image in both directions")
        return cls(jnp.asarray(np.fft.rfft2(np.fft.ifftshift(psf)).real))

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


def psf_of_mosaic(psf: NDArray[np.floating], primary_beam: NDArray[np.floating]) -> NDArray[np.floating]:
    r"""The PSF of a densely pointed mosaic in flat noise: $T(d)\, C(d)$, $C(d) \propto \int A(x) A(x + d) dx$.

    The normal operator of a mosaic is $\sum_k A_k T A_k$, over $p = \sqrt{\sum_k A_k^2}$ on both sides. Where the
    pointings are dense, $\sum_k A(x - x_k) A(x + d - x_k)$ depends on the distance d alone, and the operator is a
    convolution. T and C are autocorrelations, so their product is one: the operator is positive semi-definite.

    Args:
        psf: T, of all pointings together without beams, (..., 2 ny, 2 nx), Jy/beam.
        primary_beam: A, of one pointing, on the same grid, 1 in the centre.
    """
    spectrum = np.abs(np.fft.rfft2(primary_beam)) ** 2
    autocorrelation = np.fft.fftshift(np.fft.irfft2(spectrum, s=primary_beam.shape[-2:]), axes=(-2, -1))
    return psf * (autocorrelation / autocorrelation.max())
