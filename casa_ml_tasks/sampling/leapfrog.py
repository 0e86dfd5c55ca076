"""One trajectory of Hamiltonian Monte Carlo (Neal 2011, Handbook of Markov Chain Monte Carlo, 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, eigh, solve_triangular

#: Every trajectory has the step times a random number between these, so that none closes in itself or sticks for ever.
SHORTEST, LONGEST = 0.5, 1.2


class Moved(NamedTuple):
    """The end of a trajectory.

    Attributes:
        position: the end, or the start where the end was not accepted.
        energy: at that position.
        probability: with which the end was to be accepted.
    """

    position: Any
    energy: jax.Array
    probability: jax.Array


class Dynamics(NamedTuple):
    r"""How positions and momenta move, both of them arrays or trees of arrays.

    Attributes:
        energy: minus the logarithm of the probability of a position.
        slope: gradient of the energy at a position, in the coordinates of the momenta.
        velocity: $M^{-1} p$ of a momentum p.
        displacement: how a position changes with a velocity.
    """

    energy: Callable[[Any], jax.Array]
    slope: Callable[[Any], Any]
    velocity: Callable[[Any], Any]
    displacement: Callable[[Any], Any]

    def kinetic(self, momentum: Any) -> jax.Array:
        """Return the kinetic energy $p^T M^{-1} p / 2$."""
        return 0.5 * jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, momentum, self.velocity(momentum)))


def trajectory(
    dynamics: Dynamics, start: Any, momentum: Any, step: jax.Array | float, leaps: jax.Array | int, chance: jax.Array
) -> Moved:
    """Return where some leaps lead to, accepted or not.

    Half a kick is at either end. With half a drift there instead, chains on their way to a smaller noise are hardly
    accepted, for what they gain in speed counts against them: many times the leaps for as many trajectories.

    Args:
        dynamics: of positions and momenta.
        start: position to begin with.
        momentum: drawn with the covariance M.
        step: of the leapfrog, on average.
        leaps: how many.
        chance: two random numbers, uniform between 0 and 1.
    """

    def leap(number: jax.Array, now: tuple[Any, Any]) -> tuple[Any, Any]:
        position, momentum = now
        kick = jnp.where((number == 0) | (number == leaps), 0.5 * length, length)
        momentum = _moved(momentum, -kick, dynamics.slope(position))
        drift = jnp.where(number == leaps, 0.0, length)
        return _moved(position, drift, dynamics.displacement(dynamics.velocity(momentum))), momentum

    def energies(at: tuple[Any, Any]) -> tuple[jax.Array, jax.Array]:
        position, momentum = at
        return dynamics.energy(position), dynamics.kinetic(momentum)

    length = step * (SHORTEST + (LONGEST - SHORTEST) * chance[0])
    end, last_momentum = jax.lax.fori_loop(0, leaps + 1, leap, (start, momentum))
    both = jax.tree.map(lambda *each: jnp.stack(each), (start, momentum), (end, last_momentum))
    (first, last), (first_kinetic, last_kinetic) = jax.lax.map(energies, both)
    gain = first + first_kinetic - last - last_kinetic
    probability = jnp.where(jnp.isfinite(gain), jnp.minimum(1.0, jnp.exp(gain)), 0.0)
    accepted = chance[1] < probability
    position = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), end, start)
    return Moved(position, jnp.where(accepted, last, first), probability)


def _moved(position: Any, length: jax.Array | float, direction: Any) -> Any:
    """Return the position plus the length times the direction, leaf by leaf."""
    return jax.tree.map(lambda at, along: at + length * along, position, direction)


def unit_curvature(curvature: NDArray[np.floating], prior: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return T, (n, n), such that the sum of both curvatures is 1 along x = T t.

    Args:
        curvature: (n, n); its negative eigenvalues count as zero.
        prior: (n, n), positive definite.
    """
    root = cholesky(prior, lower=True)
    in_prior = solve_triangular(root, solve_triangular(root, curvature, lower=True).T, lower=True)
    values, vectors = eigh(in_prior)
    return solve_triangular(root, vectors, lower=True, trans="T") / np.sqrt(1 + np.maximum(values, 0))
