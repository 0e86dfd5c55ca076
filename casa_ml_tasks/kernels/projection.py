r"""Degridding and gridding by projection: standard, W-, A- and AW-projection with one pair of loops.

$V_k = \sum_{yx} A_k(l, m) I_{yx} \exp(2\pi i (u_k l + v_k m + w_k (n - 1)))$ with $n = \sqrt{1 - l^2 - m^2}$,
l = -(x - nx//2) cell towards East and m = (y - ny//2) cell towards North, is computed as an FFT of the image and,
for every visibility, a sum over a small patch of the uv grid with the convolution function of its antennas and its w.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import ArrayLike, NDArray
from scipy.fft import fft2, fftshift, ifft2, ifftshift

from casa_ml_tasks.kernels.convolution_functions import AntennaPair, ConvolutionFunctions


@dataclass(frozen=True)
class _Patches:
    """The visibilities that one table serves, sorted by the grid row at which their patches start."""

    pair: AntennaPair
    plane: int
    visibility: NDArray[np.int64]
    """(patch,)"""
    weight: NDArray[np.float64]
    """(patch,), share of this w plane in the interpolation between planes."""


class Projection:
    """The measurement operator of visibilities at fixed uvw, and its exact adjoint."""

    def __init__(
        self,
        functions: ConvolutionFunctions,
        uvw: ArrayLike,
        antenna_types: ArrayLike | None = None,
        pointings: ArrayLike | None = None,
    ) -> None:
        """Sort the visibilities by the convolution functions that they need.

        There is a table for every two (antenna type, pointing) that meet on a baseline: few in a mosaic, where
        the antennas point together, as many as baselines where each antenna has an offset of its own.

        Args:
            functions: the terms, the image and the tolerance.
            uvw: (visibility, 3), wavelengths.
            antenna_types: (visibility, 2), for the two antennas of each, indices into `functions.beams`;
                the first beam for all where not given.
            pointings: (visibility, 2, 2), for the two antennas, where (l, m) their beams are centred, direction
                cosines from the image's centre; the centre where not given.

        Raises:
            ValueError: NaN or infinite values, uv beyond what `functions.cell` samples, or wrong shapes or types.
        """
        uvw = _finite("uvw", uvw, (None, 3))
        count = len(uvw)
        types = np.zeros((count, 2), int) if antenna_types is None else np.asarray(antenna_types)
        pointings = np.zeros((count, 2, 2)) if pointings is None else _finite("pointings", pointings, (count, 2, 2))
        _check_antenna_types(types, count, functions)
        _check_sampling(uvw, functions.cell)
        if np.any(pointings) and not functions.beams:
            raise ValueError("pointings are given but functions.beams is empty; give the antennas' beams")
        self.functions = functions
        self._conjugated = uvw[:, 2] < 0
        self._uvw = np.where(self._conjugated[:, None], -uvw, uvw)
        field, centre = np.array(functions.field_of_view), np.array(functions.grid_shape) // 2
        self._position = self._uvw[:, 1::-1] * [1, -1] * field + centre
        self._phase = np.exp(-2j * np.pi * self._uvw[:, 2] * functions.w_centre)
        self._patches = list(_sort_into_tables(functions, self._uvw[:, 2], self._position[:, 0], types, pointings))

    def degrid(self, image: ArrayLike) -> NDArray[np.complex128]:
        """Predict visibilities.

        Args:
            image: (ny, nx), Jy/pixel.

        Returns:
            (visibility,), Jy.

        Raises:
            ValueError: the image has another shape than `functions.shape`, or values that are not finite.
        """
        image = _finite("image", image, self.functions.shape)
        grid = fftshift(ifft2(ifftshift(self._embed(image)), norm="forward", workers=-1))
        visibilities = np.zeros(len(self._position), np.complex128)
        for patches in self._patches:
            table = self.functions.table(patches.pair, patches.plane)
            _degrid(grid, table, self._position, patches.visibility, patches.weight, visibilities)
        visibilities *= self._phase
        return np.where(self._conjugated, visibilities.conj(), visibilities)

    def grid(self, visibilities: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
        r"""Return the adjoint applied to visibilities, (ny, nx), not normalised.

        It is $\sum_k w_k \mathrm{Re}(V_k A_k \exp(-2\pi i (u_k l + v_k m + w_k (n - 1))))$.

        Args:
            visibilities: (visibility,), complex, Jy.
            weights: (visibility,), 1 where not given.

        Returns:
            (ny, nx), Jy times the weights' unit.

        Raises:
            ValueError: wrong shapes, or values that are not finite.
        """
        values = _finite("visibilities", visibilities, (len(self._position),), np.complex128)
        if weights is not None:
            values = values * _finite("weights", weights, values.shape)
        values = np.where(self._conjugated, values.conj(), values) * self._phase.conj()
        grid = np.zeros(self.functions.grid_shape, np.complex128)
        for patches in self._patches:
            table = self.functions.table(patches.pair, patches.plane)
            starts = _start(self._position[patches.visibility, 0], table.shape[-1]).astype(int) % len(grid)
            order = np.argsort(starts, kind="stable")
            first = np.searchsorted(starts[order], np.arange(len(grid) + 1))
            visibility = patches.visibility[order]
            _grid(grid, table, self._position, visibility, patches.weight[order], values, first)
        return self._crop(fftshift(fft2(ifftshift(grid), workers=-1)).real)

    def _window(self) -> tuple[slice, slice]:
        """The rows and columns of the padded image where the image lies."""
        y, x = (
            slice(size // 2 - n // 2, size // 2 - n // 2 + n)
            for n, size in zip(self.functions.shape, self.functions.grid_shape, strict=True)
        )
        return y, x

    def _embed(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        padded = np.zeros(self.functions.grid_shape)
        padded[self._window()] = image / np.multiply.outer(*self.functions.taper())
        return padded

    def _crop(self, padded: NDArray[np.float64]) -> NDArray[np.float64]:
        return padded[self._window()] / np.multiply.outer(*self.functions.taper())


def _sort_into_tables(
    functions: ConvolutionFunctions,
    w: NDArray[np.float64],
    row: NDArray[np.float64],
    types: NDArray[np.int64],
    pointings: NDArray[np.float64],
) -> Iterator[_Patches]:
    """Sort the visibilities by tables: each is between two w planes and so under two tables (one where w is off)."""
    antennas = np.concatenate([types[..., None], pointings], axis=-1)
    swapped = _follows(antennas[:, 0], antennas[:, 1])
    antennas = np.where(swapped[:, None, None], antennas[:, ::-1], antennas)
    unique, pair = np.unique(antennas.reshape(-1, 6), axis=0, return_inverse=True)
    plane = w / functions.w_step
    lower = np.floor(plane).astype(int)
    keys = np.stack([np.tile(pair.ravel(), 2), np.concatenate([lower, lower + 1])], axis=1)
    weights = np.concatenate([1 - (plane - lower), plane - lower])
    visibility = np.tile(np.arange(len(w)), 2)
    used = weights > 0
    keys, weights, visibility = keys[used], weights[used], visibility[used]
    tables, group = np.unique(keys, axis=0, return_inverse=True)
    order = np.lexsort((row[visibility], group.ravel()))
    bounds = np.searchsorted(group.ravel()[order], np.arange(len(tables) + 1))
    for (index, w_plane), begin, end in zip(tables, bounds[:-1], bounds[1:], strict=True):
        first, l1, m1, second, l2, m2 = unique[index].tolist()
        members = order[begin:end]
        yield _Patches(
            AntennaPair(int(first), int(second), (l1, m1), (l2, m2)),
            int(w_plane),
            visibility[members],
            weights[members],
        )


def _follows(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether each row of `left` sorts after that of `right`, lexically.

    So a baseline and its reverse share a table.
    """
    differs = left != right
    column = np.argmax(differs, axis=1)[:, None]
    return (np.take_along_axis(left, column, 1) > np.take_along_axis(right, column, 1)).ravel()


