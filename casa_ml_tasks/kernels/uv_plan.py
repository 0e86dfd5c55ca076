"""The order of visibilities in which a uv grid is visited with the least traffic, made once for all iterations."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.compiled import compiled_as_written
from casa_ml_tasks.kernels.threads import even, pieces, run
from casa_ml_tasks.kernels.uv_grid import UVGrid

BLOCKS = 64  # of rows at most; every other one is gridded at the same time


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
        scale = np.array([grid.cell * grid.padded[1], -grid.cell * grid.padded[0]])
        corner = np.array([grid.margin, grid.row_of_zero])
        uvw, wavenumber = np.ascontiguousarray(uvw, float), np.ascontiguousarray(wavenumber, float)
        where = (uvw, wavenumber, usable, scale, corner, grid.kernel.support, grid.size[1])
        patches, count = grid.size[0] * grid.size[1], int(np.count_nonzero(usable))
        index = np.int32 if max(usable.size, patches) < 2**31 else np.int64
        parts = [(first, last, part) for part, (first, last) in enumerate(even(len(usable), threads))]
        ends = np.zeros((threads, patches), index)
        run(lambda first, last, part: _count(first, last, *where, ends[part]), parts, threads)
        cells, starts = _cumulate(ends)
        order, position = np.empty(count, index), np.empty((count, 2), grid.precision)
        folded = np.empty(count, bool)
        run(
            lambda first, last, part: _place(first, last, *where, ends[part], order, position, folded),
            parts,
            threads,
        )
        blocks = _blocks(cells // grid.size[1], starts, grid.kernel.support)
        return cls(order, folded, position.reshape(-1), cells, starts, blocks, usable.size)

    def sort(self, visibilities: NDArray[Any], threads: int = 1) -> NDArray[Any]:
        """Return `total` numbers of any shape in the plan's order, (visibility,), conjugated where folded."""
        flat = np.ascontiguousarray(visibilities).reshape(-1)
        if flat.size != self.total:
            raise ValueError(f"{flat.size} visibilities for a plan of {self.total}")
        result = np.empty(self.order.size, flat.dtype)
        loop = _gather_conjugated if np.iscomplexobj(flat) else _gather
        run(lambda a, b: loop(a, b, flat, self.order, self.folded, result), pieces(self.order.size, threads), threads)
        return result

    def restore(self, visibilities: NDArray[Any], threads: int = 1) -> NDArray[Any]:
        """Return values in the caller's order, (total,), 0 where masked: the inverse of `sort`."""
        result = np.zeros(self.total, visibilities.dtype)
        loop = _scatter_conjugated if np.iscomplexobj(visibilities) else _scatter
        run(
            lambda a, b: loop(a, b, visibilities, self.order, self.folded, result),
            pieces(self.order.size, threads),
            threads,
        )
        return result


@compiled_as_written
def longest_baselines(uvw, wavenumber, usable, limit):
    """Return the largest |u| and |v| of usable visibilities, wavelengths.

    Return also how many rows are not finite, and how many are beyond `limit`.

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


@compiled_as_written
def _uv(baseline, wavenumber, scale):
    """Return u and V of a visibility in uv cells, folded to U >= 0, and whether that was necessary."""
    u, v = baseline[0] * wavenumber * scale[0], baseline[1] * wavenumber * scale[1]
    return abs(u), -v if u < 0 else v, u < 0


@compiled_as_written
def _patch(u, v, corner, support, stride):
    """Return the first row and column of a patch, from those of V = 0 and U = 0, and its index in the flat grid."""
    row, column = np.int64(np.ceil(v - support / 2)), np.int64(np.ceil(u - support / 2))
    return row, column, (row + corner[1]) * stride + column + corner[0]


@compiled_as_written
def _count(first, last, uvw, wavenumber, usable, scale, corner, support, stride, counts):
    """Return how many visibilities of some rows are on each patch, (patch,)."""
    for row in range(first, last):
        for channel in range(wavenumber.size):
            if usable[row, channel]:
                u, v, _ = _uv(uvw[row], wavenumber[channel], scale)
                counts[_patch(u, v, corner, support, stride)[2]] += 1


@compiled_as_written
def _cumulate(counts):
    """Turn counts, (part, patch), into the places of first visibilities; return occupied patches and theirs."""
    parts, patches = counts.shape
    cells, starts = [], []
    total = 0
    for patch in range(patches):
        before = total
        for part in range(parts):
            here = counts[part, patch]
            counts[part, patch] = total
            total += here
        if total > before:
            cells.append(patch)
            starts.append(before)
    starts.append(total)
    return np.array(cells), np.array(starts)


@compiled_as_written
def _place(
    first, last, uvw, wavenumber, usable, scale, corner, support, stride, ends, order, position, folded
):  # fmt: skip
    """Put each visibility of some rows at the next place of its patch: the second half of the counting sort."""
    for row in range(first, last):
        for channel in range(wavenumber.size):
            if usable[row, channel]:
                u, v, fold = _uv(uvw[row], wavenumber[channel], scale)
                patch_row, patch_column, patch = _patch(u, v, corner, support, stride)
                target = ends[patch]
                ends[patch] += 1
                order[target] = row * wavenumber.size + channel
                folded[target] = fold
                position[target, 0] = 2 * (patch_row - v + support / 2) - 1
                position[target, 1] = 2 * (patch_column - u + support / 2) - 1


def _blocks(rows: NDArray[np.integer], starts: NDArray[np.integer], support: int) -> NDArray[np.int64]:
    """Return the first cells of blocks of at least `support` rows and about equally many visibilities and cells."""
    cost = starts[1:] + 4 * np.arange(1, starts.size)
    bounds = [0]
    for begin in np.flatnonzero(np.diff(rows, prepend=-1)):
        enough = begin > 0 and cost[begin - 1] >= len(bounds) * cost[-1] / BLOCKS
        if enough and rows[begin] - rows[bounds[-1]] >= support:
            bounds.append(int(begin))
    return np.array([*bounds, rows.size])


@compiled_as_written
def _gather(first, last, source, order, folded, target):
    for k in range(first, last):
        target[k] = source[order[k]]


@compiled_as_written
def _gather_conjugated(first, last, source, order, folded, target):
    for k in range(first, last):
        value = source[order[k]]
        target[k] = np.conj(value) if folded[k] else value


@compiled_as_written
def _scatter(first, last, source, order, folded, target):
    for k in range(first, last):
        target[order[k]] = source[k]


@compiled_as_written
def _scatter_conjugated(first, last, source, order, folded, target):
    for k in range(first, last):
        target[order[k]] = np.conj(source[k]) if folded[k] else source[k]
