"""Degridding and gridding of arbitrary uv points: an operator and its exact adjoint, from a plan made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from casa_ml_tasks.kernels import patch_loops
from casa_ml_tasks.kernels.difference import weighted_difference
from casa_ml_tasks.kernels.gridding_kernel import GriddingKernel, choose_kernel
from casa_ml_tasks.kernels.threads import available_cores, run
from casa_ml_tasks.kernels.uv_grid import UVGrid
from casa_ml_tasks.kernels.uv_plan import UVPlan, longest_baselines
from casa_ml_tasks.kernels.vector_intrinsics import HALF, LANES


class FlatOperator(Protocol):
    """What `FourierOperator` does, wherever it does it. Visibilities are in the order of a plan."""

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        ...

    @property
    def threads(self) -> int:
        """How many threads of the CPU are used."""
        ...

    def sort(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return what `FourierOperator.sort` does."""
        ...

    def restore(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return what `FourierOperator.restore` does."""
        ...

    def degrid(self, image: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """Return what `FourierOperator.degrid` does."""
        ...

    def grid(self, visibilities: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        """Return what `FourierOperator.grid` does."""
        ...

    def gradient(
        self, image: NDArray[np.floating], data: NDArray[np.complexfloating], weight: NDArray[np.floating]
    ) -> tuple[float, NDArray[np.floating]]:
        """Return what `FourierOperator.gradient` does."""
        ...


@dataclass(frozen=True)
class _Tile:
    """A part of a patch that fits into registers: up to HALF rows and columns of it."""

    offset: int  # of its first cell from the patch's
    coefficients: NDArray[np.floating]  # (powers, LANES), flat
    unroll: tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class FourierOperator:
    r"""$V_k = \sum_{yx} I_{yx} \exp(2\pi i(u_k l_x + v_k m_y))$ and its adjoint, to a requested accuracy.

    $l_x = -(x - \lfloor n_x/2\rfloor)\Delta$ and $m_y = (y - \lfloor n_y/2\rfloor)\Delta$: East is towards smaller x.
    Visibilities are in the plan's order; `sort` and `restore` lead there and back.

    Attributes:
        plan: of the visibilities.
        uvgrid: that they are on.
        threads: how many; the results do not depend on them.
        loops: `patch_loops`, or `plain_loops`, which need no vector intrinsics.
    """

    plan: UVPlan
    uvgrid: UVGrid
    threads: int
    loops: Any = patch_loops

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.uvgrid.shape

    def sort(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return values of the caller's order in the plan's, (visibility,), conjugated where it folds."""
        return self.plan.sort(visibilities, self.threads)

    def restore(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return values in the caller's order, (total,), 0 where masked: the inverse of `sort`."""
        return self.plan.restore(visibilities, self.threads)

    def degrid(self, image: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """Return the visibilities of an image, (visibility,), Jy. image: (ny, nx), Jy/pixel."""
        return self.degrid_from(self.uvgrid.from_image(image, self.threads))

    def grid(self, visibilities: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        r"""Return the adjoint, $\sum_k \mathrm{Re}\,V_k \exp(-2\pi i(u_k l_x + v_k m_y))$, (ny, nx), not normalised."""
        grid = self.uvgrid.empty()
        self.grid_onto(visibilities, grid)
        return self.uvgrid.to_image(grid, self.threads)

    def gradient(
        self, image: NDArray[np.floating], data: NDArray[np.complexfloating], weight: NDArray[np.floating]
    ) -> tuple[float, NDArray[np.floating]]:
        r"""Return $\chi^2 = \sum_k w_k |V_k - d_k|^2$ and $F^H W (F I - d)$, (ny, nx), in one pass over the data.

        Block by block of the grid, so that what is degridded is still in the cache when it is gridded.

        Args:
            image: (ny, nx), Jy/pixel.
            data: d, (visibility,), Jy.
            weight: w, (visibility,), Jy^-2.
        """
        model = self.uvgrid.from_image(image, self.threads)
        grid = self.uvgrid.empty()
        data, weight = self._numbers(data, grid.dtype), self._numbers(weight, self.uvgrid.precision)
        difference = np.empty(data.shape, grid.dtype)
        starts = self.plan.starts

        def block(first: int, last: int) -> float:
            self._degrid_block(model, first, last, difference)
            misfit = weighted_difference(starts[first], starts[last], difference, data, weight)
            self._grid_block(difference, first, last, grid)
            return misfit

        misfit = np.sum(self._every_other_block(block))
        return float(misfit), self.uvgrid.to_image(grid, self.threads)

    def degrid_from(self, grid: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
        """Return the visibilities, (visibility,), from the grid of an image: what follows `uvgrid.from_image`."""
        visibilities = np.empty(self.plan.order.size, grid.dtype)
        run(lambda first, last: self._degrid_block(grid, first, last, visibilities), self._blocks, self.threads)
        return visibilities

    def grid_onto(self, visibilities: NDArray[np.complexfloating], grid: NDArray[np.complexfloating]) -> None:
        """Add visibilities, (visibility,), to a grid: what comes before `uvgrid.to_image`."""
        visibilities = self._numbers(visibilities, grid.dtype)
        self._every_other_block(lambda first, last: self._grid_block(visibilities, first, last, grid))

    def _degrid_block(
        self, grid: NDArray[np.complexfloating], first: int, last: int, visibilities: NDArray[np.complexfloating]
    ) -> None:
        for number, tile in enumerate(self._tiles):
            self.loops.degrid(grid.reshape(-1), *self._where(tile, first, last), visibilities, number > 0)

    def _grid_block(
        self, visibilities: NDArray[np.complexfloating], first: int, last: int, grid: NDArray[np.complexfloating]
    ) -> None:
        for tile in self._tiles:
            self.loops.grid(grid.reshape(-1), *self._where(tile, first, last), visibilities)

    @cached_property
    def _tiles(self) -> list[_Tile]:
        coefficients = self.uvgrid.kernel.coefficients
        powers, support = coefficients.shape
        parts = [slice(*bounds) for bounds in _even_parts(support, HALF)]
        tiles = []
        for rows in parts:
            for columns in parts:
                lanes = np.zeros((powers, LANES), self.uvgrid.precision)
                lanes[:, : rows.stop - rows.start] = coefficients[:, rows]
                lanes[:, HALF : HALF + columns.stop - columns.start] = coefficients[:, columns]
                offset = rows.start * self.uvgrid.size[1] + columns.start
                tiles.append(_Tile(offset, lanes.reshape(-1), ((0,) * (rows.stop - rows.start), (0,) * powers)))
        return tiles

    @cached_property
    def _blocks(self) -> list[tuple[int, int]]:
        return list(pairwise(self.plan.blocks.tolist()))

    def _every_other_block(self, function: Callable[[int, int], Any]) -> list[Any]:
        """Run the even blocks, then the odd ones: neighbouring blocks share rows of the grid."""
        return run(function, self._blocks[::2], self.threads) + run(function, self._blocks[1::2], self.threads)

    def _where(self, tile: _Tile, first: int, last: int) -> tuple[Any, ...]:
        plan = self.plan
        return (
            self.uvgrid.size[1], tile.offset, plan.cells, plan.starts, first, last, plan.position,
            tile.coefficients, tile.unroll,
        )  # fmt: skip

    def _numbers(self, values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        if values.shape != self.plan.order.shape:
            raise ValueError(f"visibilities of shape {values.shape} for a plan of {self.plan.order.shape}; sort them")
        return np.ascontiguousarray(values, dtype)


def fourier_operator(
    uvw: NDArray[np.floating],
    wavenumber: ArrayLike,
    shape: tuple[int, int],
    cell: float,
    tolerance: float = 1e-5,
    precision: DTypeLike = np.float32,
    usable: NDArray[np.bool_] | None = None,
    threads: int = 0,
) -> FourierOperator:
    """Plan the operator for visibilities and an image; w is ignored.

    Args:
        uvw: (row, 3), metres, or wavelengths with a wavenumber of 1.
        wavenumber: (channel,), frequency / speed of light, 1/m.
        shape: (ny, nx) of the image.
        cell: pixel size, radians.
        tolerance: relative l2 error of the visibilities of an image of white noise.
        precision: float32 or float64.
        usable: (row, channel); False leaves a visibility out.
        threads: how many; 0 for all cores.

    Raises:
        ValueError: nothing is usable, a usable visibility is not finite or beyond the grid's Nyquist limit, or the
            tolerance cannot be met.
    """
    wavenumber = np.atleast_1d(np.asarray(wavenumber, float))
    usable = np.ones((len(uvw), wavenumber.size), bool) if usable is None else usable
    kernel = choose_kernel(tolerance, np.dtype(precision), int(np.count_nonzero(usable)), shape[0] * shape[1])
    uvgrid = covering_grid(uvw, wavenumber, shape, cell, kernel, precision, usable)
    threads = threads or available_cores()
    return FourierOperator(UVPlan.make(uvw, wavenumber, usable, uvgrid, threads), uvgrid, threads)


def covering_grid(
    uvw: NDArray[np.floating],
    wavenumber: NDArray[np.floating],
    shape: tuple[int, int],
    cell: float,
    kernel: GriddingKernel,
    precision: DTypeLike,
    usable: NDArray[np.bool_],
) -> UVGrid:
    """Return the smallest grid that holds all usable visibilities; arguments and errors as `fourier_operator`'s."""
    if min(shape) < 2 or not cell > 0:
        raise ValueError(
            f"shape={shape} and cell={cell} describe no image; give at least 2 x 2 pixels of a size above 0"
        )
    if usable.shape != (len(uvw), wavenumber.size):
        raise ValueError(f"usable of shape {usable.shape} for {len(uvw)} rows and {wavenumber.size} channels")
    if not usable.any():
        raise ValueError("no visibility is usable: all are flagged, or the selection is empty")
    longest_u, longest_v, not_finite, beyond = longest_baselines(
        np.ascontiguousarray(uvw, float), np.ascontiguousarray(wavenumber, float), usable, 0.5 / cell
    )
    if not_finite:
        raise ValueError(f"uvw of {not_finite} usable rows is NaN or infinite")
    longest = (cell * longest_u, cell * longest_v)
    if beyond:
        raise ValueError(
            f"{beyond} rows lie beyond the Nyquist limit of the image, {0.5 / cell:.4g} wavelengths; "
            f"use a cell of at most {0.5 * cell / max(longest):.3g} radians"
        )
    return UVGrid((shape[0], shape[1]), cell, kernel, np.dtype(precision), longest)


def _even_parts(length: int, most: int) -> list[tuple[int, int]]:
    """Return the bounds of as few parts as possible, none longer than `most`."""
    count = -(-length // most)
    bounds = [length * part // count for part in range(count + 1)]
    return list(pairwise(bounds))
