"""Minimisation over non-negative images: a projected, preconditioned L-BFGS.

Measured on the sketch problems (positivity, L1 and the smooth logarithm, 384^2): 2 to 4 times fewer iterations than
accelerated proximal gradients with restart, and 5 times less time an iteration than SciPy's L-BFGS-B, whose vectors
live in NumPy. `benchmarks/minor_cycle.py` prints the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

MEMORY = 6  # pairs of steps and gradient differences
SUFFICIENT_DECREASE = 1e-4  # Armijo's constant
BACKTRACKING = 0.4
MOST_BACKTRACKS = 25
SMALLEST_COSINE = 1e-7  # between a step and its gradient difference; below it, curvature is rounding

#: Backtracks so far, length of the trial step, and the position, value and gradient that it leads to.
Search = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]


class SmoothObjective(Protocol):
    """What can be minimised: a JAX pytree with these two methods."""

    def value_and_gradient(self, parts: jax.Array) -> tuple[jax.Array, jax.Array]: ...

    def projected(self, parts: jax.Array) -> jax.Array:
        """Return the nearest parts that are allowed: not negative, at the least."""
        ...

    def preconditioner(self, parts: jax.Array) -> Callable[[jax.Array], jax.Array]:
        """Return roughly the inverse of the Hessian there: linear, symmetric, positive definite."""
        ...


class State(NamedTuple):
    """Where the minimisation stands; all a resumed one needs.

    Attributes:
        position: (parts, ..., ny, nx), non-negative.
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
    """Return the state at a first position, (parts, ..., ny, nx), non-negative."""
    value, gradient = objective.value_and_gradient(position)
    memory = jnp.zeros((MEMORY, *position.shape), position.dtype)
    return State(position, value, gradient, memory, memory, jnp.array(0), jnp.array(False))


@jax.jit
def begin_again(objective: SmoothObjective, state: State) -> State:
    """Return the state at the same position of another objective of much the same curvature, whose pairs it keeps."""
    value, gradient = objective.value_and_gradient(state.position)
    return state._replace(value=value, gradient=gradient, stalled=jnp.array(False))


def _direction(objective: SmoothObjective, state: State, free: jax.Array) -> jax.Array:
    r"""Return the direction of the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4) on the free pixels.

    With the pairs newest first as rows of S and Y, the lower triangle L of $S Y^T$, its diagonal D and the
    preconditioner P, the loops are $L \alpha = S g$, $q = g - Y^T \alpha$, $L^T c = D \alpha - Y P q$, and the
    direction is $-(P q + S^T c)$. Pairs of no positive curvature are left out.
    """
    newest_first = (state.iteration - 1 - jnp.arange(MEMORY)) % MEMORY
    shape = state.position.shape
    steps, differences = (jnp.where(free, memory, 0).reshape(MEMORY, -1) for memory in (state.steps, state.differences))
    product = (steps @ differences.T)[newest_first][:, newest_first]
    norms = (jnp.sqrt(jnp.sum(vectors**2, axis=1))[newest_first] for vectors in (steps, differences))
    curved = jnp.diagonal(product) > SMALLEST_COSINE * jnp.prod(jnp.stack([*norms]), axis=0)
    triangle = jnp.where(curved[:, None] & curved, jnp.tril(product), jnp.eye(MEMORY, dtype=product.dtype))
    precondition = objective.preconditioner(state.position)

    def preconditioned(vector: jax.Array) -> jax.Array:
        return jnp.where(free, precondition(vector.reshape(shape)), 0).ravel()

    def against(vectors: jax.Array, vector: jax.Array) -> jax.Array:
        return jnp.where(curved, (vectors @ vector)[newest_first], 0)

    def combined(coefficients: jax.Array, vectors: jax.Array) -> jax.Array:
        return jnp.zeros(MEMORY, vectors.dtype).at[newest_first].set(coefficients) @ vectors

    gradient = jnp.where(free, state.gradient, 0).ravel()
    alpha = solve_triangular(triangle, against(steps, gradient), lower=True)
    newest = differences[newest_first[0]]
    scale = jnp.where(curved[0], product[0, 0] / jnp.vdot(newest, preconditioned(newest)), 1)
    q = scale * preconditioned(gradient - combined(alpha, differences))
    right_side = jnp.where(curved, jnp.diagonal(product) * alpha, 0) - against(differences, q)
    c = solve_triangular(triangle, right_side, lower=True, trans="T")
    return -(q + combined(c, steps)).reshape(shape)


def _iterate(objective: SmoothObjective, support: jax.Array, state: State) -> State:
    """Return the state after one step (Bertsekas 1982).

    Pixels at zero that want to be negative stay; the others move and are projected.
    """
    free = support & ((state.position > 0) | (state.gradient < 0))
    direction = _direction(objective, state, free)

    def trial(length: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        position = objective.projected(state.position + length * direction)
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
    stalled = jnp.asarray(backtracks >= MOST_BACKTRACKS, bool)  # of that type, or all is compiled once more
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
