r"""To the minimum of an objective, on a path from bright to faint.

Against its true noise, a source of a thousand sigma is first fitted by specks all over its sidelobes, which take
hundreds of iterations to disappear. So the first iterations pretend that the noise is a twentieth of the peak, and it
falls to the true one in steps of four: the regularisers keep empty what is not needed yet. This is the continuation
of sparse recovery (Hale, Yin & Zhang 2008, SIAM J. Optim. 19, 1107), and CLEAN's order: the brightest first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from casa_ml_tasks.minor.rml import projected_lbfgs
from casa_ml_tasks.minor.rml.objective import Objective

#: Iterations between two looks at the convergence.
STRIDE = 20
#: The end: `STRIDE` iterations lower the objective (chi^2/2 + ...) by less than this for every beam in the image, or by
#: less than one.
TOLERANCE_PER_BEAM = 0.001
#: Of the objective, relative, in single precision.
ROUNDING = 1e-7
#: On the path: the first noise is the peak of the residual over this, the next one smaller by the step, and so on.
FIRST_SIGNAL_TO_NOISE, STEP, ITERATIONS_A_STEP = 20.0, 4.0, 15

#: Told the parts, the factor by which the noise is exaggerated, and whether nothing more is gained. Returns where to go
#: on with another objective, or None to go on as before.
Look = Callable[[jax.Array, float, bool], tuple[Objective, jax.Array] | None]


def minimise(
    objective: Objective,
    support: jax.Array,
    parts: jax.Array,
    most: int,
    on_progress: Callable[[int, float], None] = lambda iterations, objective: None,
    look: Look = lambda parts, factor, last: None,
) -> tuple[jax.Array, bool]:
    """Minimise until nothing is gained.

    Args:
        objective: with the residual of its model.
        support: (..., ny, nx), True where the image may differ from zero.
        parts: where to begin, (1 or 2, ..., ny, nx), not negative.
        most: iterations.
        on_progress: told every few iterations how many they were, and the objective.
        look: may put another objective in the place of this one.

    Returns:
        The parts at the minimum, and whether there is nothing more to gain: not if the iterations are spent, or if the
        objective is so large that single precision hides what there is until a major cycle has looked.

    Raises:
        FloatingPointError: the objective is not finite.
    """
    likelihood = objective.likelihood
    for factor in noise_factors(float(jnp.max(jnp.abs(likelihood.residual) / likelihood.sigma))):
        sigma = factor * objective.likelihood.sigma
        louder = replace(objective, likelihood=replace(objective.likelihood, sigma=sigma))
        state = projected_lbfgs.begin(louder, parts)
        state = projected_lbfgs.advance(louder, support, state, min(ITERATIONS_A_STEP, most))
        parts, most = state.position, most - int(state.iteration)
        on_progress(int(state.iteration), _finite(state.value))
        objective, parts = look(parts, factor, False) or (objective, parts)
    tolerance = max(1.0, TOLERANCE_PER_BEAM * float(jnp.sum(jnp.ones(parts.shape[1:]) / objective.beam_area)))
    state, spent = projected_lbfgs.begin(objective, parts), 0
    while (left := most - spent - int(state.iteration)) > 0:
        iteration, value = int(state.iteration), float(state.value)
        state = projected_lbfgs.advance(objective, support, state, min(STRIDE, left))
        on_progress(int(state.iteration) - iteration, _finite(state.value))
        gained = value - float(state.value)
        last = gained < tolerance or bool(state.stalled)
        if (changed := look(state.position, 1.0, last)) is not None:
            objective, spent = changed[0], spent + int(state.iteration)
            state = projected_lbfgs.begin(*changed)
        elif last:
            return state.position, gained < tolerance or ROUNDING * abs(value) < tolerance
    return state.position, False


def noise_factors(signal_to_noise: float) -> Iterator[float]:
    """Yield the factors by which the noise is exaggerated on the way to the true one."""
    factor = signal_to_noise / FIRST_SIGNAL_TO_NOISE
    while factor > 1.5:
        yield factor
        factor /= STEP


def _finite(objective: jax.Array) -> float:
    if not np.isfinite(objective):
        raise FloatingPointError("the objective of the minor cycle is not finite: check the data for NaN")
    return float(objective)
