"""Hamiltonian Monte Carlo over skies and their power spectrum."""

from __future__ import annotations

from functools import partial
from math import ceil

import jax
import jax.numpy as jnp

from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField
from casa_ml_tasks.minor.resolve.energy import Likelihood, Position, energy
from casa_ml_tasks.minor.resolve.leapfrog import Dynamics, Moved, follow
from casa_ml_tasks.minor.resolve.mass import Mass

LENGTH = 2.5  # of one trajectory; a quarter of an oscillation is 1.6
MOST_LEAPS = 120
FIRST_STEP = 0.02
WANTED = 0.8  # probability that a trajectory is accepted
GAIN = 0.8  # of the logarithm of the step


@partial(jax.jit, static_argnames="field")
def trajectory(
    field: CorrelatedField,
    start: Position,
    key: jax.Array,
    likelihood: Likelihood,
    mass: Mass,
    step: jax.Array | float,
    leaps: jax.Array | int,
) -> Moved:
    """Leapfrog from a random momentum, accepted or not.

    Args:
        field: the model of the sky.
        start: where to begin.
        key: of the random numbers.
        likelihood: of the sky.
        mass: nearly the curvature of the energy.
        step: of the leapfrog; 1 is a radian of an oscillation whose curvature the mass has.
        leaps: how many.
    """

    def energy_and_slope(position: Position) -> tuple[jax.Array, Position]:
        value, slope = jax.value_and_grad(energy, argnums=1)(field, position, likelihood)
        return value, slope._replace(spectrum=mass.scale.T @ slope.spectrum)

    def displacement(velocity: Position) -> Position:
        return velocity._replace(spectrum=mass.scale @ velocity.spectrum)

    of_momentum, rest = jax.random.split(key)
    dynamics = Dynamics(energy_and_slope, mass.velocity, displacement)
    return follow(dynamics, start, mass.draw(of_momentum), step, leaps, rest)


def enough_leaps(step: float) -> int:
    """For a trajectory of LENGTH."""
    return min(MOST_LEAPS, ceil(LENGTH / step))


def better_step(step: float, probability: float) -> float:
    """Longer after a trajectory that was likely to be accepted, shorter after one that was not."""
    return step * float(jnp.exp(GAIN * (probability - WANTED)))
