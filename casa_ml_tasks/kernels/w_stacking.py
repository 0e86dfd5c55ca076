r"""The w-term with w as a third axis of the grid, where w is large.

Planes of constant w, and the gridding kernel between them (Arras et al. 2021, A&A 646, A58).
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.difference import chi_squared_and_gradient, compiled
from casa_ml_tasks.kernels.fourier_operator import FourierOperator
from casa_ml_tasks.kernels.gridding_kernel import GriddingKernel
from casa_ml_tasks.kernels.threads import pieces, run
from casa_ml_tasks.kernels.uv_grid import UVGrid
from casa_ml_tasks.kernels.uv_plan import UVPlan


@dataclass(frozen=True)
class _Layer:
    """Visibilities that the same planes serve."""

    flat: FourierOperator
    first_plane: int
    index: NDArray[np.integer]  # (visibility,), in the caller's order, before `flat` sorts them
    distance: NDArray[np.floating]  # (visibility,), to the planes, in [-1, 1), sorted
    phase: NDArray[np.complexfloating]  # (visibility,), exp(2 pi i w c), sorted


@dataclass(frozen=True)
class StackedOperator:
    r"""$V = e^{2\pi iwc} \sum_p \phi(w/\delta - p)\, F[e^{2\pi i p\delta x} I / \hat\phi(\delta x)]$ and its adjoint.

    The planes p are $\delta$ wavelengths apart; phi spreads a visibility over the `kernel.support` nearest.

    Attributes:
        layers: the visibilities, by their first plane.
        uvgrid: that all planes have.
        kernel: phi, along w.
        spacing: delta, wavelengths.
        x: (ny, nx).
        folded: (total,), which of the caller's visibilities are conjugated.
        threads: how many.
    """

    layers: tuple[_Layer, ...]
    uvgrid: UVGrid
    kernel: GriddingKernel
    spacing: float
    x: NDArray[np.float64]
    folded: NDArray[np.bool_]
    threads: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.uvgrid.shape

    def sort(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return values of the caller's order in the plan's, (visibility,), conjugated where folded."""
        flat = np.asarray(visibilities).reshape(-1)
        if flat.size != self.folded.size:
            raise ValueError(f"{flat.size} visibilities for a plan of {self.folded.size}")
        flat = np.where(self.folded, flat.conj(), flat)
        return np.concatenate([layer.flat.sort(flat[layer.index]) for layer in self.layers])

    def restore(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return values in the caller's order, (total,), 0 where masked: the inverse of `sort`."""
        result = np.zeros(self.folded.size, visibilities.dtype)
        for layer, part in zip(self.layers, self._by_layer(visibilities), strict=True):
            result[layer.index] = layer.flat.restore(part)
        return np.where(self.folded, result.conj(), result)

    def degrid(self, image: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """Return the visibilities of an image, (visibility,), Jy. image: (ny, nx), Jy/pixel."""
        result = np.zeros(self._bounds[-1], np.result_type(self.uvgrid.precision, np.complex64))
        parts = self._by_layer(result)
        image = (self._checked(image) * self._correction).astype(self.uvgrid.precision)
        screen, step = self._first_screen()

        def rows(first: int, last: int) -> NDArray[np.complexfloating]:
            part = (image[first:last] * screen[first:last]).astype(result.dtype)
            screen[first:last] *= step[first:last]
            return part

        for plane in self._planes:
            grid = self.uvgrid.from_complex_rows(rows, self.threads)
            for layer, part in zip(self.layers, parts, strict=True):
                if (tap := plane - layer.first_plane) in range(self.kernel.support):
                    term = layer.flat.degrid_from(grid)
                    self._run(
                        _add_tap, layer, part, term, layer.distance, layer.phase, self.kernel.coefficients[:, tap]
                    )
        return result

    def grid(self, visibilities: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        """Return the adjoint of `degrid` applied to visibilities, (ny, nx), not normalised."""
        parts = self._by_layer(visibilities)
        total = np.zeros(self.shape)
        screen, step = self._first_screen()

        def take(first: int, last: int, rows: NDArray[np.complexfloating]) -> None:
            part = screen[first:last]
            total[first:last] += part.real * rows.real + part.imag * rows.imag
            part *= step[first:last]

        for plane in self._planes:
            grid = self.uvgrid.empty()
            for layer, part in zip(self.layers, parts, strict=True):
                if (tap := plane - layer.first_plane) in range(self.kernel.support):
                    term = np.empty_like(layer.phase)
                    self._run(
                        _take_tap, layer, term, part, layer.distance, layer.phase, self.kernel.coefficients[:, tap]
                    )
                    layer.flat.grid_onto(term, grid)
            self.uvgrid.to_complex_rows(grid, take, self.threads)
        return (total * self._correction).astype(self.uvgrid.precision)

    def gradient(
        self, image: NDArray[np.floating], data: NDArray[np.complexfloating], weight: NDArray[np.floating]
    ) -> tuple[float, NDArray[np.floating]]:
        """Return what `FourierOperator.gradient` does, for the operator with w."""
        return chi_squared_and_gradient(self, image, data, weight)

    def _checked(self, image: NDArray[np.floating]) -> NDArray[np.floating]:
        if image.shape != self.shape:
            raise ValueError(f"image of shape {image.shape} for a plan of images of {self.shape}")
        return image

    @cached_property
    def _bounds(self) -> NDArray[np.integer]:
        return np.cumsum([0, *(layer.index.size for layer in self.layers)])

    def _by_layer(self, visibilities: NDArray[Any]) -> list[NDArray[Any]]:
        if visibilities.shape != (self._bounds[-1],):
            raise ValueError(f"visibilities of shape {visibilities.shape} for a plan of {self._bounds[-1]}; sort them")
        return np.split(visibilities, self._bounds[1:-1])

    @cached_property
    def _correction(self) -> NDArray[np.float64]:
        return 1 / self.kernel.transform(self.spacing * self.x)

    @property
    def _planes(self) -> range:
        return range(self.layers[0].first_plane, self.layers[-1].first_plane + self.kernel.support)

    def _first_screen(self) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        r"""Return $e^{2\pi ip\delta x}$ of the first plane p, and the factor from one plane to the next, (ny, nx)."""
        step = np.exp(2j * np.pi * self.spacing * self.x)
        return step**self._planes.start, step

    def _run(self, loop: Any, layer: _Layer, *arguments: Any) -> None:
        run(lambda a, b: loop(a, b, *arguments), pieces(layer.index.size, self.threads), self.threads)


def stacked_operator(
    uvw: NDArray[np.float64],
    wavenumber: NDArray[np.float64],
    usable: NDArray[np.bool_],
    uvgrid: UVGrid,
    kernel: GriddingKernel,
    x: NDArray[np.float64],
    centre: float,
    radius: float,
    threads: int,
) -> StackedOperator:
    spacing = 0.5 / (kernel.oversampling * radius)
    index = np.flatnonzero(usable)
    baselines = uvw[index // wavenumber.size] * wavenumber[index % wavenumber.size, None]
    negative = baselines[:, 0] < 0
    baselines[negative] *= -1
    folded = np.zeros(usable.size, bool)
    folded[index] = negative
    in_planes = baselines[:, 2] / spacing
    first = np.ceil(in_planes - kernel.support / 2).astype(int)
    order = np.argsort(first, kind="stable")
    layers = []
    for part in np.split(order, np.flatnonzero(np.diff(first[order])) + 1):
        plan = UVPlan.make(baselines[part], np.ones(1), np.ones((part.size, 1), bool), uvgrid, threads)
        flat = FourierOperator(plan, uvgrid, threads)
        plane = int(first[part[0]])
        distance = 2 * (plane - flat.sort(in_planes[part]) + kernel.support / 2) - 1
        phase = np.exp(2j * np.pi * centre * flat.sort(baselines[part, 2]))
        layers.append(
            _Layer(
                flat,
                plane,
                index[part],
                distance.astype(uvgrid.precision),
                phase.astype(np.result_type(uvgrid.precision, np.complex64)),
            )
        )
    return StackedOperator(tuple(layers), uvgrid, kernel, spacing, x, folded, threads)


@compiled
def _tap(coefficients, t):
    total = coefficients[0]
    for power in range(1, coefficients.size):
        total = total * t + coefficients[power]
    return total


@compiled
def _add_tap(first, last, total, term, distance, phase, coefficients):
    for k in range(first, last):
        total[k] += _tap(coefficients, distance[k]) * phase[k] * term[k]


@compiled
def _take_tap(first, last, term, visibilities, distance, phase, coefficients):
    for k in range(first, last):
        term[k] = _tap(coefficients, distance[k]) * np.conj(phase[k]) * visibilities[k]
