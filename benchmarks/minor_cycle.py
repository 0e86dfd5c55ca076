"""Four ways to the same image: iterations and seconds until the objective is within 100 and 1 of the best.

The objective is rmlclean's default: chi^2/2 + l1 + log_smoothness over non-negative images, in which a difference of 1
means nothing to a statistician.

python -m benchmarks.minor_cycle
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import OptimizeResult, minimize

from benchmarks.measure import Deconvolution, print_table
from benchmarks.skies import add_options, chosen_skies
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.minor.rml import projected_lbfgs
from casa_ml_tasks.minor.rml.minimisation import minimise
from casa_ml_tasks.minor.rml.objective import Objective

REGULARISERS = ("l1", "log_smoothness")
MOST_ITERATIONS = 300

#: Iterations, seconds, objective.
History = list[tuple[int, float, float]]


def default_objective(data: Deconvolution) -> Objective:
    operator = ConvolutionNormalOperator.from_psf(data.psf[0, 0])
    dirty, sigma = jnp.asarray(data.dirty[0, 0], float), jnp.asarray(data.sigma, float)
    likelihood = QuadraticLikelihood(operator, dirty, 0.0, sigma)
    return Objective(likelihood, jnp.asarray(data.beam_area, float), jnp.ones(len(REGULARISERS)), REGULARISERS)


def by_minimise(objective: Objective, start: jax.Array) -> History:
    """What rmlclean does, in single precision; what it tells on the path is of more noise, so above the target."""
    likelihood = replace(
        objective.likelihood,
        operator=jax.tree.map(lambda each: each.astype(jnp.float32), objective.likelihood.operator),
        residual=objective.likelihood.residual.astype(jnp.float32),
        model=jnp.zeros(start.shape[1:], jnp.float32),
    )
    single = replace(objective, likelihood=likelihood)
    parts, support = start.astype(jnp.float32), jnp.ones(start.shape[1:], bool)
    minimise(single, support, parts, 20)
    history: History = []
    begun = time.perf_counter()

    def remember(iterations: int, value: float) -> None:
        done = history[-1][0] if history else 0
        history.append((done + iterations, time.perf_counter() - begun, value))

    minimise(single, support, parts, MOST_ITERATIONS, remember)
    return history


def by_projected_lbfgs(objective: Objective, start: jax.Array) -> History:
    """Its optimiser alone, against the true noise, in double precision."""
    support = jnp.ones(start.shape[1:], bool)
    state = projected_lbfgs.begin(objective, start)
    projected_lbfgs.advance(objective, support, state, 1)
    history: History = []
    begun = time.perf_counter()
    while not state.stalled and int(state.iteration) < MOST_ITERATIONS:
        state = projected_lbfgs.advance(objective, support, state, 1)
        history.append((int(state.iteration), time.perf_counter() - begun, float(state.value)))
    return history


class Accelerated(NamedTuple):
    """FISTA's state: image, point of extrapolation, momentum, Lipschitz constant, objective."""

    position: jax.Array
    ahead: jax.Array
    momentum: jax.Array
    lipschitz: jax.Array
    value: jax.Array


@jax.jit
def fista_step(objective: Objective, state: Accelerated) -> Accelerated:
    """Beck & Teboulle (2009) with backtracking, restarted as O'Donoghue & Candes (2015) do."""
    value_ahead, gradient = objective.value_and_gradient(state.ahead)

    def trial(lipschitz: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        position = jnp.maximum(state.ahead - gradient / lipschitz, 0)
        return lipschitz, position, objective.value_and_gradient(position)[0]

    def too_long(search: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        lipschitz, position, value = search
        step = position - state.ahead
        bound = value_ahead + jnp.vdot(gradient, step) + 0.5 * lipschitz * jnp.vdot(step, step)
        return value > bound + 1e-12 * jnp.abs(value_ahead)

    lipschitz, position, value = jax.lax.while_loop(
        too_long, lambda search: trial(2 * search[0]), trial(0.9 * state.lipschitz)
    )
    restart = (jnp.vdot(state.ahead - position, position - state.position) > 0) | (value > state.value)
    momentum = jnp.where(restart, 1.0, (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2)
    extrapolation = jnp.where(restart, 0.0, (state.momentum - 1) / momentum)
    ahead = jnp.maximum(position + extrapolation * (position - state.position), 0)
    return Accelerated(position, ahead, momentum, lipschitz, value)


def by_fista(objective: Objective, start: jax.Array) -> History:
    """The accelerated proximal gradient, whose prox here is the projection."""
    lipschitz = objective.likelihood.operator.spectral_norm() / objective.likelihood.sigma**2
    value, _ = objective.value_and_gradient(start)
    state = Accelerated(start, start, jnp.array(1.0), lipschitz, value)
    fista_step(objective, state)
    history: History = []
    begun = time.perf_counter()
    for iteration in range(1, MOST_ITERATIONS + 1):
        state = fista_step(objective, state)
        history.append((iteration, time.perf_counter() - begun, float(state.value)))
    return history


def by_scipy(objective: Objective, start: jax.Array) -> History:
    """SciPy's L-BFGS-B with as many pairs; its vectors live in NumPy, its values and gradients come from JAX."""
    evaluate = jax.jit(lambda parts: objective.value_and_gradient(parts))
    evaluate(start)
    history: History = []

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = evaluate(jnp.asarray(flat.reshape(start.shape)))
        return float(value), np.asarray(gradient).ravel()

    def remember(intermediate_result: OptimizeResult) -> None:
        history.append((len(history) + 1, time.perf_counter() - begun, float(intermediate_result.fun)))

    options = {"maxcor": projected_lbfgs.MEMORY, "maxiter": MOST_ITERATIONS, "maxfun": 10**6, "ftol": 0, "gtol": 0}
    bounds = [(0, None)] * start.size
    begun = time.perf_counter()
    flat = np.asarray(start).ravel()
    minimize(value_and_gradient, flat, jac=True, method="L-BFGS-B", bounds=bounds, options=options, callback=remember)
    return history


METHODS: dict[str, Callable[[Objective, jax.Array], History]] = {
    "from bright to faint": by_minimise,
    "projected, preconditioned L-BFGS": by_projected_lbfgs,
    "FISTA, restarted": by_fista,
    "SciPy L-BFGS-B": by_scipy,
}


def reached(history: History, target: float) -> list[str]:
    """Iterations and seconds until the objective is at the target."""
    for iteration, seconds, value in history:
        if value <= target:
            return [str(iteration), f"{seconds:.1f}"]
    return [f"more than {history[-1][0]}", f"> {history[-1][1]:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.set_defaults(names=["gaussians"])
    for sky in chosen_skies(parser.parse_args()):
        with tempfile.TemporaryDirectory() as folder, jax.enable_x64(True):
            data = Deconvolution.of(Path(folder), **sky.imaging)
            objective, start = default_objective(data), jnp.zeros(data.dirty.shape[1:])
            histories = {name: method(objective, start) for name, method in METHODS.items()}
        best = min(value for history in histories.values() for _, _, value in history)
        print(f"\n{sky.name} ({sky.seed}), best objective {best:.1f}\n")
        columns = ("method", "iterations to 100", "[s]", "iterations to 1", "[s]", "s an iteration")
        rows = [
            [name, *reached(history, best + 100), *reached(history, best + 1), f"{history[-1][1] / history[-1][0]:.3f}"]
            for name, history in histories.items()
        ]
        print_table(columns, rows)


if __name__ == "__main__":
    main()
