"""The order of visibilities in which a uv grid is visited with the least traffic, made once for all iterations."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.threads import pieces, run
from casa_ml_tasks.kernels.uv_grid import UVGrid

BLOCKS = 64  # of rows at most; every other one is gridded at the same time

_compiled: Any = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")


@dataclass(frozen=True)
class UVPlan:
    """Where the visibilities are on a grid, sorted by the patch that the kernel covers.

    Visibilities with U < 0 are replaced by their conjugates at (-U, -V). What is masked is left out.

    Attributes:
        order: (visibility,), index of each in the caller's flat (row, channel) order.
        folded: (visibility,), whether it is conjugated.
        position: (2 visibilities,), distance to the patch along row and column in turn, in [-1, 1).
        cells: (cell,), where patches begin on the flat grid.
        starts: (cell + 1,), the first visibility of each.
        blocks: (block + 1,), cells that begin blocks of rows: two blocks with one between them share no patch.
        total: number of visibilities in the caller's order.
    """

    order: NDArray[Any]
    folded: NDArray[np.bool_]
    position: NDArray[np.floating]
    cells: NDArray[np.int64]
    starts: NDArray[np.int64]
    blocks: NDArray[np.int64]
    total: int

    @classmethod
    def make(
        cls,
        uvw: NDArray[np.floating],
        wavenumber: NDArray[np.floating],
        usable: NDArray[np.bool_],
        grid: UVGrid,
        threads: int = 1,
    ) -> UVPlan:
        """Sort the visibilities.

        Args:
            uvw: (row, 3), metres (or wavelengths, with one wavenumber of 1).
            wavenumber: (channel,), frequency / speed of light, 1/m.
            usable: (row, channel); what is False is left out.
            grid: must cover all usable visibilities.
            threads: how many.
        """
        rows = len(usable)
        index = np.int32 if max(usable.size, grid.size[0] * grid.size[1]) < 2**31 else np.int64
        patch = np.empty(usable.size, index)
        unsorted = np.empty((usable.size, 2), grid.precision)
        folded = np.empty(usable.size, bool)
        scale = np.array([grid.cell * grid.padded[1], -grid.cell * grid.padded[0]])
        corner = np.array([grid.margin, grid.row_of_zero])
        uvw, wavenumber = np.ascontiguousarray(uvw, float), np.ascontiguousarray(wavenumber, float)
        support, stride = grid.kernel.support, grid.size[1]

        def locate(first: int, last: int) -> None:
            _locate(first, last, uvw, wavenumber, usable, scale, corner, support, stride, patch, unsorted, folded)

        run(locate, pieces(rows, threads), threads)
        count = int(np.count_nonzero(usable))
        order, position = np.empty(count, index), np.empty((count, 2), grid.precision)
        in_order = np.empty(count, bool)
        cells, starts = _sort(patch, unsorted, folded, grid.size[0] * stride, order, position, in_order)
        blocks = _blocks(cells // stride, starts, support)
        return cls(order, in_order, position.reshape(-1), cells, starts, blocks, usable.size)

    def sort(self, visibilities: NDArray[Any], threads: int = 1) -> NDArray[Any]:
        """From the caller's order, `total` numbers of any shape, to (visibility,), conjugated where folded."""
        flat = np.ascontiguousarray(visibilities).reshape(-1)
        if flat.size != self.total:
            raise ValueError(f"{flat.size} visibilities for a plan of {self.total}")
        result = np.empty(self.order.size, flat.dtype)
        loop = _gather_conjugated if np.iscomplexobj(flat) else _gather
        run(lambda a, b: loop(a, b, flat, self.order, self.folded, result), pieces(self.order.size, threads), threads)
        return result

    def restore(self, visibilities: NDArray[Any], threads: int = 1) -> NDArray[Any]:
        """The inverse of `sort`: (total,), 0 where masked."""
        result = np.zeros(self.total, visibilities.dtype)
        loop = _scatter_conjugated if np.iscomplexobj(visibilities) else _scatter
        run(
            lambda a, b: loop(a, b, visibilities, self.order, self.folded, result),
            pieces(self.order.size, threads),
            threads,
        )
        return result


