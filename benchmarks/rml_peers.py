r"""Time to the optimum: rmlclean's minor cycle beside MPoL's recipe and PRIISM's scheme.

All minimise $J = \chi^2/2$ + l1 + tsv over non-negative images of the same visibilities, and the image of every
iteration is judged by one J in double precision. The optimum J* is what a long run of ours finds (J is convex). The gap
of an image is $(J - J^*) / (J(0) - J^*)$, 0 being the empty image; 1.01 J* is another reading of "within 1 %", in which
J* has the $\chi^2$ of the noise.

- ours: the projected, preconditioned L-BFGS of rmlclean from bright to faint, one iteration a call;
- MFISTA: the scheme of PRIISM's solver, on our operator, so that the schemes alone are compared: the monotone
  accelerated proximal gradient (Beck & Teboulle 2009, IEEE Trans. Image Process. 18, 2419), the Lipschitz constant
  divided by 1.1 every iteration and multiplied by it until the majorant holds;
- MPoL: softplus of a BaseCube, Adam, and losses that are this J; without its HannConvCube, which no other has. Of every
  start the best learning rate on averaged visibilities is raced; neither the search for it nor the start is counted.

Seconds are of iterations alone, of the fastest of the runs, which take turns; "start" is compilation and two
iterations. MPoL sees the visibilities as its documentation recommends for speed, averaged in the cells of its uv grid,
or one by one with its NuFFT; everybody sees the same.

python -m benchmarks.rml_peers
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import torch
from mpol import coordinates, fourier, gridding, images, losses
from numpy.typing import NDArray
from scipy.constants import arcsecond

from benchmarks.measure import print_table, rmlclean_parameters
from benchmarks.skies import Sky, add_options, chosen_skies
from casa_ml_tasks.data.directions import directions_of
from casa_ml_tasks.data.visibility_store import ImageFrame, read
from casa_ml_tasks.kernels.fourier_operator import fourier_operator
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.rml import projected_lbfgs
from casa_ml_tasks.minor.rml.minimisation import ITERATIONS_A_STEP, noise_factors
from casa_ml_tasks.minor.rml.objective import Objective
from casa_ml_tasks.request.selection import DataSelection

TOLERANCE = 1e-9  # of the PSF and the dirty image
LONG_RUN = 1500  # iterations of ours, for the optimum
GAPS = (1e-2, 1e-3, 1e-4)
GROWTH = 1.1  # of MFISTA's Lipschitz constant
RATES = (0.03, 0.1, 0.3, 0.5, 1.0, 3.0)  # MPoL's tutorials have 0.3 and 0.5
STARTS = ("constant", "faint", "dirty")
TRIAL = 2.0  # seconds for every recipe that is tried

#: Seconds spent so far, and J, after every iteration.
History = list[tuple[float, float]]


@dataclass(frozen=True)
class Problem:
    """Visibilities and the grid of the image that explains them.

    Attributes:
        u, v: (visibility,), wavelengths.
        visibility: (visibility,), Jy.
        weight: (visibility,), Jy^-2.
        size: pixels a side, even.
        cell: pixel size, arcsec.
    """

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    visibility: NDArray[np.complex128]
    weight: NDArray[np.float64]
    size: int
    cell: float

    @classmethod
    def of(cls, sky: Sky, size: int) -> Problem:
        """All visibilities of a simulated sky."""
        centre = directions_of(str(sky.vis)).phase_centre(0, 0.0)
        frame = ImageFrame((centre["m0"]["value"], centre["m1"]["value"]), centre["refer"])
        with tempfile.TemporaryDirectory() as folder:
            found = read(
                DataSelection.from_parameters(**rmlclean_parameters(**sky.imaging)).selections, frame, Path(folder)
            )
        u, v, _ = found.uvw.T
        return cls(u, v, found.visibility.astype(complex), found.weight.astype(float), size, sky.cell)

    @property
    def misfit_of_nothing(self) -> float:
        """J of the empty image."""
        return 0.5 * float(np.sum(self.weight * np.abs(self.visibility) ** 2))

    def averaged(self) -> Problem:
        """The weighted means in the cells of MPoL's uv grid, each taken to lie in the centre of its cell."""
        dataset = gridded_dataset(self)
        mask, frequency = dataset.mask[0].numpy(), np.fft.fftfreq(self.size, self.cell * arcsecond)
        v, u = np.meshgrid(-frequency, frequency, indexing="ij")
        visibility, weight = dataset.vis_indexed.numpy(), dataset.weight_indexed.numpy()
        return replace(self, u=u[mask], v=v[mask], visibility=visibility, weight=weight)

    def objective(self, regularisers: tuple[str, ...]) -> Objective:
        """J without the constant `misfit_of_nothing`."""
        uvw, total = np.stack([self.u, self.v, np.zeros_like(self.u)], axis=1), self.weight.sum()

        def gridded(values: NDArray[np.complex128], size: int) -> NDArray[np.float64]:
            operator = fourier_operator(uvw, 1.0, (size, size), self.cell * arcsecond, TOLERANCE, np.float64)
            return operator.grid(operator.sort(values)) / total

        operator = ConvolutionNormalOperator.from_psf(gridded(self.weight.astype(complex), 2 * self.size))
        dirty = jnp.asarray(gridded(self.weight * self.visibility, self.size))
        likelihood = QuadraticLikelihood(operator, dirty, 0.0, jnp.asarray(total**-0.5))
        beam_area = jnp.asarray(1.0)  # l1 and tsv do not ask for it
        return Objective(likelihood, beam_area, jnp.ones(len(regularisers)), regularisers)


