"""Minimisation over non-negative images: a projected, preconditioned L-BFGS.

Measured on the sketch problems (positivity, L1 and the smooth logarithm, 384^2): 2 to 4 times fewer iterations than
accelerated proximal gradients with restart, and 5 times less time an iteration than SciPy's L-BFGS-B, whose vectors
live in NumPy. `benchmarks/minor_cycle.py` prints the comparison.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

MEMORY = 6  # pairs of steps and gradient differences
SUFFICIENT_DECREASE = 1e-4  # Armijo's constant
BACKTRACKING = 0.4
MOST_BACKTRACKS = 25

#: Backtracks so far, length of the trial step, and the position, value and gradient that it leads to.
Search = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


class SmoothObjective(Protocol):
    """What can be minimised: a JAX pytree with these two methods."""

    def value_and_gradient(self, parts: jax.Array) -> tuple[jax.Array, jax.Array]: ...

    def curvature(self, parts: jax.Array) -> jax.Array: ...


class State(NamedTuple):
    """Where the minimisation stands; all a resumed one needs.

    Attributes:
        position: (..., ny, nx), non-negative.
        value: the objective there.
        gradient: shaped like the position.
        steps, differences: (MEMORY, ...), of position and gradient, the newest at (iteration - 1) % MEMORY.
        iteration: iterations done.
        stalled: whether the last line search found no decrease.
    """

    position: jax.Array
    value: jax.Array
    gradient: jax.Array
    steps: jax.Array
    differences: jax.Array
    iteration: jax.Array
    stalled: jax.Array


@jax.jit
def begin(objective: SmoothObjective, position: jax.Array) -> State:
    """The state at a first position, (..., ny, nx), non-negative."""
    value, gradient = objective.value_and_gradient(position)
    memory = jnp.zeros((MEMORY, *position.shape), position.dtype)
    return State(position, value, gradient, memory, memory, jnp.array(0), jnp.array(False))


def _direction(objective: SmoothObjective, state: State, free: jax.Array) -> jax.Array:
    """The two-loop recursion (Nocedal & Wright 2006, algorithm 7.4) on the free pixels, preconditioned by curvature."""
    preconditioner = 1 / objective.curvature(state.position)
    newest_first = (state.iteration - 1 - jnp.arange(MEMORY)) % MEMORY

    def on_free(image: jax.Array) -> jax.Array:
        return jnp.where(free, image, 0)

    def first_loop(q: jax.Array, index: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
        step, difference = on_free(state.steps[index]), on_free(state.differences[index])
        product = jnp.vdot(step, difference)
        usable = product > 1e-10 * jnp.vdot(difference, preconditioner * difference)
        rho = jnp.where(usable, 1 / jnp.where(usable, product, 1), 0)
        alpha = rho * jnp.vdot(step, q)
        scale = jnp.where(usable, product / jnp.vdot(difference, preconditioner * difference), 0)
        return q - alpha * difference, (alpha, rho, scale)

    def second_loop(q: jax.Array, pair: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        index, alpha, rho = pair
        beta = rho * jnp.vdot(on_free(state.differences[index]), q)
        return q + on_free(state.steps[index]) * (alpha - beta), None

    q, (alpha, rho, scale) = jax.lax.scan(first_loop, on_free(state.gradient), newest_first)
    q = jnp.where(scale[0] > 0, scale[0], 1) * preconditioner * q
    q, _ = jax.lax.scan(second_loop, q, (newest_first, alpha, rho), reverse=True)
    return -on_free(q)


def _iterate(objective: SmoothObjective, support: jax.Array, state: State) -> State:
    """One step: pixels at zero that want to be negative stay, the others move and are projected (Bertsekas 1982)."""
    free = support & ((state.position > 0) | (state.gradient < 0))
    direction = _direction(objective, state, free)

    def trial(length: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        position = jnp.maximum(state.position + length * direction, 0)
        value, gradient = objective.value_and_gradient(position)
        return position, value, gradient

    def too_long(search: Search) -> jax.Array:
        backtracks, _, position, value, _ = search
        expected = SUFFICIENT_DECREASE * jnp.vdot(state.gradient, position - state.position)
        return ~(value <= state.value + expected) & (backtracks < MOST_BACKTRACKS)

    def shorten(search: Search) -> Search:
        length = BACKTRACKING * search[1]
        return search[0] + 1, length, *trial(length)

    # Begun one shortening too long and with no decrease, so that the trial is compiled once, inside the loop.
    longer = jnp.asarray(1 / BACKTRACKING, state.position.dtype)
    search = (jnp.array(-1), longer, state.position, jnp.full_like(state.value, jnp.inf), state.gradient)
    backtracks, _, position, value, gradient = jax.lax.while_loop(too_long, shorten, search)
    stalled = backtracks >= MOST_BACKTRACKS
    position, value, gradient = jax.tree.map(
        partial(jnp.where, stalled), (state.position, state.value, state.gradient), (position, value, gradient)
    )
    slot = state.iteration % MEMORY
    return State(
        position,
        value,
        gradient,
        state.steps.at[slot].set(position - state.position),
        state.differences.at[slot].set(gradient - state.gradient),
        state.iteration + 1,
        stalled,
    )


@jax.jit
def advance(objective: SmoothObjective, support: jax.Array, state: State, iterations: int) -> State:
    """Iterate until `iterations` more are done or no decrease is found.

    Args:
        objective: a JAX pytree.
        support: (ny, nx), True where the image may differ from zero.
        state: from `begin` or from here.
        iterations: at most so many.
    """
    last = state.iteration + iterations

    def unfinished(current: State) -> jax.Array:
        return (current.iteration < last) & ~current.stalled

    return jax.lax.while_loop(unfinished, partial(_iterate, objective, support), state)
