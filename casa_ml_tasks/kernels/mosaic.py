"""Many pointings as one linear operator on one image: what a mosaic's dirty image is of any sky."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.fft import next_fast_len

from casa_ml_tasks.kernels.channel_operators import ChannelOperators
from casa_ml_tasks.kernels.normal_operator import cropped, spectrum, transfer_function


@dataclass(frozen=True)
class Mosaic:
    r"""$H = \sum_k a_k T_k a_k$ for an image in flat noise, $a_k = A_k / \sqrt{\sum_j f_j A_j^2}$.

    A are the primary beams, T the PSFs and f their peaks, the pointings' shares of the weights. The image is that of
    the sky times $\sqrt{\sum_j f_j A_j^2}$, as CASA makes it with normtype='flatnoise': H is 1 on the diagonal where
    any pointing sees the sky, and 0 elsewhere. `in_sky_units` normalises the beams otherwise.

    Attributes:
        psfs: T, (pointing, 2 height, 2 width), Jy/beam, normalised together, their peaks in the pixels (height, width).
        beams: a, each in a box of its own, (pointing, height, width).
        corners: pixel y, x that each box begins with, (pointing, 2).
        shape: (ny, nx) of the image.
        channels: of a cube whose channels have their weights in different pointings, the mosaic of each.
    """

    psfs: NDArray[np.floating]
    beams: NDArray[np.floating]
    corners: NDArray[np.int64]
    shape: tuple[int, int]
    channels: tuple[Mosaic, ...] | None = None

    @classmethod
    def in_flat_noise(
        cls,
        psfs: NDArray[np.floating],
        beams: NDArray[np.floating],
        corners: NDArray[np.int64],
        field: NDArray[np.bool_],
    ) -> Mosaic:
        """Return the mosaic of an image in flat noise.

        Args:
            psfs: T, normalised together, (pointing, 2 height, 2 width), Jy/beam.
            beams: A, in their boxes, (pointing, height, width).
            corners: pixel y, x that each box begins with, (pointing, 2).
            field: where there is an image, (ny, nx).
        """
        power = _power(psfs, beams, corners, field.shape)
        seen = field & (power > 0)
        scale = np.divide(1, np.sqrt(power), where=seen, out=np.zeros(field.shape))
        return cls(psfs, _scaled(beams, corners, scale), corners, field.shape)

    @classmethod
    def in_sky_units(
        cls,
        psfs: NDArray[np.floating],
        beams: NDArray[np.floating],
        corners: NDArray[np.int64],
        field: NDArray[np.bool_],
    ) -> Mosaic:
        r"""Return the mosaic of the sky itself, without a primary beam, in an image that may be larger than the mosaic.

        $H = \sum_k A_k T_k A_k / P$ with $P = \max_x \sum_k f_k A_k^2$: a source at the best place has its flux as its
        peak, and the noise of the residual falls off as the sensitivity does. Arguments are those of `in_flat_noise`.
        """
        power = _power(psfs, beams, corners, field.shape)
        scale = field / np.sqrt(power[field].max())
        return cls(psfs, _scaled(beams, corners, scale), corners, field.shape)

    def with_shares(self, share: NDArray[np.floating], field: NDArray[np.bool_]) -> Mosaic:
        """Return the mosaic of one channel, in which pointings have other parts of the weight, in flat noise.

        Args:
            share: the part that a pointing has over its part here, (pointing,).
            field: where the channel has an image, (ny, nx).
        """
        used = share > 0
        psfs = self.psfs[used] * share[used, None, None].astype(self.psfs.dtype)
        return Mosaic.in_flat_noise(psfs, self.beams[used], self.corners[used], field)

    def normal(self, precision: DTypeLike = float) -> MosaicNormalOperator | ChannelOperators:
        """Return H, of a cube whose channels differ that of every channel."""
        if self.channels is None:
            return self._normal_single if precision is np.float32 else self._normal(precision)
        return ChannelOperators(tuple(channel._normal(precision) for channel in self.channels))

    def _normal(self, precision: DTypeLike) -> MosaicNormalOperator:
        return MosaicNormalOperator.from_psfs(self.psf(), self.psfs, self.beams, self.corners, precision)

    @cached_property
    def _normal_single(self) -> MosaicNormalOperator:
        """H in single precision, which every minor cycle asks for."""
        return self._normal(np.float32)

    def seen(self) -> NDArray[np.bool_]:
        """Return where any pointing sees the sky, (ny, nx)."""
        field = np.zeros(self.shape, bool)
        for beam, corner in zip(self.beams, self.corners, strict=True):
            field[_box(corner, beam.shape)] |= beam > 0
        return field

    def sensitivity(self) -> NDArray[np.float64]:
        r"""Return the diagonal of H, $\sum_k f_k a_k^2$, (ny, nx): in flat noise 1 where any pointing sees the sky."""
        total, (height, width) = np.zeros(self.shape), self.beams.shape[1:]
        for psf, beam, corner in zip(self.psfs, self.beams, self.corners, strict=True):
            total[_box(corner, beam.shape)] += psf[height, width] * beam.astype(float) ** 2
        return total

    def psf(self) -> NDArray[np.float64]:
        r"""Return $\sum_k T_k(d) \sum_x a_k(x) a_k(x + d)$ over its peak: the mean row of H, (2 ny, 2 nx), Jy/beam.

        T and the autocorrelations of a have no negative Fourier transform, so that neither has their product.
        """
        return self._mean_row

    @cached_property
    def _mean_row(self) -> NDArray[np.float64]:
        height, width = self.beams.shape[1:]
        size = (2 * height, 2 * width)
        mean = np.zeros(size)
        for psf, beam in zip(self.psfs, self.beams, strict=True):  # all at once would fill the memory
            overlap = np.fft.irfft2(np.abs(np.fft.rfft2(beam, s=size)) ** 2, s=size)
            mean += psf * np.fft.fftshift(overlap)
        whole, (ny, nx) = np.zeros([2 * n for n in self.shape]), self.shape
        whole[ny - height : ny + height, nx - width : nx + width] = mean / mean[height, width]
        return whole

    def between(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return H between all pairs of some pixels, (pixel, pixel), Jy/beam of 1 Jy."""
        height, width = self.beams.shape[1:]
        total = np.zeros((y.size, y.size))
        for psf, beam, corner in zip(self.psfs, self.beams, self.corners, strict=True):
            inside, rows, columns = _in_box(y, x, corner, beam.shape)
            lags = np.subtract.outer(rows, rows) + height, np.subtract.outer(columns, columns) + width
            seen = beam[rows, columns]
            total[np.ix_(inside, inside)] += np.multiply.outer(seen, seen) * psf[lags]
        return total


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PointingBoxes:
    """Pointings with boxes of one size.

    Attributes:
        transfers: (pointing, 2 height, width + 1), of PSFs that are normalised together.
        beams: (pointing, height, width).
        corners: pixel y, x that each box begins with, (pointing, 2).
    """

    transfers: jax.Array
    beams: jax.Array
    corners: jax.Array

    def add(self, total: jax.Array, image: jax.Array) -> jax.Array:
        """Return a dirty image with that of these pointings added, (..., ny, nx), Jy/beam."""
        *planes, _, _ = image.shape

        def add_one(total: jax.Array, pointing: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            transfer, beam, corner = pointing
            start, size = (*[0] * len(planes), *corner), (*planes, *beam.shape)
            seen = beam * cropped(spectrum(beam * jax.lax.dynamic_slice(image, start, size)) * transfer)
            before = jax.lax.dynamic_slice(total, start, size)
            return jax.lax.dynamic_update_slice(total, before + seen, start), None

        return jax.lax.scan(add_one, total, (self.transfers, self.beams, self.corners))[0]

    def add_bound(self, total: jax.Array) -> jax.Array:
        r"""Return an image, (ny, nx), with $\sum_k a_k^2 \max |T_k|$ added."""
        bounds = jnp.max(jnp.abs(self.transfers), axis=(1, 2))
        rows, columns = (jnp.arange(n) for n in self.beams.shape[1:])
        y, x = self.corners[:, :1] + rows, self.corners[:, 1:] + columns
        return total.at[y[:, :, None], x[:, None, :]].add(bounds[:, None, None] * self.beams**2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MosaicNormalOperator:
    r"""$H I = \sum_k a_k\, (T_k * (a_k I))$, exact for any pointings k with their beams a and PSFs T.

    A beam ends with a box of its own, so that a pointing costs what its box does, however large the mosaic.

    Attributes:
        transfer: (2 ny, nx + 1), of the convolution that H is on average.
        boxes: the pointings, those with boxes of about one size together.
    """

    transfer: jax.Array
    boxes: tuple[PointingBoxes, ...]

    @classmethod
    def from_psfs(
        cls,
        psf: NDArray[np.floating],
        psfs: NDArray[np.floating],
        beams: NDArray[np.floating],
        corners: NDArray[np.integer],
        precision: DTypeLike = float,
    ) -> MosaicNormalOperator:
        """Return the operator.

        Args:
            psf: of the convolution that it is on average, (2 ny, 2 nx), Jy/beam.
            psfs: of the pointings, each over the sum of all weights, (pointing, 2 height, 2 width), Jy/beam.
            beams: (pointing, height, width), 0 where a pointing sees nothing.
            corners: pixel y, x that each box begins with, (pointing, 2).
            precision: of the transfer functions and the beams.
        """
        if (len(psfs), *(2 * n for n in beams.shape[1:])) != (len(beams), *psfs.shape[1:]):
            raise ValueError(f"psfs of shape {psfs.shape} do not cover twice beams of shape {beams.shape}")
        height, width = beams.shape[1:]
        boxes = []
        for members, (top, left), (rows, columns) in _boxes_of_one_size(beams):
            lags = np.s_[height - rows : height + rows, width - columns : width + columns]
            cut = [beams[k][y : y + rows, x : x + columns] for k, y, x in zip(members, top, left, strict=True)]
            boxes.append(
                PointingBoxes(
                    transfer_function(psfs[members][:, *lags], precision),
                    jnp.asarray(np.stack(cut).astype(precision)),
                    jnp.asarray(corners[members] + np.stack([top, left], axis=1)),
                )
            )
        return cls(transfer_function(psf, precision), tuple(boxes))

    @jax.jit
    def __call__(self, image: jax.Array) -> jax.Array:
        """Return the dirty image, (..., ny, nx), Jy/beam, with the beams once more. image: (..., ny, nx), Jy/pixel."""
        total = jnp.zeros_like(image)
        for boxes in self.boxes:
            total = boxes.add(total, image)
        return total

    def spectral_norm(self) -> jax.Array:
        r"""Return an upper bound on the largest eigenvalue: $\max_x \sum_k a_k^2(x) \max |T_k|$."""
        total = jnp.zeros((self.transfer.shape[0] // 2, self.transfer.shape[1] - 1))
        for boxes in self.boxes:
            total = boxes.add_bound(total)
        return jnp.max(total)


def _boxes_of_one_size(
    beams: NDArray[np.floating],
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.int64], tuple[int, int]]]:
    """Yield pointings whose beams have about the same extent: which, where in their boxes they begin, and the extent.

    Args:
        beams: (pointing, height, width), 0 outside of their extents.
    """
    begins, sizes = np.empty((2, 2, len(beams)), int)
    for axis in (0, 1):
        seen: NDArray[np.bool_] = np.any(beams > 0, axis=2 - axis)
        begins[axis] = seen.argmax(axis=1)
        sizes[axis] = seen.shape[1] - seen[:, ::-1].argmax(axis=1) - begins[axis]
    areas = sizes.prod(axis=0)
    left = np.ones(len(beams), bool)
    while left.any():
        members = np.flatnonzero(left & (areas > areas[left].max() / 2))
        left[members] = False
        full = beams.shape[1:]
        size = tuple(min(next_fast_len(int(sizes[axis, members].max())), full[axis]) for axis in (0, 1))
        begin = np.minimum(begins[:, members], np.subtract(full, size)[:, None])
        yield members, begin, (size[0], size[1])


def _power(
    psfs: NDArray[np.floating], beams: NDArray[np.floating], corners: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    r"""Return $\sum_k f_k A_k^2$, (ny, nx)."""
    power = np.zeros(shape)
    peaks = psfs[:, beams.shape[1], beams.shape[2]]
    for peak, beam, corner in zip(peaks, beams, corners, strict=True):
        power[_box(corner, beam.shape)] += peak * beam**2
    return power


def _scaled(
    beams: NDArray[np.floating], corners: NDArray[np.int64], scale: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return beams, (pointing, height, width), times an image, (ny, nx)."""
    return np.stack([beam * scale[_box(corner, beam.shape)] for beam, corner in zip(beams, corners, strict=True)])


def _box(corner: NDArray[np.int64], shape: tuple[int, ...]) -> tuple[slice, slice]:
    (y, x), (height, width) = corner, shape
    return slice(y, y + height), slice(x, x + width)


def _in_box(
    y: NDArray[np.int64], x: NDArray[np.int64], corner: NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
    """Return which of some pixels are in a box, and their rows and columns there."""
    rows, columns = y - corner[0], x - corner[1]
    (inside,) = np.nonzero((rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1]))
    return inside, rows[inside], columns[inside]
