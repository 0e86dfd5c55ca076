"""The normal operator F^H W F as a convolution: its cost does not depend on the number of visibilities."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NormalOperator:
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
    def from_psf(cls, psf: NDArray[np.floating], precision: DTypeLike = float) -> NormalOperator:
        """psf: (..., 2 ny, 2 nx), with its peak in the pixel (ny, nx), Jy/beam; precision: of the transfer function."""
        return cls(_transfer(psf, precision))

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.transfer.shape[-2] // 2, self.transfer.shape[-1] - 1

    @jax.jit
    def __call__(self, image: jax.Array) -> jax.Array:
        """image: (..., ny, nx), Jy/pixel. Returns the dirty image of it, (..., ny, nx), Jy/beam."""
        return _cropped(_spectrum(image) * self.transfer)

    def spectral_norm(self) -> jax.Array:
        """An upper bound on the largest eigenvalue: the largest modulus of the embedding circulant's."""
        return jnp.max(jnp.abs(self.transfer))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TaylorNormalOperator:
    r"""$(H I)_s = \sum_t T_{s+t} * I_t$ on Taylor terms t of the spectrum (Rau & Cornwell 2011, A&A 532, A71, eq. 18).

    $I(\nu) = \sum_t I_t ((\nu - \nu_0)/\nu_0)^t$; the PSF $T_q$ has the weights times $((\nu - \nu_0)/\nu_0)^q$.

    Attributes:
        transfer: (2 terms - 1, 2 ny, nx + 1).
    """

    transfer: jax.Array

    @classmethod
    def from_psfs(cls, psfs: NDArray[np.floating], precision: DTypeLike = float) -> TaylorNormalOperator:
        """psfs: (2 terms - 1, 2 ny, 2 nx), T_0 with its peak in the pixel (ny, nx), Jy/beam; as `NormalOperator`."""
        if len(psfs) % 2 == 0:
            raise ValueError(f"{len(psfs)} PSFs are of no number of Taylor terms; n terms have 2 n - 1")
        return cls(_transfer(psfs, precision))

    @jax.jit
    def __call__(self, terms: jax.Array) -> jax.Array:
        """terms: (term, ny, nx), Jy/pixel. Returns the dirty Taylor images, (term, ny, nx), Jy/beam."""
        spectra = _spectrum(terms)
        count = len(terms)
        return _cropped(jnp.stack([jnp.sum(self.transfer[s : s + count] * spectra, axis=0) for s in range(count)]))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MosaicNormalOperator:
    r"""$H I = \sum_k a_k\, (T_k * (a_k I))$, exact for any pointings k with their beams a and PSFs T.

    A beam ends with a box of its own, so that a pointing costs what its box does, however large the mosaic.

    Attributes:
        transfer: (2 ny, nx + 1), of the convolution that H is on average.
        transfers: (pointing, 2 height, width + 1), of PSFs that are normalised together.
        beams: (pointing, height, width).
        corners: pixel y, x that each box begins with, (pointing, 2).
    """

    transfer: jax.Array
    transfers: jax.Array
    beams: jax.Array
    corners: jax.Array

    @classmethod
    def from_psfs(
        cls,
        psf: NDArray[np.floating],
        psfs: NDArray[np.floating],
        beams: NDArray[np.floating],
        corners: NDArray[np.integer],
        precision: DTypeLike = float,
    ) -> MosaicNormalOperator:
        """Make it.

        Args:
            psf: of the convolution that it is on average, (2 ny, 2 nx), Jy/beam.
            psfs: of the pointings, each over the sum of all weights, (pointing, 2 height, 2 width), Jy/beam.
            beams: (pointing, height, width).
            corners: pixel y, x that each box begins with, (pointing, 2).
            precision: of the transfer functions and the beams.
        """
        if (len(psfs), *(2 * n for n in beams.shape[1:])) != (len(beams), *psfs.shape[1:]):
            raise ValueError(f"psfs of shape {psfs.shape} do not cover twice beams of shape {beams.shape}")
        transfer, transfers = (_transfer(each, precision) for each in (psf, psfs))
        return cls(transfer, transfers, jnp.asarray(beams.astype(precision)), jnp.asarray(corners))

    @jax.jit
    def __call__(self, image: jax.Array) -> jax.Array:
        """image: (..., ny, nx), Jy/pixel. Returns the dirty image, (..., ny, nx), Jy/beam, with the beams once more."""
        *planes, _, _ = image.shape

        def add(total: jax.Array, pointing: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            transfer, beam, corner = pointing
            start, size = (*[0] * len(planes), *corner), (*planes, *beam.shape)
            seen = beam * _cropped(_spectrum(beam * jax.lax.dynamic_slice(image, start, size)) * transfer)
            before = jax.lax.dynamic_slice(total, start, size)
            return jax.lax.dynamic_update_slice(total, before + seen, start), None

        total, _ = jax.lax.scan(add, jnp.zeros_like(image), (self.transfers, self.beams, self.corners))
        return total


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
        """Of H, from which H' differs in few directions."""
        return self.operator.transfer

    @jax.jit
    def __call__(self, image: jax.Array) -> jax.Array:
        """image: (ny, nx), Jy/pixel. Returns (ny, nx), Jy/beam."""
        best = self.inverse @ jnp.tensordot(self.beams, image, 2)
        return self.operator(image) - jnp.tensordot(best.astype(self.beams.dtype), self.beams, 1)


#: Any of them.
Operator = NormalOperator | TaylorNormalOperator | MosaicNormalOperator | OperatorBesideSources


def _transfer(psf: NDArray[np.floating], precision: DTypeLike = float) -> jax.Array:
    if psf.shape[-2] % 2 or psf.shape[-1] % 2:
        raise ValueError(f"psf of shape {psf.shape} does not cover twice the image in both directions")
    transfer = np.fft.rfft2(np.fft.ifftshift(psf.astype(float), axes=(-2, -1))).real
    return jnp.asarray(transfer.astype(precision))


def _spectrum(image: jax.Array) -> jax.Array:
    """Half-plane Fourier transform of an image in the corner of twice its field; rows of zeros are left out."""
    ny, nx = image.shape[-2:]
    return jnp.fft.fft(jnp.fft.rfft(image, n=2 * nx, axis=-1), n=2 * ny, axis=-2)


def circulant_eigenvalues(transfer: jax.Array) -> jax.Array:
    """Of the operator if the sky repeated itself beyond the image, (..., ny, nx // 2 + 1), none of them negative.

    The circulant on the image itself has every other eigenvalue of the one on twice the field, and its inverse costs
    two small FFTs: good for a preconditioner.

    Args:
        transfer: (..., 2 ny, nx + 1), as in `NormalOperator`.
    """
    return jnp.maximum(transfer[..., ::2, ::2], 0)


def _cropped(spectrum: jax.Array) -> jax.Array:
    ny, nx = spectrum.shape[-2] // 2, spectrum.shape[-1] - 1
    rows = jnp.fft.ifft(spectrum, axis=-2)[..., :ny, :]
    return jnp.fft.irfft(rows, n=2 * nx, axis=-1)[..., :nx]
