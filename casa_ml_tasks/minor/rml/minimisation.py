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
#: The same where errors of calibration are most of the noise, which is known to some 10 % then.
TOLERANCE_OF_ERRORS = 0.005
#: Of the objective, relative, in single precision.
ROUNDING = 1e-7
#: On the path: the first noise is the peak of the residual over this, the next one smaller by the step, and so on.
FIRST_SIGNAL_TO_NOISE, STEP, ITERATIONS_A_STEP = 20.0, 4.0, 15

#: What is still so many times the noise after so many iterations at the true noise may have other causes than the sky.
FAR_ABOVE_NOISE, ENOUGH_TO_TELL = 3.0, 40

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
    to_the_end: bool = True,
    tolerance: float = TOLERANCE_PER_BEAM,
) -> tuple[jax.Array, bool]:
    """Minimise until nothing is gained.

    Args:
        objective: with the residual of its model.
        support: (..., ny, nx), True where the image may differ from zero.
        parts: where to begin, (1 or 2, ..., ny, nx), not negative.
        most: iterations.
        on_progress: told every few iterations how many they were, and the objective.
        look: may put another objective in the place of this one.
        to_the_end: otherwise the iterations end as well where the residual stays far above the noise, so that a major
            cycle can tell whether there are errors of calibration.
        tolerance: the end, as `TOLERANCE_PER_BEAM` has it.

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
    tolerance = max(1.0, tolerance * float(jnp.sum(jnp.ones(parts.shape[1:]) / objective.beam_area)))
    state, spent, may_tell = projected_lbfgs.begin(objective, parts), 0, not to_the_end
    while (left := most - spent - int(state.iteration)) > 0:
        iteration, value = int(state.iteration), float(state.value)
        state = projected_lbfgs.advance(objective, support, state, min(STRIDE, left))
        on_progress(int(state.iteration) - iteration, _finite(state.value))
        gained = value - float(state.value)
        last = gained < tolerance or bool(state.stalled)
        if (changed := look(state.position, 1.0, last)) is not None:
            objective, moved = changed
            if moved is state.position:
                state = projected_lbfgs.begin_again(objective, state)
            else:
                state, spent = projected_lbfgs.begin(objective, moved), spent + int(state.iteration)
        elif last:
            return state.position, gained < tolerance or ROUNDING * abs(value) < tolerance
        if may_tell and spent + int(state.iteration) >= ENOUGH_TO_TELL:
            may_tell = False
            if _residual_in_noise(objective, state.position) > FAR_ABOVE_NOISE:
                break
    return state.position, False


def noise_factors(signal_to_noise: float) -> Iterator[float]:
    """Yield the factors by which the noise is exaggerated on the way to the true one."""
    factor = signal_to_noise / FIRST_SIGNAL_TO_NOISE
    while factor > 1.5:
        yield factor
        factor /= STEP


def _residual_in_noise(objective: Objective, parts: jax.Array) -> float:
    """Return the r.m.s. over all pixels of the residual that these parts should have, over its noise."""
    likelihood = objective.likelihood
    residual = likelihood.predicted_residual(objective.image(parts))
    return float(jnp.sqrt(jnp.mean((residual / likelihood.sigma) ** 2)))


def _finite(objective: jax.Array) -> float:
    if not np.isfinite(objective):
        raise FloatingPointError("the objective of the minor cycle is not finite: check the data for NaN")
    return float(objective)