class Program(Protocol):
    """What minimises J step by step."""

    def step(self) -> bool:
        """One iteration. Returns False where no more is possible."""
        ...

    def image(self) -> NDArray[np.float64]:
        """(ny, nx), Jy/pixel."""
        ...


class Ours:
    """What rmlclean does: single precision, from bright to faint, from the empty image unless told otherwise."""

    def __init__(self, objective: Objective, start: NDArray[np.float64] | None = None):
        shape = objective.likelihood.residual.shape
        image = jnp.zeros(shape) if start is None else jnp.asarray(start)
        likelihood = objective.likelihood.around(image)
        single = jax.tree.map(lambda each: each.astype(jnp.float32), likelihood)
        self._objective = replace(objective, likelihood=replace(single, sigma=likelihood.sigma))
        self._support = jnp.ones(shape, bool)
        self._factors = [*noise_factors(float(jnp.abs(likelihood.residual).max() / likelihood.sigma)), 1.0]
        self._begin(image.astype(jnp.float32)[None])

    def _begin(self, parts: jax.Array) -> None:
        likelihood = self._objective.likelihood
        louder = replace(likelihood, sigma=self._factors.pop(0) * likelihood.sigma)
        self._louder = replace(self._objective, likelihood=louder)
        self._state = projected_lbfgs.begin(self._louder, parts)

    def step(self) -> bool:
        if self._factors and (int(self._state.iteration) >= ITERATIONS_A_STEP or self._state.stalled):
            self._begin(self._state.position)
        self._state = jax.block_until_ready(projected_lbfgs.advance(self._louder, self._support, self._state, 1))
        return bool(self._factors) or not self._state.stalled

    def image(self) -> NDArray[np.float64]:
        return np.asarray(self._state.position[0], float)


class Accelerated(NamedTuple):
    """MFISTA's state.

    Attributes:
        best: x, (ny, nx), of the lowest J so far.
        ahead: y, (ny, nx), from where the next step goes.
        momentum: t.
        lipschitz: L.
        value: J of x.
    """

    best: jax.Array
    ahead: jax.Array
    momentum: jax.Array
    lipschitz: jax.Array
    value: jax.Array


