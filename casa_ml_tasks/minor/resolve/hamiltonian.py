"""Hamiltonian Monte Carlo over skies and their power spectra."""

from __future__ import annotations

import jax
import numpy as np

from casa_ml_tasks.minor.resolve.energy import Likelihood, energy, slope_of_energy
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass, Noise
from casa_ml_tasks.sampling import leapfrog
from casa_ml_tasks.sampling.leapfrog import Dynamics, Moved


def trajectory(
    sky: LogNormalSky,
    start: Position,
    generator: np.random.Generator,
    likelihood: Likelihood,
    mass: Mass,
    step: float,
    leaps: int,
) -> Moved:
    """Return where a leapfrog from a random momentum leads to, accepted or not.

    Its energy is that in the coordinates of excitations, whichever coordinates it leapt in.

    Args:
        sky: of excitations and spectra.
        start: position to begin with.
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
    """Return the same for given random numbers."""
    centring = mass.centring

    def energy_at(position: Position) -> jax.Array:
        return energy(sky, position, likelihood, centring)

    def slope(position: Position) -> Position:
        along = slope_of_energy(sky, position, likelihood, centring)
        return along._replace(spectrum=mass.scale.T @ along.spectrum)

    def displacement(velocity: Position) -> Position:
        return velocity._replace(spectrum=mass.scale @ velocity.spectrum)

    dynamics = Dynamics(energy_at, slope, mass.velocity, displacement)
    moved = leapfrog.trajectory(dynamics, centring.enter(sky, start), mass.momentum(noise), step, leaps, chance)
    of_excitations = moved.energy - centring.log_volume(sky, moved.position.spectrum)
    return moved._replace(position=centring.leave(sky, moved.position), energy=of_excitations)
