"""Programs that degrid and grid, all on the same problem, and how far each is from the direct sum."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.uv_coverage import Observation, Telescope
from casa_ml_tasks.kernels import plain_loops
from casa_ml_tasks.kernels.fourier_operator import FourierOperator, fourier_operator
from casa_ml_tasks.kernels.w_term import MeasurementOperator, wide_field_operator

#: Steps of a peer's epsilon on the way to the accuracy of ours, and where they begin and end.
EPSILONS = 10 ** np.arange(1.25, -1.01, -0.25)

#: How much worse than its best a peer's error may be where it does not reach ours.
NEAR = 3.5


@dataclass(frozen=True)
class Problem:
    """What all programs get: an image of white noise, random visibilities, and the coordinates of both.

    Attributes:
        shape: (ny, nx), even.
        cell: pixel size, radians.
        precision: float32 or float64.
        w_term: whether to respect it.
        compared: how many visibilities, and pixels, are compared with the direct sum.
    """

    observation: Observation
    shape: tuple[int, int]
    cell: float
    precision: np.dtype
    w_term: bool = False
    compared: tuple[int, int] = (400, 64)

    @classmethod
    def of(cls, telescope: Telescope, visibilities: float, size: int, precision: np.dtype, **options: Any) -> Problem:
        """About so many visibilities, and an image of size x size pixels."""
        observation = Observation.of(telescope, visibilities)
        return cls(observation, (size, size), observation.cell(), precision, **options)

    @cached_property
    def image(self) -> NDArray[np.floating]:
        """(ny, nx), Jy/pixel."""
        return np.random.default_rng(1).normal(size=self.shape).astype(self.precision)

    @cached_property
    def visibilities(self) -> NDArray[np.complexfloating]:
        """(row, channel), Jy."""
        rows, channels = len(self.observation.uvw), self.observation.frequency.size
        real, imaginary = np.random.default_rng(2).normal(size=(2, rows, channels))
        return (real + 1j * imaginary).astype(np.result_type(self.precision, np.complex64))

    @cached_property
    def weight(self) -> NDArray[np.floating]:
        """(row, channel), Jy^-2."""
        return np.random.default_rng(3).uniform(size=self.visibilities.shape).astype(self.precision)

    @cached_property
    def chosen(self) -> NDArray[np.integer]:
        """(compared,), which visibilities are compared, in flat (row, channel) order."""
        return np.random.default_rng(4).integers(self.visibilities.size, size=self.compared[0])

    @cached_property
    def pixels(self) -> tuple[NDArray[np.integer], ...]:
        """y and x, (compared,) each, of the pixels that are compared."""
        rng = np.random.default_rng(5)
        return tuple(rng.integers(n, size=self.compared[1]) for n in self.shape)

    def _axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ny, nx = self.shape
        return (np.arange(ny) - ny // 2) * self.cell, -(np.arange(nx) - nx // 2) * self.cell

    def coordinates(self, index: NDArray[np.integer] | slice) -> NDArray[np.float64]:
        uvw, wavenumber = self.observation.uvw, self.observation.wavenumber
        if isinstance(index, slice):
            return np.multiply.outer(uvw.T, wavenumber).reshape(3, -1)
        return (uvw[index // wavenumber.size] * wavenumber[index % wavenumber.size, None]).T

    @cached_property
    def true_visibilities(self) -> NDArray[np.complex128]:
        r"""$\sum I \exp(2\pi i(ul + vm + w(n-1)))$ of the chosen visibilities, (compared,)."""
        m, l = self._axes()  # noqa: E741
        image, n_minus_one = self.image.astype(float), _n_minus_one(l, m[:, None])
        true = np.empty(self.compared[0], complex)
        for k, (u, v, w) in enumerate(self.coordinates(self.chosen).T):
            screened = image * np.exp(2j * np.pi * w * n_minus_one) if self.w_term else image
            true[k] = np.exp(2j * np.pi * v * m) @ screened @ np.exp(2j * np.pi * u * l)
        return true

    @cached_property
    def true_pixels(self) -> NDArray[np.float64]:
        """The adjoint of all visibilities in the chosen pixels, (compared,)."""
        m, l = self._axes()  # noqa: E741
        u, v, w = self.coordinates(slice(None))
        values = self.visibilities.reshape(-1).astype(complex)
        true = np.empty(self.compared[1])
        for k, (y, x) in enumerate(zip(*self.pixels, strict=True)):
            phase = u * l[x] + v * m[y]
            if self.w_term:
                phase += w * _n_minus_one(l[x], m[y])
            true[k] = np.vdot(np.exp(2j * np.pi * phase), values).real
        return true


def _n_minus_one(l: Any, m: Any) -> Any:  # noqa: E741
    squared = l**2 + m**2
    return -squared / (1 + np.sqrt(1 - squared))


class Errors(NamedTuple):
    """Relative l2 errors against the direct sum, and the adjoint's: |<V, F I> - <F^H V, I>| / |V| |F I|."""

    degrid: float
    grid: float
    adjoint: float


