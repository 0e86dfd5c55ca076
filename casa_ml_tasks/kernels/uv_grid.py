"""From an image to the uv grid and back: padding, FFT, and the part of the half-plane that visibilities cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft, ifft, irfft, next_fast_len, rfft

from casa_ml_tasks.kernels.gridding_kernel import GriddingKernel
from casa_ml_tasks.kernels.threads import run
from casa_ml_tasks.kernels.vector_intrinsics import HALF

PORTION = 1 << 16  # pixels of padded rows that are transformed at once

Rows = Callable[[int, int], NDArray[Any]]  # (first, last) to rows of an image
Take = Callable[[int, int, NDArray[Any]], None]  # (first, last, rows)
Transform = Callable[[NDArray[Any]], NDArray[Any]]  # of all rows it is given


@dataclass(frozen=True)
class UVGrid:
    r"""The uv cells that visibilities of one image touch, as a grid of rows V and columns U.

    With x and y from the centre, $G = \sum_{yx} I_{yx} e^{-2\pi i(Ux/N_x + Vy/N_y)} / \hat\phi(x/N_x)\hat\phi(y/N_y)$,
    $U = u\,\Delta\,N_x$ and $V = -v\,\Delta\,N_y$, with the padded size N and the pixel size Delta, because East is
    towards smaller x. The image is real: only $U \ge 0$ is kept, with a margin for the kernel.

    Attributes:
        shape: (ny, nx) of the image.
        cell: pixel size, radians.
        kernel: whose oversampling sets the padded size.
        precision: float32 or float64.
        longest: largest |U| and |V| to be covered, in units of the padded size; at most 0.5.
    """

    shape: tuple[int, int]
    cell: float
    kernel: GriddingKernel
    precision: np.dtype
    longest: tuple[float, float]

    @cached_property
    def padded(self) -> tuple[int, int]:
        """(Ny, Nx) of the FFTs."""
        ny, nx = (int(np.ceil(n * self.kernel.oversampling)) for n in self.shape)
        return next_fast_len(ny), next_fast_len(nx, real=True)

    @cached_property
    def margin(self) -> int:
        """The column of U = 0."""
        return self.kernel.support // 2 + 1

    @cached_property
    def row_of_zero(self) -> int:
        """The row of V = 0."""
        return int(np.ceil(self.longest[1] * self.padded[0])) + self.kernel.support // 2 + 1

    @cached_property
    def size(self) -> tuple[int, int]:
        """(rows, columns) of the grid; columns with room for a vector that begins in the last patch."""
        columns = int(np.ceil(self.longest[0] * self.padded[1])) + self.kernel.support // 2 + 2
        return 2 * self.row_of_zero + 1 + HALF, self.margin + columns + HALF

    @cached_property
    def correction(self) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """1 / transform of the kernel, (ny, 1) and (nx,)."""
        y, x = ((np.arange(n) - n // 2) / padded for n, padded in zip(self.shape, self.padded, strict=True))
        along_y, along_x = (1 / self.kernel.transform(axis) for axis in (y, x))
        return along_y[:, None].astype(self.precision), along_x.astype(self.precision)

    def empty(self, size: tuple[int, int] | None = None) -> NDArray[np.complexfloating]:
        """Return a grid of zeros."""
        return np.zeros(size or self.size, np.result_type(self.precision, np.complex64))

    def from_image(self, image: NDArray[np.floating], threads: int = 1) -> NDArray[np.complexfloating]:
        """Return the grid to degrid from, (rows, columns). image: (ny, nx)."""
        if image.shape != self.shape:
            raise ValueError(f"image of shape {image.shape} for a plan of images of {self.shape}")
        columns = self._spectral_columns()
        spectrum = self._spectrum(
            lambda first, last: np.asarray(image[first:last], self.precision),
            lambda rows: rfft(rows, axis=1)[:, :columns],
            columns,
            threads,
        )
        return self._cut_out(spectrum)

    def to_image(self, grid: NDArray[np.complexfloating], threads: int = 1) -> NDArray[np.floating]:
        """Return the image of a grid, (ny, nx): the adjoint of `from_image`. grid: (rows, columns)."""
        width, spectrum = self.padded[1], self._paste(grid)
        spectrum[:, 1 : (width + 1) // 2] *= self.precision.type(0.5)  # irfft counts them twice
        image = np.empty(self.shape, self.precision)

        def take(first: int, last: int, rows: NDArray[np.floating]) -> None:
            image[first:last] = rows

        self._image(spectrum, lambda rows: irfft(rows, width, axis=1, norm="forward"), take, threads)
        return image

    def from_complex_rows(self, rows: Rows, threads: int = 1) -> NDArray[np.complexfloating]:
        """Return what `from_image` does, for an image that is not real: rows(first, last) gives (last - first, nx).

        Only the half-plane that the visibilities cover is made.
        """
        u = (np.arange(self.size[1]) - self.margin) % self.padded[1]
        spectrum = self._spectrum(rows, lambda rows: fft(rows, axis=1, overwrite_x=True)[:, u], u.size, threads)
        grid = np.empty(self.size, spectrum.dtype)
        for segment, v in self._wrapped():
            grid[segment] = spectrum[v]
        return grid

    def to_complex_rows(self, grid: NDArray[np.complexfloating], take: Take, threads: int = 1) -> None:
        """Give the rows of a grid's image to take(first, last, rows): the adjoint of `from_complex_rows`."""
        width = self.padded[1]
        u = np.arange(self.size[1]) - self.margin
        spectrum = np.zeros((self.padded[0], self.size[1]), grid.dtype)
        for segment, v in self._wrapped():
            spectrum[v] += grid[segment]

        def transform(rows: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
            padded = np.zeros((len(rows), width), rows.dtype)
            for start in range(0, u.size, width):  # a grid may be wider than the FFT is long
                padded[:, u[start : start + width] % width] += rows[:, start : start + width]
            return ifft(padded, axis=1, norm="forward", overwrite_x=True)

        self._image(spectrum, transform, take, threads)

    def _spectrum(self, rows: Rows, transform: Transform, columns: int, threads: int) -> NDArray[np.complexfloating]:
        """Return the Fourier transform of the padded image, some rows at a time so that they stay in the cache."""
        (ny, nx), (height, width) = self.shape, self.padded
        along_y, along_x = self.correction
        spectrum = self.empty((height, columns))

        def portion(first: int, last: int) -> None:
            corrected = rows(first, last) * along_y[first:last]
            padded = np.zeros((last - first, width), corrected.dtype)
            np.multiply(corrected[:, nx // 2 :], along_x[nx // 2 :], out=padded[:, : nx - nx // 2])
            np.multiply(corrected[:, : nx // 2], along_x[: nx // 2], out=padded[:, width - nx // 2 :])
            spectrum[(np.arange(first, last) - ny // 2) % height] = transform(padded)

        run(portion, self._portions(), threads)
        return fft(spectrum, axis=0, overwrite_x=True, workers=threads)

    def _image(self, spectrum: NDArray[np.complexfloating], transform: Transform, take: Take, threads: int) -> None:
        """Return the padded image of a spectrum, which is overwritten: the adjoint of `_spectrum`."""
        (ny, nx), (height, width) = self.shape, self.padded
        along_y, along_x = self.correction
        spectrum = ifft(spectrum, axis=0, norm="forward", overwrite_x=True, workers=threads)

        def portion(first: int, last: int) -> None:
            padded = transform(spectrum[(np.arange(first, last) - ny // 2) % height])
            part = np.empty((last - first, nx), padded.dtype)
            np.multiply(padded[:, : nx - nx // 2], along_x[nx // 2 :], out=part[:, nx // 2 :])
            np.multiply(padded[:, width - nx // 2 :], along_x[: nx // 2], out=part[:, : nx // 2])
            part *= along_y[first:last]
            take(first, last, part)

        run(portion, self._portions(), threads)

    def _portions(self) -> list[tuple[int, int]]:
        """Return (first, last) of rows of the image that are transformed together."""
        step = max(1, PORTION // self.padded[1])
        return [(first, min(first + step, self.shape[0])) for first in range(0, self.shape[0], step)]

    def _wrapped(self) -> list[tuple[slice, slice]]:
        """Return runs of rows of the grid, and where they are in the FFT's order."""
        rows, height = self.size[0], self.padded[0]
        runs, start = [], 0
        while start < rows:
            first = (start - self.row_of_zero) % height
            stop = min(rows, start + height - first)
            runs.append((slice(start, stop), slice(first, first + stop - start)))
            start = stop
        return runs

    def _spectral_columns(self) -> int:
        """Return the columns of the half-plane spectrum, from U = 0, that are needed."""
        return min(self.padded[1] // 2 + 1, self.size[1] - self.margin)

    def _parts(self) -> tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]:
        """Return the columns of grid and spectrum that are equal; then those that are each other's conjugates."""
        u = np.arange(self.size[1]) - self.margin
        width = self.padded[1]
        direct = (u >= 0) & (u <= width // 2)
        mirrored = ~direct & (-u % width <= width // 2) & (-u % width < self._spectral_columns())
        columns = np.arange(self.size[1])
        return columns[direct], u[direct], columns[mirrored], -u[mirrored] % width

    def _cut_out(self, spectrum: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        grid = np.empty(self.size, spectrum.dtype)
        columns, u, mirrored, mirrored_u = self._parts()
        first, last = columns[0], columns[-1] + 1
        grid[:, last:] = 0
        for segment, v in self._wrapped():
            grid[segment, first:last] = spectrum[v, : u[-1] + 1]
            grid[segment, mirrored] = spectrum[np.ix_(self._mirrored(v), mirrored_u)].conj()
        return grid

    def _paste(self, grid: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        spectrum = np.zeros((self.padded[0], self._spectral_columns()), grid.dtype)
        columns, u, mirrored, mirrored_u = self._parts()
        first, last = columns[0], columns[-1] + 1
        for segment, v in self._wrapped():
            spectrum[v, : u[-1] + 1] += grid[segment, first:last]
            for column, source in zip(mirrored_u, mirrored, strict=True):
                spectrum[self._mirrored(v), column] += grid[segment, source].conj()
        return spectrum

    def _mirrored(self, v: slice) -> NDArray[np.integer]:
        return -np.arange(v.start, v.stop) % self.padded[0]


def within_nyquist(uvw: NDArray[np.floating], cell: float) -> NDArray[np.bool_]:
    """Return whether a grid for pixels of `cell` radians holds each of (n, 3) baselines, wavelengths; (n,)."""
    longest = 0.5 / cell
    return (np.abs(uvw[:, 0]) <= longest) & (np.abs(uvw[:, 1]) <= longest)
