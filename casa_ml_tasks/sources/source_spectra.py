"""Spectra of sources: in every channel the fluxes that fit the dirty image best, given the sources' shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from casa_ml_tasks.sources.gaussian_pixels import Pixels, pixels
from casa_ml_tasks.sources.gaussians import Gaussians

ALIKE = 1e-8  # of the largest eigenvalue: combinations of sources that the data tell apart no better have no flux


@dataclass(frozen=True)
class Spectra:
    """Spectra of sources.

    Attributes:
        flux: Jy, (source, channel); NaN in channels without data.
        error: one standard deviation, Jy, (source, channel); infinite in channels without data.
    """

    flux: NDArray[np.float64]
    error: NDArray[np.float64]

    def mean(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each source's flux in the mean of all channels, weighted by 1/error^2, and its error, Jy."""
        weight = 1 / self.error**2
        total = weight.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.nansum(weight * self.flux, axis=1) / total, 1 / np.sqrt(total)


def source_spectra(
    gaussians: Gaussians, dirty: NDArray[np.floating], psf: NDArray[np.floating], noise: NDArray[np.floating]
) -> Spectra:
    r"""Return the fluxes f of least $(\sum f g)^T H (\sum f g) - 2 (\sum f g)^T d$ in each channel.

    The matrix $g_j^T H g_k$ is the product of the PSF and the correlation of two sources, which covers few pixels.
    Errors are those of natural weights, whose noise has the covariance $\sigma^2 H$.

    Args:
        gaussians: sources; their fluxes are not used.
        dirty: d, (channel, ny, nx), Jy/beam.
        psf: of each channel, or one for all, with the peak in the pixel (ny, nx), (channel or 1, 2 ny, 2 nx).
        noise: standard deviation in the dirty image, (channel,), Jy/beam; infinite in channels without data.
    """
    count, (channels, ny, nx) = len(gaussians), dirty.shape
    places = zip(gaussians.x, gaussians.y, gaussians.covariances(), strict=True)
    sources = [pixels(*place, (ny, nx)) for place in places]
    product = np.empty((channels, count))
    matrix = np.empty((len(psf), count, count))
    for j, first in enumerate(sources):
        product[:, j] = np.tensordot(dirty[:, *first.where], first.values, 2)
        for k, second in enumerate(sources[: j + 1]):
            matrix[:, j, k] = matrix[:, k, j] = _response(first, second, psf)
    used = np.isfinite(noise) & np.isfinite(product).all(axis=1)
    used &= np.isfinite(matrix).all(axis=(1, 2))
    flux = np.full((channels, count), np.nan)
    error = np.full((channels, count), np.inf)
    matrix = np.broadcast_to(matrix, (channels, count, count))[used]
    inverse = np.linalg.pinv(matrix, rcond=ALIKE, hermitian=True)
    flux[used] = np.einsum("cjk,ck->cj", inverse, product[used])
    variance = np.maximum(np.diagonal(inverse, axis1=1, axis2=2), 0)
    error[used] = np.asarray(noise)[used, None] * np.sqrt(variance)
    return Spectra(flux.T, error.T)


def _response(first: Pixels, second: Pixels, psf: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the products of a source with the dirty image of another, (channel,)."""
    correlation = fftconvolve(first.values, second.values[::-1, ::-1])
    corner = [
        psf.shape[axis] // 2 + a.start - (b.stop - 1)
        for axis, a, b in zip((1, 2), first.where, second.where, strict=True)
    ]
    rows, columns = (slice(start, start + size) for start, size in zip(corner, correlation.shape, strict=True))
    return np.tensordot(psf[:, rows, columns], correlation, 2)
