"""Normal operators on every n-th pixel of an image: those of the same data and a sky on the coarser grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample

from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.normal_operator import transfer_function
from casa_ml_tasks.kernels.single_dish import SingleDishNormalOperator

FAINTEST = 1e-3  # of the largest beam: what a box may leave out
MOST = 0.99  # of the weights: what the pixels of a coarser image sample


def coarsest(psf: NDArray[np.floating]) -> int:
    """Return the largest factor by which pixels may be wider and still sample nearly all of the weights.

    psf: (2 ny, 2 nx), Jy/beam.
    """
    transform = np.abs(np.fft.rfft2(psf))
    v, u = np.fft.fftfreq(psf.shape[0]), np.fft.rfftfreq(psf.shape[1])
    frequency = np.maximum(np.abs(v)[:, None], u).ravel()
    order = np.argsort(frequency)
    within = np.cumsum(transform.ravel()[order])
    highest = frequency[order][np.searchsorted(within, MOST * within[-1])]
    return max(1, int(0.5 / highest))


def in_smaller_boxes(mosaic: Mosaic, faintest: float = FAINTEST) -> list[Mosaic]:
    """Return mosaics whose sum a mosaic is, each of the pointings that fit in boxes of one size.

    A box may end where a beam and all it sees is below a share of the mosaic's largest; boxes are quarters, halves,
    three quarters or the whole of those of the mosaic.

    Args:
        mosaic: whose boxes are as large as the largest pointing needs.
        faintest: the share.
    """
    height, width = mosaic.beams.shape[1:]
    seen = mosaic.beams > faintest * mosaic.beams.max()
    y, x = np.indices((height, width))
    reach = np.maximum(np.abs(2 * y - height + 1) / height, np.abs(2 * x - width + 1) / width)
    needed = np.array([np.max(reach, where=each, initial=0.0) for each in seen])
    quarters = np.clip(np.ceil(4 * needed), 1, 4).astype(int)
    return [_cut(mosaic, np.flatnonzero(quarters == each), each / 4) for each in np.unique(quarters)]


def _cut(mosaic: Mosaic, which: NDArray[np.intp], share: float) -> Mosaic:
    """Return some pointings of a mosaic in the middle of their boxes."""
    height, width = mosaic.beams.shape[1:]
    down, along = (int((1 - share) / 2 * n) for n in (height, width))
    rows, columns = slice(down, height - down), slice(along, width - along)
    lags = np.s_[:, 2 * down : 2 * (height - down), 2 * along : 2 * (width - along)]
    return Mosaic(
        mosaic.psfs[which][lags],
        mosaic.beams[which][:, rows, columns],
        mosaic.corners[which] + np.array([down, along]),
        mosaic.shape,
    )


def beam_area_of(psf: NDArray[np.floating]) -> float:
    r"""Return the solid angle of the Gaussian that is as curved at its peak as a PSF, pixels.

    $1 / (2 \pi \sigma_u \sigma_v)$ with the r.m.s. spatial frequencies of the weights.

    psf: (2 ny, 2 nx).
    """
    transform = np.abs(np.fft.fft2(psf))
    power = np.array([np.sum(transform * f**2) for f in np.meshgrid(*map(np.fft.fftfreq, psf.shape), indexing="ij")])
    return float(transform.sum() / (2 * np.pi * np.sqrt(np.prod(power))))


def coarser_psf(psf: NDArray[np.floating], factor: int) -> NDArray[np.floating]:
    """Return a PSF at lags that are multiples of a factor, (..., 2 height, 2 width).

    Args:
        psf: (..., 2 ny, 2 nx), with its peak in the pixel (ny, nx).
        factor: of which the pixels are kept; height is ny / factor, rounded up.
    """
    ny, nx = (n // 2 for n in psf.shape[-2:])
    height, width = -(-ny // factor), -(-nx // factor)
    padding = [(0, 0)] * (psf.ndim - 2) + [(height * factor - ny, 0), (width * factor - nx, 0)]
    return np.pad(psf, padding)[..., ::factor, ::factor][..., : 2 * height, : 2 * width]


def coarser_mosaic(mosaic: Mosaic, factor: int) -> Mosaic:
    """Return the mosaic on the pixels of an image whose row and column are multiples of a factor."""
    box, shape = (-(-n // factor) for n in mosaic.beams.shape[1:]), (-(-n // factor) for n in mosaic.shape)
    (height, width), (ny, nx) = box, shape
    beams = np.zeros((len(mosaic.beams), height, width), mosaic.beams.dtype)
    corners = np.zeros_like(mosaic.corners)
    for beam, kept, corner, (y, x) in zip(mosaic.beams, beams, corners, mosaic.corners, strict=True):
        first = -(-y // factor), -(-x // factor)
        some = beam[first[0] * factor - y :: factor, first[1] * factor - x :: factor]
        corner[:] = min(first[0], ny - height), min(first[1], nx - width)
        down, along = first - corner
        kept[down : down + some.shape[0], along : along + some.shape[1]] = some
    return Mosaic(coarser_psf(mosaic.psfs, factor), beams, corners, (ny, nx))


def coarser_dish(operator: SingleDishNormalOperator, factor: int) -> SingleDishNormalOperator:
    """Return the operator on the pixels of an image whose row and column are multiples of a factor."""
    transfer = np.asarray(operator.transfer, float)
    ny, nx = transfer.shape[-2] // 2, transfer.shape[-1] - 1
    psf = np.fft.fftshift(np.fft.irfft2(transfer, s=(2 * ny, 2 * nx)), axes=(-2, -1))
    rows, columns = operator.waves
    kept = transfer_function(coarser_psf(psf, factor), transfer.dtype)
    return replace(operator, transfer=kept, waves=(rows[:, ::factor], columns[:, ::factor]))


def finer(images: NDArray[np.floating], factor: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return images on a grid that is finer by a factor, without the frequencies which it adds, Jy/pixel.

    Visibilities stay as they are, as long as baselines and dishes together are shorter than the coarse grid samples.

    Args:
        images: (..., ny, nx), Jy/pixel.
        factor: of the pixels' sizes.
        shape: (ny, nx) of the finer images, whose last pixels lie beyond the coarse ones.
    """
    ny, nx = images.shape[-2:]
    wide = resample(resample(images.astype(np.float32), factor * ny, axis=-2), factor * nx, axis=-1)
    return (wide[..., : shape[0], : shape[1]] / factor**2).astype(np.float32)
