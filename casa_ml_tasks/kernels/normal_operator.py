"""The normal operator F^H W F, and its forms as a convolution, whose cost does not depend on the visibilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray


class NormalOperator(Protocol):
    r"""$H = F^H W F / \sum W$, by whatever algorithm: linear and symmetric, of images in Jy/pixel.

    Every implementation is a JAX pytree, so that compiled functions take it as an argument.
    """

    @property
    def transfer(self) -> jax.Array:
        """The transfer function of the convolution that is nearest to H, real, (..., 2 ny, nx + 1).

        Preconditioners are made from it. Its precision is that of H.
        """
        ...

    def __call__(self, image: jax.Array, /) -> jax.Array:
        """Return the dirty image of an image; (..., ny, nx), Jy/pixel to Jy/beam."""
        ...

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue of H, a scalar."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConvolutionNormalOperator:
    r"""$F^H W F / \sum W$ on images without w-terms: an exact convolution with the PSF, Jy/pixel to Jy/beam.

    A Toeplitz operator on the (ny, nx) image needs the PSF at all lags -N..N, that is on twice the field. It is then
    embedded in a circulant of that size and costs two FFTs, whatever the number of visibilities. The circulant's
    eigenvalues may be negative although the operator on the image is not: clipping them, or truncating the PSF,
    gives another operator, to which the major cycles do not converge.

    Attributes:
        transfer: (..., 2 ny, nx + 1), real: the half-plane Fourier transform of the PSF, of every channel.
    """

    transfer: jax.Array

    @classmethod
    def from_psf(cls, psf: NDArray[np.floating], precision: DTypeLike = float) -> ConvolutionNormalOperator:
        """Return the operator.

        Args:
            psf: (..., 2 ny, 2 nx), with its peak in the pixel (ny, nx), Jy/beam.
            precision: of the transfer function.
        """
        return cls(transfer_function(psf, precision))

    @jax.jit
    def __call__(self, image: jax.Array) -> jax.Array:
        """Return the dirty image of an image, (..., ny, nx), Jy/pixel to Jy/beam."""
        return cropped(spectrum(image) * self.transfer)

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue: the largest modulus of the embedding circulant's."""
        return jnp.max(jnp.abs(self.transfer))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TaylorNormalOperator:
    r"""$(H I)_s = \sum_t T_{s+t} * I_t$ on Taylor terms t of the spectrum (Rau & Cornwell 2011, A&A 532, A71, eq. 18).

    $I(\nu) = \sum_t I_t ((\nu - \nu_0)/\nu_0)^t$; the PSF $T_q$ has the weights times $((\nu - \nu_0)/\nu_0)^q$.

    Attributes:
        transfers: of $T_q$, (2 terms - 1, 2 ny, nx + 1).
    """

    transfers: jax.Array

    @classmethod
    def from_psfs(cls, psfs: NDArray[np.floating], precision: DTypeLike = float) -> TaylorNormalOperator:
        """Return the operator.

        Args:
            psfs: (2 terms - 1, 2 ny, 2 nx), T_0 with its peak in the pixel (ny, nx), Jy/beam.
            precision: of the transfer functions.
        """
        if len(psfs) % 2 == 0:
            raise ValueError(f"{len(psfs)} PSFs are of no number of Taylor terms; n terms have 2 n - 1")
        return cls(transfer_function(psfs, precision))

    @property
    def transfer(self) -> jax.Array:
        """The transfer functions of every term by itself, $T_{2s}$, (term, 2 ny, nx + 1)."""
        return self.transfers[::2]

    @jax.jit
    def __call__(self, terms: jax.Array) -> jax.Array:
        """Return the dirty images of Taylor terms, (term, ny, nx), Jy/pixel to Jy/beam."""
        spectra = spectrum(terms)
        count = len(terms)
        return cropped(jnp.stack([jnp.sum(self.transfers[s : s + count] * spectra, axis=0) for s in range(count)]))

    def spectral_norm(self) -> jax.Array:
        r"""Return an upper bound on the largest eigenvalue, from the sums $\sum_t |T_{s+t}|$ at each frequency."""
        count = len(self.transfer)
        return jnp.max(jnp.stack([jnp.abs(self.transfers[s : s + count]).sum(axis=0) for s in range(count)]))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OperatorBesideSources:
    r"""$H - H B P^{-1} B^T H$, what is left of H where the coefficients of some images always fit best.

    Attributes:
        operator: H, Jy/pixel to Jy/beam.
        beams: H B, dirty images of the images B of point sources and their derivatives, (column, ny, nx).
        inverse: $P^{-1}$ of $P = B^T H B$, (column, column).
    """

    operator: NormalOperator
    beams: jax.Array
    inverse: jax.Array

    @property
    def transfer(self) -> jax.Array:
        """The transfer function of H, from which it differs in few directions."""
        return self.operator.transfer

    @jax.jit
    def __call__(self, image: jax.Array) -> jax.Array:
        """Return $H'$ of an image, (ny, nx), Jy/pixel to Jy/beam."""
        best = self.inverse @ jnp.tensordot(self.beams, image, 2)
        return self.operator(image) - jnp.tensordot(best.astype(self.beams.dtype), self.beams, 1)

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue: that of H, from which something positive is subtracted."""
        return self.operator.spectral_norm()


def transfer_function(psf: NDArray[np.floating], precision: DTypeLike = float) -> jax.Array:
    """Return the half-plane Fourier transform of PSFs, real; (..., 2 ny, 2 nx) to (..., 2 ny, nx + 1).

    Raises:
        ValueError: the number of rows or columns is odd.
    """
    if psf.shape[-2] % 2 or psf.shape[-1] % 2:
        raise ValueError(f"psf of shape {psf.shape} does not cover twice the image in both directions")
    transfer = np.fft.rfft2(np.fft.ifftshift(psf.astype(float), axes=(-2, -1))).real
    return jnp.asarray(transfer.astype(precision))


def spectrum(image: jax.Array) -> jax.Array:
    """Return the half-plane Fourier transform of an image in the corner of twice its field, (..., 2 ny, nx + 1).

    The transform leaves out rows of zeros.
    """
    ny, nx = image.shape[-2:]
    return jnp.fft.fft(jnp.fft.rfft(image, n=2 * nx, axis=-1), n=2 * ny, axis=-2)


def circulant_eigenvalues(transfer: jax.Array) -> jax.Array:
    """Return the operator's eigenvalues if the sky repeated itself beyond the image, (..., ny, nx // 2 + 1).

    None of them is negative. The circulant on the image itself has every other eigenvalue of the one on twice the
    field, and its inverse costs two small FFTs: good for a preconditioner.

    Args:
        transfer: (..., 2 ny, nx + 1), as `NormalOperator` has it.
    """
    return jnp.maximum(transfer[..., ::2, ::2], 0)


def cropped(spectrum: jax.Array) -> jax.Array:
    """Return the corner of the image that has this spectrum; (..., 2 ny, nx + 1) to (..., ny, nx)."""
    ny, nx = spectrum.shape[-2] // 2, spectrum.shape[-1] - 1
    rows = jnp.fft.ifft(spectrum, axis=-2)[..., :ny, :]
    return jnp.fft.irfft(rows, n=2 * nx, axis=-1)[..., :nx]