def _finite(name: str, values: ArrayLike, shape: tuple[int | None, ...], dtype: type = np.float64) -> NDArray:
    array = np.asarray(values)
    fits = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=False)
    )
    if not fits:
        wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
        raise ValueError(f"{name} has the shape {array.shape}; it must be {wanted}")
    array = array.astype(dtype)
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise ValueError(f"{name} has {bad} values that are NaN or infinite; flag or remove them first")
    return array


def _check_antenna_types(types: NDArray, count: int, functions: ConvolutionFunctions) -> None:
    if types.shape != (count, 2):
        raise ValueError(
            f"antenna_types has the shape {types.shape}; it must be {(count, 2)}, two antennas a visibility"
        )
    known = max(len(functions.beams), 1)
    if not np.issubdtype(types.dtype, np.integer) or np.any((types < 0) | (types >= known)):
        raise ValueError(f"antenna_types must be integers from 0 to {known - 1}, indices into functions.beams")


def _check_sampling(uvw: NDArray[np.float64], cell: float) -> None:
    longest = np.abs(uvw[:, :2]).max(initial=0.0)
    if longest * cell > 0.5:
        raise ValueError(
            f"cell={cell} rad samples uvw up to {0.5 / cell:.6g} wavelengths but they reach {longest:.6g}; "
            f"use at most {0.5 / longest:.6g} rad"
        )


