"""Hamiltonian Monte Carlo with the coarse likelihood for its mass: exact samples where linearisation has none."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from casa_ml_tasks.minor.resolve.coarse_likelihood import CoarseInverse
from casa_ml_tasks.minor.resolve.correlated_field import hartley
from casa_ml_tasks.minor.resolve.randomised_maximum import Likelihood, Randomised, energy

LEAPS = 25  # of one trajectory
FIRST_STEP = 0.02
SCATTER = 0.2  # of the step, either way, so that no trajectory closes in itself
TOO_OFTEN, TOO_RARELY = 0.9, 0.65  # accepted


class Mass(NamedTuple):
    r"""$M = 1 + J^T C J$ of the coarse likelihood.

    Attributes:
        inverse: $M^{-1}$, which holds the factor of $C = L L^T$.
        amplitude: of the field, in J, (ny, nx).
    """

    inverse: CoarseInverse
    amplitude: jax.Array

    def velocity(self, momentum: jax.Array) -> jax.Array:
        """$M^{-1} p$. momentum: (ny, nx)."""
        return self.inverse(self.amplitude, momentum)

    def draw(self, key: jax.Array) -> jax.Array:
        """A momentum of covariance M, (ny, nx)."""
        white, coarse = jax.random.split(key)
        factor = self.inverse.factor
        at_points = factor @ jax.random.normal(coarse, factor.shape[1:])
        pushed = jnp.zeros_like(self.amplitude).at[self.inverse.y, self.inverse.x].add(at_points)
        return jax.random.normal(white, self.amplitude.shape) + self.amplitude * hartley(pushed)


class Moved(NamedTuple):
    """The end of a trajectory.

    Attributes:
        excitations: (ny, nx).
        energy: of these.
        probability: with which the end was to be accepted.
    """

    excitations: jax.Array
    energy: jax.Array
    probability: jax.Array


@jax.jit
def trajectory(
    excitations: jax.Array,
    key: jax.Array,
    likelihood: Likelihood,
    mass: Mass,
    step: jax.Array | float,
) -> Moved:
    """Leapfrog from a random momentum, accepted or not (Neal 2011, Handbook of Markov Chain Monte Carlo, chapter 5).

    Args:
        excitations: to begin with, (ny, nx).
        key: of the random numbers.
        likelihood: of the sky.
        mass: nearly the curvature of the energy; it has the amplitude of the field.
        step: of the leapfrog; 1 is a radian of an oscillation whose curvature the mass has.
    """
    nothing = Randomised(jnp.zeros_like(excitations), jnp.zeros_like(excitations))
    energy_and_slope = jax.value_and_grad(lambda each: energy(each, mass.amplitude, likelihood, nothing))
    of_momentum, of_step, of_acceptance = jax.random.split(key, 3)
    momentum = mass.draw(of_momentum)
    length = step * (1 + SCATTER * jax.random.uniform(of_step, minval=-1.0))
    first, slope = energy_and_slope(excitations)

    def leap(number: int, now: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        place, momentum, slope = now[:3]
        momentum = momentum - 0.5 * length * slope
        place = place + length * mass.velocity(momentum)
        value, slope = energy_and_slope(place)
        return place, momentum - 0.5 * length * slope, slope, value

    place, last_momentum, slope, last = jax.lax.fori_loop(0, LEAPS, leap, (excitations, momentum, slope, first))
    kinetic = [0.5 * jnp.vdot(each, mass.velocity(each)) for each in (momentum, last_momentum)]
    gain = first + kinetic[0] - last - kinetic[1]
    probability = jnp.where(jnp.isfinite(gain), jnp.minimum(1.0, jnp.exp(gain)), 0.0)
    accepted = jax.random.uniform(of_acceptance) < probability
    return Moved(jnp.where(accepted, place, excitations), jnp.where(accepted, last, first), probability)


def better_step(step: float, accepted: float) -> float:
    """Longer where nearly all trajectories are accepted, shorter where few are."""
    if accepted > TOO_OFTEN:
        return 1.25 * step
    return step / 1.5 if accepted < TOO_RARELY else step