@dataclass(frozen=True)
class Program:
    """One program, planned for a problem; what it is given is in its own layout already.

    Attributes:
        degrid: the visibilities of the problem's image.
        grid: the dirty image of the problem's visibilities.
        gradient: F^H W (F I - V), where there is such a function.
        visibilities: turns the result of `degrid` into (row, channel), flat.
        pixels: turns the result of `grid` into (ny, nx).
    """

    problem: Problem = field(repr=False)
    degrid: Callable[[], NDArray[Any]]
    grid: Callable[[], NDArray[Any]]
    gradient: Callable[[], Any] | None = None
    visibilities: Callable[[NDArray[Any]], NDArray[Any]] = np.ravel
    pixels: Callable[[NDArray[Any]], NDArray[Any]] = np.real

    def errors(self) -> Errors:
        """Of both directions."""
        problem = self.problem
        degridded, dirty = self.visibilities(np.asarray(self.degrid())), self.pixels(np.asarray(self.grid()))
        forward = np.vdot(problem.visibilities.reshape(-1).astype(complex), degridded).real
        backward = np.vdot(dirty.astype(float), problem.image)
        size = np.linalg.norm(problem.visibilities) * np.linalg.norm(degridded)
        return Errors(
            _relative(degridded[problem.chosen], problem.true_visibilities),
            _relative(dirty[problem.pixels], problem.true_pixels),
            float(abs(forward - backward) / size),
        )


