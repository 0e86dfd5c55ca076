"""Chains of any sampler that moves from state to state: how one goes on, and which of several fall behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, TypeVar

import jax
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.sampling.step_size import better_step

#: Of the scatter of energies in equilibrium: how much higher that of a chain may be.
STRAGGLING = 10.0

State = TypeVar("State")
Shared = TypeVar("Shared")
Own = TypeVar("Own")
Result = TypeVar("Result")


class SideBySide(Protocol):
    """Does the same with several things at once."""

    def __call__(self, function: Callable[[Shared, Own], Result], shared: Shared, own: Sequence[Own]) -> list[Result]:
        """Return what a function makes of each, in double precision.

        Args:
            function: pure.
            shared: its first argument, of all.
            own: its second argument, of each.
        """
        ...


class Transition(NamedTuple, Generic[State]):
    """What one step of a chain leads to.

    Attributes:
        state: the next one, which may be the last one again.
        energy: minus the logarithm of the probability there, up to a constant.
        probability: with which the step was to be accepted.
        leaps: how many slopes of the energy it took.
    """

    state: State
    energy: float
    probability: float
    leaps: int


@dataclass(frozen=True)
class Chain(Generic[State]):
    """Some transitions of one chain.

    Attributes:
        states: after each transition.
        energy: after the last.
        probabilities: with which each was to be accepted.
        steps: size of the step after each.
        leaps: how many slopes of the energy all of them took.
    """

    states: Sequence[State]
    energy: float
    probabilities: Sequence[float]
    steps: Sequence[float]
    leaps: int

    def later_half(self) -> Chain[State]:
        """Return the second half of the transitions; energy and leaps stay those of the whole."""
        half = len(self.states) // 2
        return replace(
            self, states=self.states[half:], probabilities=self.probabilities[half:], steps=self.steps[half:]
        )

    def typical_step(self) -> float:
        """Return the geometric mean of the steps."""
        return float(np.exp(np.mean(np.log(self.steps))))

    def next_step(self) -> float:
        """Return a better step than the one that all transitions had, from how likely they were accepted."""
        return better_step(self.typical_step(), float(np.mean(self.probabilities)))


def run_chain(
    start: State, transition: Callable[[State, float], Transition[State]], count: int, step: float, adapts: bool
) -> Chain[State]:
    """Return a chain of some transitions.

    Args:
        start: the state before the first.
        transition: makes one, from a state and the size of the step.
        count: of the transitions.
        step: of the first.
        adapts: whether the next have better ones, which is for chains that have not reached equilibrium.
    """
    state, states, probabilities, steps, leaps = start, [], [], [], 0
    for _ in range(count):
        state, energy, probability, more = transition(state, step)
        step = better_step(step, probability) if adapts else step
        states.append(state)
        probabilities.append(probability)
        steps.append(step)
        leaps += more
    return Chain(states, energy, probabilities, steps, leaps)


def stragglers(chains: Sequence[Chain[State]], dimensions: int) -> NDArray[np.bool_]:
    r"""Return which chains fell behind while the temperature fell, and stay behind, (chain,).

    Caught in a corner that gets narrower as the temperature falls, their energy is higher than that of others by many
    times $\sqrt{n/2}$, by which it scatters in equilibrium with n degrees of freedom.

    Args:
        chains: all of them.
        dimensions: n.
    """
    energies = np.array([each.energy for each in chains])
    return energies - energies.min() > STRAGGLING * np.sqrt(dimensions / 2)


def replace_stragglers(chains: Sequence[Chain[State]], dimensions: int) -> list[Chain[State]]:
    """Return the chains with that of least energy in the place of stragglers, as Hou et al. 2012, ApJ 745, 198 prune.

    chains, dimensions: as in `stragglers`.
    """
    least = min(chains, key=lambda chain: chain.energy)
    behind = stragglers(chains, dimensions)
    return [least if is_behind else each for each, is_behind in zip(chains, behind, strict=True)]


def in_threads(function: Callable[[Shared, Own], Result], shared: Shared, own: Sequence[Own]) -> list[Result]:
    """Do it in threads of this process. The arguments are those of `SideBySide`."""

    def precisely(each: Own) -> Result:
        with jax.enable_x64(True):
            return jax.block_until_ready(function(shared, each))  # in this thread, or they wait for one another

    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(precisely, own))