@_compiled
def longest_baselines(uvw, wavenumber, usable, limit):
    """Largest |u| and |v| of usable visibilities, wavelengths; how many rows are not finite, how many beyond `limit`.

    uvw: (row, 3), metres; wavenumber: (channel,), 1/m; usable: (row, channel).
    """
    longest_u = longest_v = 0.0
    not_finite = beyond = 0
    for row in range(uvw.shape[0]):
        farthest = 0.0
        for channel in range(wavenumber.size):
            if usable[row, channel]:
                farthest = max(farthest, wavenumber[channel])
        if farthest > 0:
            u, v = abs(uvw[row, 0]) * farthest, abs(uvw[row, 1]) * farthest
            not_finite += not (np.isfinite(u) and np.isfinite(v))
            beyond += u > limit or v > limit
            longest_u, longest_v = max(longest_u, u), max(longest_v, v)
    return longest_u, longest_v, not_finite, beyond


@_compiled
def _locate(first, last, uvw, wavenumber, usable, scale, corner, support, stride, patch, unsorted, folded):
    """Patch, distance to it, and fold of the visibilities of some rows; the patch is -1 for what is not usable."""
    for row in range(first, last):
        for channel in range(wavenumber.size):
            k = row * wavenumber.size + channel
            if not usable[row, channel]:
                patch[k] = -1
                continue
            u = uvw[row, 0] * wavenumber[channel] * scale[0]
            v = uvw[row, 1] * wavenumber[channel] * scale[1]
            folded[k] = u < 0
            if folded[k]:
                u, v = -u, -v
            nearest_u, nearest_v = np.ceil(u - support / 2), np.ceil(v - support / 2)
            unsorted[k, 0] = 2 * (nearest_v - v + support / 2) - 1
            unsorted[k, 1] = 2 * (nearest_u - u + support / 2) - 1
            patch[k] = (np.int64(nearest_v) + corner[1]) * stride + np.int64(nearest_u) + corner[0]


@_compiled
def _sort(patch, unsorted, folded, patches, order, position, in_order):
    """Counting sort by patch; returns the occupied cells and their first visibilities."""
    ends = np.zeros(patches + 1, patch.dtype)
    for k in range(patch.size):
        ends[patch[k] + 1] += 1  # the masked ones, of patch -1, go to ends[0]
    ends[0] = 0
    occupied = 0
    for cell in range(patches):
        occupied += ends[cell + 1] > 0
        ends[cell + 1] += ends[cell]
    cells, starts = np.empty(occupied, np.int64), np.empty(occupied + 1, np.int64)
    occupied = 0
    for cell in range(patches):
        if ends[cell + 1] > ends[cell]:
            cells[occupied], starts[occupied] = cell, ends[cell]
            occupied += 1
    starts[occupied] = order.size
    for k in range(patch.size):
        if patch[k] >= 0:
            target = ends[patch[k]]
            ends[patch[k]] += 1
            order[target] = k
            in_order[target] = folded[k]
            position[target, 0] = unsorted[k, 0]
            position[target, 1] = unsorted[k, 1]
    return cells, starts


def _blocks(rows: NDArray[np.integer], starts: NDArray[np.integer], support: int) -> NDArray[np.int64]:
    """First cells of blocks of at least `support` rows, and of about equal numbers of visibilities and cells."""
    cost = starts[1:] + 4 * np.arange(1, starts.size)
    bounds = [0]
    for begin in np.flatnonzero(np.diff(rows, prepend=-1)):
        enough = begin > 0 and cost[begin - 1] >= len(bounds) * cost[-1] / BLOCKS
        if enough and rows[begin] - rows[bounds[-1]] >= support:
            bounds.append(int(begin))
    return np.array([*bounds, rows.size])


@_compiled
def _gather(first, last, source, order, folded, target):
    for k in range(first, last):
        target[k] = source[order[k]]


@_compiled
def _gather_conjugated(first, last, source, order, folded, target):
    for k in range(first, last):
        value = source[order[k]]
        target[k] = np.conj(value) if folded[k] else value


@_compiled
def _scatter(first, last, source, order, folded, target):
    for k in range(first, last):
        target[order[k]] = source[k]


@_compiled
def _scatter_conjugated(first, last, source, order, folded, target):
    for k in range(first, last):
        target[order[k]] = np.conj(source[k]) if folded[k] else source[k]