def _relative(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


Factory = Callable[[Problem, float, int], Program]


def plan(problem: Problem, tolerance: float, threads: int) -> MeasurementOperator:
    """Our operator for the problem."""
    make = wide_field_operator if problem.w_term else fourier_operator
    observation = problem.observation
    return make(
        observation.uvw,
        observation.wavenumber,
        problem.shape,
        problem.cell,
        tolerance,
        problem.precision,
        threads=threads,
    )


def ours(problem: Problem, tolerance: float, threads: int) -> Program:
    """Ours; visibilities and weights are in the plan's order, as between iterations."""
    return _program(plan(problem, tolerance, threads), problem)


def with_plain_loops(problem: Problem, tolerance: float, threads: int) -> Program:
    """Ours without vector intrinsics."""
    operator = plan(problem, tolerance, threads)
    assert isinstance(operator, FourierOperator)
    return _program(replace(operator, loops=plain_loops), problem)


def _program(operator: MeasurementOperator, problem: Problem) -> Program:
    visibilities, weight = operator.sort(problem.visibilities), operator.sort(problem.weight)
    return Program(
        problem,
        degrid=lambda: operator.degrid(problem.image),
        grid=lambda: operator.grid(visibilities),
        gradient=lambda: operator.gradient(problem.image, visibilities, weight),
        visibilities=operator.restore,
    )


def ducc_wgridder(problem: Problem, epsilon: float, threads: int) -> Program:
    """ducc0's gridder for radio astronomy: real images, no plan."""
    from ducc0.wgridder import experimental as wgridder

    image, data, weight = np.ascontiguousarray(problem.image.T), problem.visibilities, problem.weight
    options: dict[str, Any] = {
        "uvw": problem.observation.uvw,
        "freq": problem.observation.frequency,
        "pixsize_x": problem.cell,
        "pixsize_y": problem.cell,
        "epsilon": epsilon,
        "do_wgridding": problem.w_term,
        "nthreads": threads,
        "flip_v": True,
        "divide_by_n": False,
    }
    buffers = np.empty_like(data), np.empty_like(image)

    def gradient() -> NDArray[Any]:
        difference = wgridder.dirty2vis(dirty=image, vis=buffers[0], **options)
        difference -= data
        return wgridder.vis2dirty(vis=difference, wgt=weight, dirty=buffers[1], **options)

    return Program(
        problem,
        degrid=lambda: wgridder.dirty2vis(dirty=image, vis=buffers[0], **options),
        grid=lambda: wgridder.vis2dirty(vis=data, dirty=buffers[1], **options),
        gradient=gradient,
        pixels=np.transpose,
    )


def _angles(problem: Problem, dtype: Any = float) -> list[NDArray[np.floating]]:
    """Coordinates of a non-uniform FFT, (visibility,), along y and x, in [-pi, pi]."""
    u, v, _ = problem.coordinates(slice(None))
    return [(2 * np.pi * problem.cell * sign * axis).astype(dtype) for sign, axis in ((1, v), (-1, u))]


def ducc_plan(problem: Problem, epsilon: float, threads: int) -> Program:
    """ducc0's non-uniform FFT, of complex images, with one plan for each direction."""
    import ducc0

    coordinates = np.stack(_angles(problem), axis=1)
    image = problem.image.astype(problem.visibilities.dtype)
    flat = problem.visibilities.reshape(-1)
    if problem.precision == np.float32:
        coordinates = coordinates.astype(np.float32)
    options: dict[str, Any] = {
        "coord": coordinates,
        "grid_shape": problem.shape,
        "epsilon": epsilon,
        "nthreads": threads,
    }
    to_points, to_grid = (ducc0.nufft.plan(nu2u=backwards, **options) for backwards in (False, True))
    buffers = np.empty_like(flat), np.empty_like(image)
    return Program(
        problem,
        degrid=lambda: to_points.u2nu(forward=False, grid=image, out=buffers[0]),
        grid=lambda: to_grid.nu2u(forward=True, points=flat, out=buffers[1]),
    )


def finufft_plans(problem: Problem, epsilon: float, threads: int) -> Program:
    """finufft, of complex images, with its plans of type 1 and 2 made and sorted once."""
    import finufft

    image = problem.image.astype(problem.visibilities.dtype)
    flat = problem.visibilities.reshape(-1)
    options: dict[str, Any] = {"eps": epsilon, "dtype": image.dtype.name, "nthreads": threads, "showwarn": 0}
    to_points = finufft.Plan(2, problem.shape, isign=1, **options)
    to_grid = finufft.Plan(1, problem.shape, isign=-1, **options)
    angles = _angles(problem, problem.precision)
    for each in (to_points, to_grid):
        each.setpts(*angles)
    buffers = np.empty_like(flat), np.empty_like(image)
    return Program(
        problem,
        degrid=lambda: to_points.execute(image, out=buffers[0]),
        grid=lambda: to_grid.execute(flat, out=buffers[1]),
    )


def jax_finufft_functions(problem: Problem, epsilon: float, threads: int) -> Program:
    """finufft as a JAX function: differentiable, jitted, planned anew in every call."""
    import jax
    from jax_finufft import nufft1, nufft2, options

    double = problem.precision == np.float64
    chosen = options.Opts(nthreads=threads)
    with jax.enable_x64(double):
        y, x = (jax.device_put(axis) for axis in _angles(problem, problem.precision))
        image = jax.device_put(problem.image.astype(problem.visibilities.dtype))
        flat = jax.device_put(problem.visibilities.reshape(-1))
    degrid = jax.jit(lambda image: nufft2(image, y, x, iflag=1, eps=epsilon, opts=chosen))
    grid = jax.jit(lambda flat: nufft1(problem.shape, flat, y, x, iflag=-1, eps=epsilon, opts=chosen))

    def run(function: Any, argument: Any) -> Any:
        with jax.enable_x64(double):
            return function(argument).block_until_ready()

    return Program(problem, degrid=lambda: run(degrid, image), grid=lambda: run(grid, flat))


#: Name of a peer: the package that it needs, and how to plan it.
PEERS: dict[str, tuple[str, Factory]] = {
    "ducc0 wgridder": ("ducc0", ducc_wgridder),
    "ducc0 nufft plan": ("ducc0", ducc_plan),
    "finufft plan": ("finufft", finufft_plans),
    "jax-finufft": ("jax_finufft", jax_finufft_functions),
}


def available_peers() -> dict[str, Factory]:
    """The peers that are installed; says which are not."""
    peers = {}
    for name, (package, factory) in PEERS.items():
        if importlib.util.find_spec(package) is None:
            print(f"{name} is left out: {package} is not installed\n")
        else:
            peers[name] = factory
    return peers


def matched_epsilon(factory: Factory, problem: Problem, error: float, threads: int) -> float:
    """The peer's epsilon with which the error of its visibilities is nearest to `error`.

    Where rounding keeps a peer from reaching it, the fastest setting near the best error that it has.
    """
    found: dict[float, float] = {}
    for epsilon in error * EPSILONS:
        try:
            program = factory(problem, float(epsilon), threads)
            visibilities = program.visibilities(np.asarray(program.degrid()))
        except (RuntimeError, ValueError):  # beyond what the peer offers in this precision
            break
        found[float(epsilon)] = _relative(visibilities[problem.chosen], problem.true_visibilities)
        if found[float(epsilon)] <= error:
            return min(found, key=lambda epsilon: abs(np.log(found[epsilon] / error)))
    return max(epsilon for epsilon, measured in found.items() if measured <= NEAR * min(found.values()))
