"""How long the leaps of Hamiltonian Monte Carlo are, and how many make a trajectory.

A step of 1 is a radian of an oscillation whose curvature the mass has.
"""

from __future__ import annotations

from math import ceil

import jax.numpy as jnp

LENGTH = 2.5  # of one trajectory; a quarter of an oscillation is 1.6
MOST_LEAPS = 120
FIRST_STEP = 0.08
WANTED = 0.8  # probability that a trajectory is accepted
GAIN = 0.8  # of the logarithm of the step


def enough_leaps(step: float) -> int:
    """Return how many leaps make a trajectory of `LENGTH`, but at most `MOST_LEAPS`."""
    return min(MOST_LEAPS, ceil(LENGTH / step))


def better_step(step: float, probability: float) -> float:
    """Return a longer step after a trajectory that was likely to be accepted, a shorter one after any other."""
    return step * float(jnp.exp(GAIN * (probability - WANTED)))