@jax.jit
def mfista_step(smooth: Objective, slope: jax.Array, state: Accelerated) -> Accelerated:
    """One step of monotone FISTA. smooth: J without l1; slope: of l1."""
    value_ahead, gradient = smooth.value_and_gradient(state.ahead[None])

    def trial(lipschitz: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        position = jnp.maximum(state.ahead - (gradient[0] + slope) / lipschitz, 0)
        return lipschitz, position, smooth.value_and_gradient(position[None])[0]

    def above_majorant(search: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        lipschitz, position, value = search
        step = position - state.ahead
        majorant = value_ahead + jnp.vdot(gradient[0], step) + 0.5 * lipschitz * jnp.vdot(step, step)
        return value > majorant + 1e-12 * jnp.abs(value_ahead)

    lipschitz, position, value = jax.lax.while_loop(
        above_majorant, lambda search: trial(GROWTH * search[0]), trial(state.lipschitz)
    )
    value += slope * position.sum()
    lower = value < state.value
    best = jnp.where(lower, position, state.best)
    momentum = (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2
    ahead = best + (state.momentum * (position - best) + (state.momentum - 1) * (best - state.best)) / momentum
    return Accelerated(best, ahead, momentum, lipschitz / GROWTH, jnp.minimum(value, state.value))


class Mfista:
    """PRIISM's scheme."""

    def __init__(self, objective: Objective):
        self._slope = 1 / objective.likelihood.sigma
        self._smooth = replace(objective, strengths=jnp.ones(1), regularisers=("tsv",))
        empty, one = jnp.zeros(objective.likelihood.residual.shape), jnp.array(1.0)
        lipschitz = objective.likelihood.operator.spectral_norm() / objective.likelihood.sigma**2
        self._state = Accelerated(empty, empty, one, lipschitz, jnp.array(0.0))

    def step(self) -> bool:
        self._state = jax.block_until_ready(mfista_step(self._smooth, self._slope, self._state))
        return True

    def image(self) -> NDArray[np.float64]:
        return np.asarray(self._state.best)


@dataclass(frozen=True)
class Recipe:
    """How MPoL is begun and how fast it learns.

    Attributes:
        start: "constant", as a BaseCube is made; "faint", 1e-3 of the dirty peak everywhere, next to the empty image
            that the others begin with; or "dirty", the dirty image (Briggs 0) where it is above that.
        rate: Adam's learning rate.
    """

    start: str
    rate: float


def grid_coordinates(problem: Problem) -> coordinates.GridCoords:
    return coordinates.GridCoords(cell_size=problem.cell, npix=problem.size)


def samples(problem: Problem) -> dict[str, NDArray[np.float64]]:
    """As MPoL wants them: kilolambda, real and imaginary parts; -v, because its image's columns run as ours."""
    return {
        "uu": problem.u / 1e3,
        "vv": -problem.v / 1e3,
        "weight": problem.weight,
        "data_re": problem.visibility.real.copy(),
        "data_im": problem.visibility.imag.copy(),
    }


def gridded_dataset(problem: Problem) -> Any:
    averager = gridding.DataAverager(coords=grid_coordinates(problem), **samples(problem))
    return averager.to_pytorch_dataset(check_visibility_scatter=False)


#: chi^2/2 of a packed cube, (1, ny, nx), Jy/arcsec^2.
Misfit = Callable[[torch.Tensor], torch.Tensor]


def misfit_of_cells(problem: Problem) -> Misfit:
    """By FFT, for visibilities in the centres of cells."""
    dataset, predict = gridded_dataset(problem), fourier.FourierCube(grid_coordinates(problem))
    return lambda cube: 0.5 * losses.chi_squared_gridded(predict(cube), dataset)


def misfit_of_visibilities(problem: Problem) -> Misfit:
    """By NuFFT."""
    given = samples(problem)
    predict = fourier.NuFFT(grid_coordinates(problem), given["uu"], given["vv"])
    data, weight = torch.tensor(problem.visibility), torch.tensor(problem.weight)
    return lambda cube: 0.5 * losses.chi_squared(predict(cube)[0], data, weight)


class Mpol:
    """MPoL as its tutorials have it."""

    def __init__(self, problem: Problem, misfit: Misfit, recipe: Recipe):
        self._area, self._sigma = problem.cell**2, float(problem.weight.sum() ** -0.5)
        self._misfit = misfit
        self._cube = images.BaseCube(grid_coordinates(problem), base_cube=self._base_cube(problem, recipe.start))
        self._optimiser = torch.optim.Adam(self._cube.parameters(), lr=recipe.rate)

    @staticmethod
    def _base_cube(problem: Problem, start: str) -> torch.Tensor | None:
        if start == "constant":
            return None
        imager = gridding.DirtyImager(coords=grid_coordinates(problem), **samples(problem))
        dirty, _ = imager.get_dirty_image(weighting="briggs", robust=0.0, unit="Jy/arcsec^2")
        packed = np.fft.fftshift(dirty[:, :, ::-1], axes=(1, 2))
        faint = np.full_like(packed, 1e-3 * packed.max())
        image = np.maximum(packed, faint) if start == "dirty" else faint
        return torch.tensor(np.log(np.expm1(image)))

    def loss(self) -> torch.Tensor:
        """J."""
        cube = self._cube()
        image = self._area * torch.fft.fftshift(cube, dim=(1, 2))
        variation = sum(torch.sum(torch.diff(image, dim=axis) ** 2) for axis in (1, 2))
        return self._misfit(cube) + losses.sparsity(image) / self._sigma + 1e-3 * variation / self._sigma**2

    def step(self) -> bool:
        self._optimiser.zero_grad()
        self.loss().backward()
        self._optimiser.step()
        return True

    def image(self) -> NDArray[np.float64]:
        with torch.no_grad():
            return self._area * np.fft.fftshift(self._cube()[0].numpy())


@jax.jit
def value_of(objective: Objective, image: jax.Array) -> jax.Array:
    return objective.value_and_gradient(image[None])[0]


@dataclass(frozen=True)
class Goal:
    """What is to be reached.

    Attributes:
        objective: J without a constant.
        nothing: J of the empty image, which is this constant.
        best: the image of J*, (ny, nx), Jy/pixel.
    """

    objective: Objective
    nothing: float
    best: NDArray[np.float64]

    @classmethod
    def of(cls, problem: Problem, objective: Objective) -> Goal:
        """By a long run of ours in double precision."""
        shape = objective.likelihood.residual.shape
        state = projected_lbfgs.begin(objective, jnp.zeros((1, *shape)))
        state = projected_lbfgs.advance(objective, jnp.ones(shape, bool), state, LONG_RUN)
        return cls(objective, problem.misfit_of_nothing, np.asarray(state.position[0]))

    def evaluate(self, image: NDArray[np.float64]) -> float:
        """J of an image, (ny, nx), Jy/pixel."""
        return float(value_of(self.objective, image)) + self.nothing

    @cached_property
    def optimum(self) -> float:
        """J*."""
        return self.evaluate(self.best)

    def targets(self) -> list[float]:
        """J at every one of `GAPS`, and 1 % above J*."""
        depth = self.nothing - self.optimum
        return [*(self.optimum + gap * depth for gap in GAPS), self.optimum + 1e-2 * abs(self.optimum)]

    def gap(self, value: float) -> float:
        """Of a J."""
        return (value - self.optimum) / (self.nothing - self.optimum)

    def follow(self, program: Program, seconds: float) -> History:
        """Iterate until every target is reached or the time is spent, in which the evaluation does not count."""
        history: History = []
        spent, value, able, last = 0.0, np.inf, True, min(self.targets())
        while able and spent < seconds and value > last:
            begun = time.perf_counter()
            able = program.step()
            spent += time.perf_counter() - begun
            value = self.evaluate(program.image())
            history.append((spent, value))
        return history


def reached(target: float, history: History) -> tuple[int, float] | None:
    """Iterations and seconds; None where it was not reached."""
    return next(((number, seconds) for number, (seconds, value) in enumerate(history, 1) if value <= target), None)


def seconds_to_start(make: Callable[[], Program]) -> float:
    """Until two iterations are done: JAX compiles the second anew, for the types of what the first returned."""
    begun = time.perf_counter()
    program = make()
    program.step()
    program.step()
    return time.perf_counter() - begun


def faster_threads(program: Program) -> int:
    """As many threads for torch as there are cores, or one where that is faster: small images do not repay many."""

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        program.step()
        begun = time.perf_counter()
        for _ in range(5):
            program.step()
        return time.perf_counter() - begun

    return min((available_cores(), 1), key=seconds)


def best_recipes(problem: Problem, misfit: Misfit, goal: Goal) -> list[Recipe]:
    """Of every start the rate that is first at 1.01 J*, or comes closest; prints what was tried."""

    def rank(recipe: Recipe) -> tuple[float, float]:
        history = goal.follow(Mpol(problem, misfit, recipe), TRIAL)
        arrival = reached(goal.targets()[-1], history)
        return arrival[1] if arrival else np.inf, goal.gap(min(value for _, value in history))

    def shown(seconds: float, gap: float) -> str:
        return f"{seconds:.2f} s" if np.isfinite(seconds) else f"{gap:.0e}"

    ranks = {start: {rate: rank(Recipe(start, rate)) for rate in RATES} for start in STARTS}
    print(f"MPoL: seconds to 1.01 J*, or the gap after {TRIAL:g} s, by start and learning rate.\n")
    rows = [[start, *(shown(*each) for each in ranked.values())] for start, ranked in ranks.items()]
    print_table(("start", *map(str, RATES)), rows)
    print()
    return [Recipe(start, min(ranked, key=lambda rate: ranked[rate])) for start, ranked in ranks.items()]


def prepared(way: str, problem: Problem, misfit_of: Callable[[Problem], Misfit]) -> tuple[Goal, Misfit]:
    """What to reach and MPoL's chi^2/2; prints both sides' preparations and how well they agree."""
    begun = time.perf_counter()
    objective = problem.objective(("l1", "tsv"))
    ours_ready = time.perf_counter()
    misfit = misfit_of(problem)
    mpol_ready = time.perf_counter()
    goal = Goal.of(problem, objective)
    check = Mpol(problem, misfit, Recipe("dirty", RATES[0]))
    difference = float(check.loss()) / goal.evaluate(check.image()) - 1
    torch.set_num_threads(threads := faster_threads(check))
    print(f"\nVisibilities {way}: J(0) = {goal.nothing:.6g}, J* = {goal.optimum:.6g}.", end=" ")
    print(f"MPoL's J of an image differs by {difference:.0e} of it.", end=" ")
    print(f"Preparation: {ours_ready - begun:.1f} s of PSF and dirty image,", end=" ")
    print(f"{mpol_ready - ours_ready:.1f} s of MPoL's averages or NuFFT. Threads of torch: {threads}.\n")
    return goal, misfit


OURS = "rmlclean's L-BFGS"
COLUMNS = ("program", "start [s]", "ms an iteration", *(f"to {gap:g}" for gap in GAPS), "to 1.01 J*", "smallest gap")


def race(problem: Problem, misfit: Misfit, recipes: list[Recipe], goal: Goal, seconds: float, runs: int) -> None:
    """Let the programs take turns, and print the fastest of every one's runs."""
    dirty = Mpol(problem, misfit, Recipe("dirty", RATES[0])).image()
    programs: dict[str, Callable[[], Program]] = {
        OURS: partial(Ours, goal.objective),
        f"{OURS}, dirty": partial(Ours, goal.objective, dirty),
        "MFISTA": partial(Mfista, goal.objective),
    }
    programs |= {f"MPoL, {each.start}, rate {each.rate:g}": partial(Mpol, problem, misfit, each) for each in recipes}
    start = {name: seconds_to_start(make) for name, make in programs.items()}
    histories: dict[str, list[History]] = {name: [] for name in programs}
    for _, (name, make) in itertools.product(range(runs), programs.items()):
        histories[name].append(goal.follow(make(), seconds))

    ours = histories[OURS]
    rows = []
    for name, each in histories.items():
        pace = min(history[-1][0] / len(history) for history in each)
        lowest = min(value for history in each for _, value in history)
        arrivals = [arrival(target, each, ours) for target in goal.targets()]
        rows.append([name, f"{start[name]:.2f}", f"{1e3 * pace:.1f}", *arrivals, f"{goal.gap(lowest):.1e}"])
    print_table(COLUMNS, rows)


def arrival(target: float, histories: list[History], ours: list[History]) -> str:
    """Iterations, seconds, and seconds over ours, each of the fastest run."""

    def fastest(runs: list[History]) -> tuple[int, float] | None:
        return min(filter(None, (reached(target, run) for run in runs)), key=lambda found: found[1], default=None)

    found, reference = fastest(histories), fastest(ours)
    number, seconds = found or (len(histories[0]), histories[0][-1][0])
    more = "" if found else "> "
    ratio = f"{more}{seconds / reference[1]:.1f} x" if reference else "-"
    return f"{more}{number}, {more}{seconds:.2f} s, {ratio}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.set_defaults(names=["rings"])
    parser.add_argument("--size", type=int, default=256, help="pixels a side")
    parser.add_argument("--seconds", type=float, default=15, help="that a program may iterate")
    parser.add_argument("--runs", type=int, default=2, help="of every program")
    parser.add_argument("--quick", action="store_true", help="one run of 10 s on averaged visibilities only")
    options = parser.parse_args()
    seconds, runs = (10.0, 1) if options.quick else (options.seconds, options.runs)
    for sky in chosen_skies(options):
        with jax.enable_x64(True):
            loose = Problem.of(sky, options.size)
            print(f"\n{sky.name} ({sky.seed}), {loose.size}^2 pixels, {loose.u.size} visibilities")
            averaged = loose.averaged()
            goal, misfit = prepared(f"averaged in {averaged.u.size} cells", averaged, misfit_of_cells)
            recipes = best_recipes(averaged, misfit, goal)
            race(averaged, misfit, recipes, goal, seconds, runs)
            if not options.quick:
                of_averages = goal.best
                goal, misfit = prepared("one by one", loose, misfit_of_visibilities)
                print(f"The optimum of the averages has a gap of {goal.gap(goal.evaluate(of_averages)):.1e} here.\n")
                race(loose, misfit, recipes, goal, seconds, runs)


if __name__ == "__main__":
    main()