@njit(cache=True)
def _start(position, taps):  # type: ignore[no-untyped-def]
    """Return the first grid index of a patch."""
    return np.floor(position) - (taps // 2 - 1)


@njit(cache=True)
def _phase(position, oversampling):  # type: ignore[no-untyped-def]
    """Return the table phase below a position, and the way from there to the next."""
    fine = (position - np.floor(position)) * oversampling
    phase = min(int(fine), oversampling - 1)
    return phase, fine - phase


@njit(cache=True)
def _blend(table, position, j, row):  # type: ignore[no-untyped-def]
    """Write row j of the convolution function at `position`, interpolated between four phases, into `row`."""
    p, dv = _phase(position[0], table.shape[0] - 1)
    q, du = _phase(position[1], table.shape[1] - 1)
    lower_left, lower_right = table[p, q, j], table[p, q + 1, j]
    upper_left, upper_right = table[p + 1, q, j], table[p + 1, q + 1, j]
    for i in range(len(row)):
        lower = (1 - du) * lower_left[i] + du * lower_right[i]
        upper = (1 - du) * upper_left[i] + du * upper_right[i]
        row[i] = (1 - dv) * lower + dv * upper


@njit(cache=True, parallel=True)
def _degrid(grid, table, position, visibility, weight, out):  # type: ignore[no-untyped-def]
    """Add to each visibility its patch of the grid times the convolution function; the grid is periodic."""
    ny, nx = grid.shape
    taps = table.shape[-1]
    for k in prange(len(visibility)):
        at = position[visibility[k]]
        top, left = int(_start(at[0], taps)), int(_start(at[1], taps)) % nx
        row = np.empty(taps, np.complex128)
        total = 0j
        for j in range(taps):
            _blend(table, at, j, row)
            line = grid[(top + j) % ny]
            for i in range(taps):
                x = left + i
                total += row[i] * line[x if x < nx else x - nx]
        out[visibility[k]] += weight[k] * total


@njit(cache=True, parallel=True)
def _grid(grid, table, position, visibility, weight, values, first):  # type: ignore[no-untyped-def]
    """Add the adjoint of `_degrid` to the grid.

    Rows run in parallel, each summing in the order of the visibilities: no races.

    `first`: (ny + 1,), where the patches that start at each grid row begin in `visibility`.
    """
    ny, nx = grid.shape
    taps = table.shape[-1]
    for y in prange(ny):
        row = np.empty(taps, np.complex128)
        line = grid[y]
        for j in range(taps):
            top = (y - j) % ny
            for k in range(first[top], first[top + 1]):
                at = position[visibility[k]]
                left = int(_start(at[1], taps)) % nx
                value = weight[k] * values[visibility[k]]
                _blend(table, at, j, row)
                for i in range(taps):
                    x = left + i
                    line[x if x < nx else x - nx] += row[i].conjugate() * value
