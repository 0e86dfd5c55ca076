"""Hamiltonian Monte Carlo over skies and their power spectrum."""

from __future__ import annotations

from math import ceil

import jax
import jax.numpy as jnp
import numpy as np

from casa_ml_tasks.minor.resolve.energy import Likelihood, energy, slope_of_energy
from casa_ml_tasks.minor.resolve.leapfrog import Dynamics, Moved, follow
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass, Noise

LENGTH = 2.5  # of one trajectory; a quarter of an oscillation is 1.6
MOST_LEAPS = 120
FIRST_STEP = 0.08
WANTED = 0.8  # probability that a trajectory is accepted
GAIN = 0.8  # of the logarithm of the step


def trajectory(
    sky: LogNormalSky,
    start: Position,
    generator: np.random.Generator,
    likelihood: Likelihood,
    mass: Mass,
    step: float,
    leaps: int,
) -> Moved:
    """Leapfrog from a random momentum, accepted or not; its energy is that of excitations, wherever it has leapt.

    Args:
        sky: of excitations and spectra.
        start: where to begin.
        generator: of the random numbers.
        likelihood: of the sky.
        mass: nearly the curvature of the energy.
        step: of the leapfrog; 1 is a radian of an oscillation whose curvature the mass has.
        leaps: how many.
    """
    noise, chance = mass.noise(generator), generator.random(2)
    return _trajectory(sky, start, noise, chance, likelihood, mass, step, leaps)


@jax.jit
def _trajectory(
    sky: LogNormalSky,
    start: Position,
    noise: Noise,
    chance: jax.Array,
    likelihood: Likelihood,
    mass: Mass,
    step: jax.Array,
    leaps: jax.Array,
) -> Moved:
    centring = mass.centring

    def energy_at(position: Position) -> jax.Array:
        return energy(sky, position, likelihood, centring)

    def slope(position: Position) -> Position:
        along = slope_of_energy(sky, position, likelihood, centring)
        return along._replace(spectrum=mass.scale.T @ along.spectrum)

    def displacement(velocity: Position) -> Position:
        return velocity._replace(spectrum=mass.scale @ velocity.spectrum)

    dynamics = Dynamics(energy_at, slope, mass.velocity, displacement)
    moved = follow(dynamics, centring.enter(sky, start), mass.momentum(noise), step, leaps, chance)
    of_excitations = moved.energy - centring.log_volume(sky, moved.position.spectrum)
    return moved._replace(position=centring.leave(sky, moved.position), energy=of_excitations)


def enough_leaps(step: float) -> int:
    """For a trajectory of LENGTH."""
    return min(MOST_LEAPS, ceil(LENGTH / step))


def better_step(step: float, probability: float) -> float:
    """Longer after a trajectory that was likely to be accepted, shorter after one that was not."""
    return step * float(jnp.exp(GAIN * (probability - WANTED)))
