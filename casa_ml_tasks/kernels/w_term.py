r"""The w-term, exp(2 pi i w (n - 1)), to a requested accuracy.

Let $x = n - 1 - c$, centred on the middle c of its range $[-R, R]$ over the image. After a factor $e^{2\pi i w c}$ for
each visibility, what is left is a function of the product w x. Where $X = 2\pi |w|_{max} R$ is small it is a
polynomial (`ExpandedOperator`): a few real images, each degridded without w. Where it is large, w becomes a third
axis of the grid (`StackedOperator`): planes of constant w, and the gridding kernel between them (Arras et al. 2021,
A&A 646, A58).
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from casa_ml_tasks.kernels.fourier_operator import FourierOperator, covering_grid
from casa_ml_tasks.kernels.gridding_kernel import (
    OVERSAMPLINGS,
    PIXEL_COST,
    SUPPORTS,
    GriddingKernel,
    choose_kernel,
    expected_error,
    kaiser_bessel,
)
from casa_ml_tasks.kernels.threads import available_cores, pieces, run
from casa_ml_tasks.kernels.uv_grid import UVGrid
from casa_ml_tasks.kernels.uv_plan import UVPlan

#: Shares of the tolerance; the squares of the errors in uv and w add.
SHARE_OF_UV, SHARE_OF_W = 0.8, 0.5
COMPLEX_COST = 3  # of a plane's complex image, in FFTs of real ones
ROW_COST = 12  # of one visibility on one plane, in kernel rows
MOST_TERMS = 8  # beyond, powers of w x cancel each other in single precision

_compiled: Any = numba.njit(nogil=True, cache=True, fastmath=True, boundscheck=False, error_model="numpy")


@dataclass(frozen=True)
class ExpandedOperator:
    r"""$V = e^{2\pi iwc} \sum_j p_j \omega^j F[\xi^j I]$ with $\omega = w/|w|_{max}$, $\xi = x/R$, and its adjoint.

    $\sum_j p_j s^j$ interpolates $e^{iXs}$ in $[-1, 1]$ at Chebyshev's points.

    Attributes:
        flat: the operator F without w.
        w: omega, (visibility,), in the plan's order, with the sign that folding gave it.
        phase: $e^{2\pi iwc}$, (visibility,).
        x: xi, (ny, nx).
        coefficients: p, (term,), complex.
    """

    flat: FourierOperator
    w: NDArray[np.floating]
    phase: NDArray[np.complexfloating]
    x: NDArray[np.floating]
    coefficients: NDArray[np.complexfloating]

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.flat.shape

    def sort(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """As `FourierOperator.sort`."""
        return self.flat.sort(visibilities)

    def restore(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """As `FourierOperator.restore`."""
        return self.flat.restore(visibilities)

    def degrid(self, image: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """image: (ny, nx), Jy/pixel. Returns (visibility,), Jy."""
        total = np.zeros_like(self.phase)
        for power, coefficient in enumerate(self.coefficients):
            term = self.flat.degrid(image)
            self._run(_add_power, total, term, self.w, self.phase, coefficient, power)
            image = image * self.x
        return total

    def grid(self, visibilities: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        """The adjoint, (ny, nx), not normalised."""
        total = np.zeros(self.shape, self.flat.uvgrid.precision)
        term = np.empty_like(self.phase)
        for power, coefficient in reversed(list(enumerate(self.coefficients))):
            self._run(_take_power, term, visibilities, self.w, self.phase, coefficient.conjugate(), power)
            total = total * self.x + self.flat.grid(term)  # Horner's rule in xi
        return total

    def gradient(
        self, image: NDArray[np.floating], data: NDArray[np.complexfloating], weight: NDArray[np.floating]
    ) -> tuple[float, NDArray[np.floating]]:
        """As `FourierOperator.gradient`."""
        return _gradient(self, image, data, weight)

    def _run(self, loop: Any, *arguments: Any) -> None:
        threads = self.flat.threads
        run(lambda first, last: loop(first, last, *arguments), pieces(self.w.size, threads), threads)


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
        """From the caller's order, any shape, to (visibility,), conjugated where folded."""
        flat = np.asarray(visibilities).reshape(-1)
        if flat.size != self.folded.size:
            raise ValueError(f"{flat.size} visibilities for a plan of {self.folded.size}")
        flat = np.where(self.folded, flat.conj(), flat)
        return np.concatenate([layer.flat.sort(flat[layer.index]) for layer in self.layers])

    def restore(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `sort`: (total,), 0 where masked."""
        result = np.zeros(self.folded.size, visibilities.dtype)
        for layer, part in zip(self.layers, self._by_layer(visibilities), strict=True):
            result[layer.index] = layer.flat.restore(part)
        return np.where(self.folded, result.conj(), result)

    def degrid(self, image: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """image: (ny, nx), Jy/pixel. Returns (visibility,), Jy."""
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
        """The adjoint, (ny, nx), not normalised."""
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
        """As `FourierOperator.gradient`."""
        return _gradient(self, image, data, weight)

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
        r"""$e^{2\pi ip\delta x}$ of the first plane p, and the factor from each plane to the next, (ny, nx) both."""
        step = np.exp(2j * np.pi * self.spacing * self.x)
        return step**self._planes.start, step

    def _run(self, loop: Any, layer: _Layer, *arguments: Any) -> None:
        run(lambda a, b: loop(a, b, *arguments), pieces(layer.index.size, self.threads), self.threads)


MeasurementOperator = FourierOperator | ExpandedOperator | StackedOperator


def wide_field_operator(
    uvw: NDArray[np.float64],
    wavenumber: ArrayLike,
    shape: tuple[int, int],
    cell: float,
    tolerance: float = 1e-5,
    precision: DTypeLike = np.float32,
    usable: NDArray[np.bool_] | None = None,
    threads: int = 0,
) -> MeasurementOperator:
    """Plan the operator with its w-term: none where it is within the tolerance, else the cheaper of two ways.

    Arguments, order of visibilities and errors are those of `fourier_operator`; ValueError also where w is not finite
    or the image reaches beyond the celestial sphere.
    """
    uvw = np.asarray(uvw, np.float64)
    wavenumber = np.atleast_1d(np.asarray(wavenumber, np.float64))
    usable = np.ones((len(uvw), wavenumber.size), bool) if usable is None else usable
    threads = threads or available_cores()
    count, pixels = int(np.count_nonzero(usable)), shape[0] * shape[1]
    with np.errstate(invalid="ignore"):
        lengths = np.abs(uvw[:, 2]) * np.where(usable, wavenumber, 0).max(axis=1)
    longest = float(np.max(lengths, where=usable.any(axis=1), initial=0))
    if not np.isfinite(longest):
        raise ValueError("w of usable rows is NaN or infinite")
    x, centre, radius = _n_minus_one(shape, cell)

    def gridded(kernel: GriddingKernel) -> UVGrid:
        return covering_grid(uvw, wavenumber, shape, cell, kernel, precision, usable)

    kernel = choose_kernel(SHARE_OF_UV * tolerance, np.dtype(precision), count, pixels)
    terms = _terms(2 * np.pi * longest * radius, SHARE_OF_W * tolerance)
    w_kernel, planes = _w_kernel(longest * radius, SHARE_OF_W * tolerance, count, pixels)
    visits, images = count * w_kernel.support, pixels * planes * COMPLEX_COST
    plane_kernel = choose_kernel(SHARE_OF_UV * tolerance, np.dtype(precision), visits, images)
    if terms.size and terms.size * kernel.cost(count, pixels) <= plane_kernel.cost(visits, images):
        uvgrid = gridded(kernel)
        flat = FourierOperator(UVPlan.make(uvw, wavenumber, usable, uvgrid, threads), uvgrid, threads)
        if terms.size == 1:
            return flat
        return _expanded(flat, uvw, wavenumber, longest, x / radius, centre, terms)
    return _stacked(uvw, wavenumber, usable, gridded(plane_kernel), w_kernel, x, centre, radius, threads)


def _n_minus_one(shape: tuple[int, int], cell: float) -> tuple[NDArray[np.float64], float, float]:
    """x = n - 1 - c over the image, (ny, nx), its centre c and its largest modulus R."""
    m, l = ((np.arange(n) - n // 2) * cell for n in shape)  # noqa: E741
    squared = m[:, None] ** 2 + l**2
    if squared.max() >= 1:
        raise ValueError(f"an image of {shape} pixels of {cell:.3g} radians reaches beyond the celestial sphere")
    n_minus_one = -squared / (1 + np.sqrt(1 - squared))
    centre = float(n_minus_one.min() / 2)
    return n_minus_one - centre, centre, -centre


def _terms(largest_phase: float, tolerance: float) -> NDArray[np.complex128]:
    """p_j of the shortest polynomial that is exp(i X s) in [-1, 1] within the tolerance; empty if none is short."""
    dense = np.linspace(-1, 1, 201)
    for count in range(1, MOST_TERMS + 1):
        points = np.cos(np.pi * (np.arange(count) + 0.5) / count)
        values = np.exp(1j * largest_phase * points)
        coefficients = np.linalg.solve(np.vander(points, count, increasing=True), values)
        exact = np.exp(1j * largest_phase * dense)
        if np.abs(np.polynomial.polynomial.polyval(dense, coefficients) - exact).max() < tolerance:
            return coefficients
    return np.empty(0, complex)


def _w_kernel(extent: float, tolerance: float, count: int, pixels: int) -> tuple[GriddingKernel, int]:
    """The cheapest kernel along w, and the number of planes. extent: largest |w| times R, turns."""

    def planes(choice: tuple[int, float]) -> int:
        support, oversampling = choice
        return int(np.ceil(4 * extent * oversampling)) + support

    choices = [(W, s) for W in SUPPORTS for s in OVERSAMPLINGS if expected_error(W, s) <= tolerance]
    if not choices:
        choices = [(max(SUPPORTS), max(OVERSAMPLINGS))]

    def cost(choice: tuple[int, float]) -> float:
        return choice[0] * count * ROW_COST + planes(choice) * pixels * PIXEL_COST * COMPLEX_COST

    best = min(choices, key=cost)
    return kaiser_bessel(*best, tolerance), planes(best)


def _expanded(
    flat: FourierOperator,
    uvw: NDArray[np.float64],
    wavenumber: NDArray[np.float64],
    longest: float,
    x: NDArray[np.float64],
    centre: float,
    terms: NDArray[np.complex128],
) -> ExpandedOperator:
    precision = flat.uvgrid.precision
    w = flat.sort(np.multiply.outer(uvw[:, 2], wavenumber))
    np.negative(w, where=flat.plan.folded, out=w)
    phase = np.exp(2j * np.pi * centre * w).astype(np.result_type(precision, np.complex64))
    return ExpandedOperator(flat, (w / longest).astype(precision), phase, x.astype(precision), terms)


def _stacked(
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


def _gradient(
    operator: ExpandedOperator | StackedOperator,
    image: NDArray[np.floating],
    data: NDArray[np.complexfloating],
    weight: NDArray[np.floating],
) -> tuple[float, NDArray[np.floating]]:
    difference = operator.degrid(image) - data
    misfit = np.sum(weight * (difference.real**2 + difference.imag**2), dtype=float)
    return float(misfit), operator.grid((weight * difference).astype(difference.dtype))


@_compiled
def _add_power(first, last, total, term, w, phase, coefficient, power):
    for k in range(first, last):
        total[k] += coefficient * w[k] ** power * phase[k] * term[k]


@_compiled
def _take_power(first, last, term, visibilities, w, phase, coefficient, power):
    for k in range(first, last):
        term[k] = coefficient * w[k] ** power * np.conj(phase[k]) * visibilities[k]


@_compiled
def _tap(coefficients, t):
    total = coefficients[0]
    for power in range(1, coefficients.size):
        total = total * t + coefficients[power]
    return total


@_compiled
def _add_tap(first, last, total, term, distance, phase, coefficients):
    for k in range(first, last):
        total[k] += _tap(coefficients, distance[k]) * phase[k] * term[k]


@_compiled
def _take_tap(first, last, term, visibilities, distance, phase, coefficients):
    for k in range(first, last):
        term[k] = _tap(coefficients, distance[k]) * np.conj(phase[k]) * visibilities[k]
