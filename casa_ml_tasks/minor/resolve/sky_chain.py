"""Chains of skies with their power spectra and the fluxes of the point sources beside them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve import spectrum as power_spectrum
from casa_ml_tasks.minor.resolve.energy import Likelihood
from casa_ml_tasks.minor.resolve.hamiltonian import trajectory
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.point_sources import log_prior
from casa_ml_tasks.sampling.chains import Chain, Transition, run_chain
from casa_ml_tasks.sampling.step_size import enough_leaps


class SkyState(NamedTuple):
    """Where a chain is.

    Attributes:
        position: of the sky and its spectra.
        fluxes: of the point sources beside it, (source,), Jy.
    """

    position: Position
    fluxes: NDArray[np.float64]


class ChainTarget(NamedTuple):
    """What all chains of a global iteration share.

    Attributes:
        sky: of excitations and spectra.
        likelihood, mass: for `trajectory`.
        scale: for `spectrum.draw`.
        trajectories: how many.
        adapts: whether the steps get better from one to the next.
    """

    sky: LogNormalSky
    likelihood: Likelihood
    mass: Mass
    scale: NDArray[np.float64]
    trajectories: int
    adapts: bool


class ChainStart(NamedTuple):
    """What each chain has of its own.

    Attributes:
        state: where to begin; with the fluxes of no source, the prior of the likelihood's sources stays flat.
        generator: of the random numbers.
        step: of the first trajectory.
    """

    state: SkyState
    generator: np.random.Generator
    step: float


def run_sky_chain(target: ChainTarget, start: ChainStart) -> Chain[SkyState]:
    """Return a chain of some trajectories, of one that adapts the later half of them."""
    sky, likelihood, generator = target.sky, target.likelihood, start.generator

    def transition(state: SkyState, step: float) -> Transition[SkyState]:
        position = _with_another_spectrum(sky, state.position, generator, target.scale)
        leaps = enough_leaps(step)
        moved = trajectory(sky, position, generator, likelihood, target.mass, step, leaps)
        after = SkyState(moved.position, state.fluxes)
        if state.fluxes.size:
            before = SkyState(position, state.fluxes)
            after = _with_other_fluxes(sky, likelihood, before, moved.position, generator)
        return Transition(after, float(moved.energy), float(moved.probability), leaps)

    chain = run_chain(start.state, transition, target.trajectories, start.step, target.adapts)
    return chain.later_half() if target.adapts else chain


def planes_of(sky: LogNormalSky, chain: Chain[SkyState]) -> NDArray[np.float32]:
    """Return the planes of the sky after each trajectory, (trajectory, plane, ny, nx), Jy/pixel."""
    return np.stack([np.asarray(sky.planes(state.position), np.float32) for state in chain.states])


def _with_another_spectrum(
    sky: LogNormalSky, position: Position, generator: np.random.Generator, scale: NDArray[np.float64]
) -> Position:
    """Return the same sky with a spectrum that suits it as well.

    Where the data determine the field, a trajectory hardly moves its spectrum, for sky and spectrum would have to move
    as one; where they do not, this one hardly does (Yu & Meng 2011, J. Comput. Graph. Stat. 20, 531).
    """
    coefficients = sky.amplitude(position.spectrum) * position.excitations
    spectrum = power_spectrum.draw(sky, coefficients, position.spectrum, generator, scale)
    return Position(coefficients / sky.amplitude(spectrum), spectrum)


def _with_other_fluxes(
    sky: LogNormalSky, likelihood: Likelihood, before: SkyState, position: Position, generator: np.random.Generator
) -> SkyState:
    """Return a new position with fluxes drawn beside it, or the state before, as `point_sources` says."""
    fluxes, sigma = likelihood.draw_fluxes(sky(position), generator), likelihood.sigma
    gain = log_prior(fluxes, sigma) - log_prior(jnp.asarray(before.fluxes), sigma)
    accepted = np.log(generator.random()) < gain
    return SkyState(position, np.asarray(fluxes)) if accepted else before
