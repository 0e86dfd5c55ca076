"""The few Fourier modes of the sky that a single dish sees, on its map and on the sky's image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.dish_beam import FAINTEST, DishBeam

MOST_MODES = 6000


@dataclass(frozen=True)
class MapGrid:
    """Where the pixels of a single-dish map lie on the sky's image, whose pixels are counted from 0.

    Attributes:
        shape: (ny, nx) of the map.
        origin: y, x in the image of the centre of the map's pixel (0, 0).
        step: height and width of the map's pixels, pixels of the image; negative where the map runs the other way.
    """

    shape: tuple[int, int]
    origin: tuple[float, float]
    step: tuple[float, float]

    def positions(self, axis: int) -> NDArray[np.floating]:
        """Return where the centres of rows (axis 0) or columns (axis 1) lie in the image."""
        return self.origin[axis] + self.step[axis] * np.arange(self.shape[axis])

    def inside(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return which pixels of the map have their centres in an image of that shape, (ny, nx) of the map."""
        rows, columns = (
            (self.positions(axis) >= -0.5) & (self.positions(axis) <= count - 0.5) for axis, count in enumerate(shape)
        )
        return rows[:, None] & columns


@dataclass(frozen=True)
class DishModes:
    r"""Plane waves $\exp(2\pi i (v y + u x))$, v and u multiples of 1 / `box`, of which a beam passes something.

    A real image has a cosine and a sine of each: vectors of modes are (cosines, sines), $\sqrt 2$ times the waves'
    real and imaginary parts (once the constant mode), orthogonal on the box and of mean square 1.

    Attributes:
        box: height and width in which the modes are periodic, pixels. Between the parts of image and map that it
            serves, the beam does not reach around it.
        image: rows and columns of the image that the map sees, slices.
        v, u: numbers of waves in the box, (mode,), one of every two opposite ones.
    """

    box: tuple[int, int]
    image: tuple[slice, slice]
    v: NDArray[np.int64]
    u: NDArray[np.int64]

    @classmethod
    def of(cls, beams: Sequence[DishBeam], grid: MapGrid, seen: NDArray[np.bool_], shape: tuple[int, int]) -> DishModes:
        """Return the modes that any of the beams passes.

        Args:
            beams: of the channels.
            grid: of the map.
            seen: pixels of the map that count, (ny, nx) of the map.
            shape: (ny, nx) of the image.

        Raises:
            ValueError: the map has no pixel that counts, or covers too many beams.
        """
        if not seen.any():
            raise ValueError("no pixel of the single-dish map with a finite value lies in the image")
        radius = max(beam.radius for beam in beams)
        spans = [_span(grid.positions(axis)[seen.any(axis=1 - axis)], shape[axis], radius) for axis in (0, 1)]
        box = spans[0][1], spans[1][1]
        v, u = (
            np.arange(first, (count - 1) // 2 + 1) for first, count in zip((-((box[0] - 1) // 2), 0), box, strict=True)
        )
        size = np.max([_relative_size(beam, v / box[0], u / box[1]) for beam in beams], axis=0)
        rows, columns = np.nonzero((size > FAINTEST) & ((u > 0) | (v[:, None] >= 0)))
        if rows.size > MOST_MODES:
            raise ValueError(
                f"the single-dish map has {rows.size} modes in the image, more than {MOST_MODES}: "
                f"its beam is too small for so large an image; use a smaller image"
            )
        return cls(box, (spans[0][0], spans[1][0]), v[rows], u[columns])

    @property
    def area(self) -> int:
        """Number of pixels in the box."""
        return self.box[0] * self.box[1]

    @property
    def image_grid(self) -> MapGrid:
        """The part of the image that the map sees."""
        rows, columns = self.image
        return MapGrid((rows.stop - rows.start, columns.stop - columns.start), (rows.start, columns.start), (1, 1))

    @property
    def scale(self) -> NDArray[np.float64]:
        r"""$\sqrt 2$, and 1 for the constant mode, (mode,)."""
        return np.where((self.v == 0) & (self.u == 0), 1.0, np.sqrt(2))

    def waves(
        self, axis: int, positions: NDArray[np.floating] | NDArray[np.integer]
    ) -> tuple[NDArray[np.complex128], NDArray[np.int64]]:
        """Return the different waves along an axis, (wave, position), and which of them each mode has, (mode,)."""
        numbers, which = np.unique((self.v, self.u)[axis], return_inverse=True)
        return np.exp(-2j * np.pi / self.box[axis] * np.multiply.outer(numbers, positions)), which

    def transform(self, beam: DishBeam) -> NDArray[np.complexfloating]:
        """Return the transform of a beam at the modes, (mode,), pixels."""
        v, row = np.unique(self.v, return_inverse=True)
        u, column = np.unique(self.u, return_inverse=True)
        return beam.transform(v / self.box[0], u / self.box[1])[row, column]

    def analysed(self, pixels: NDArray[np.floating], grid: MapGrid) -> NDArray[np.float64]:
        """Return the sums of pixels of a map times the cosines and sines, (..., 2 mode)."""
        (rows, row), (columns, column) = (self.waves(axis, grid.positions(axis)) for axis in (0, 1))
        waves = self.scale * (rows @ pixels @ columns.T)[..., row, column]
        return np.concatenate([waves.real, -waves.imag], axis=-1)

    def synthesised(self, modes: NDArray[np.floating], grid: MapGrid) -> NDArray[np.float64]:
        """Return the map whose cosines and sines have these amplitudes, the adjoint of `analysed`."""
        (rows, row), (columns, column) = (self.waves(axis, grid.positions(axis)) for axis in (0, 1))
        cosines, sines = np.split(modes, 2, axis=-1)
        plane = np.zeros((*modes.shape[:-1], len(rows), len(columns)), complex)
        plane[..., row, column] = self.scale * (cosines + 1j * sines)
        return (rows.T @ plane @ columns).real

    def gram(self, weight: NDArray[np.floating], grid: MapGrid) -> NDArray[np.float64]:
        r"""Return $\sum_x w(x)\, u_j(x)\, u_k(x)$ of the cosines and sines u on a map's pixels, (2 mode, 2 mode)."""
        reach = [2 * int(np.abs(each).max()) for each in (self.v, self.u)]
        rows, columns = (
            np.exp(-2j * np.pi / length * np.multiply.outer(np.arange(-far, far + 1), grid.positions(axis)))
            for axis, (length, far) in enumerate(zip(self.box, reach, strict=True))
        )
        table = rows @ weight @ columns.T

        def at(sign: int) -> NDArray[np.complex128]:
            v, u = (each[:, None] + sign * each for each in (self.v, self.u))
            return table[v + reach[0], u + reach[1]] * np.multiply.outer(self.scale, self.scale) / 2

        difference, total = at(-1), at(1)
        mixed = difference.imag - total.imag
        return np.block([[difference.real + total.real, mixed], [mixed.T, difference.real - total.real]])


def _span(positions: NDArray[np.floating], count: int, radius: float) -> tuple[slice, int]:
    """Return which pixels of an axis of the image the map sees, and the period within which nothing wraps."""
    first, last = positions.min(), positions.max()
    low, high = max(0, int(np.floor(first - radius))), min(count - 1, int(np.ceil(last + radius)))
    return slice(low, high + 1), int(np.ceil(max(high - first, last - low) + radius)) + 1


def _relative_size(beam: DishBeam, v: NDArray[np.floating], u: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the modulus of a beam's transform over that at 0, (v, u)."""
    return np.abs(beam.transform(v, u)) / np.abs(beam.transform(np.zeros(1), np.zeros(1)))
