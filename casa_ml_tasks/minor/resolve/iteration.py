"""One global iteration: some trajectories of every chain, and what they add to the samples."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.chain_mass import ChainMass
from casa_ml_tasks.minor.resolve.energy import Likelihood
from casa_ml_tasks.minor.resolve.latent import Latent, Stage, as_numbers
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.schedule import trajectory_count
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.minor.resolve.sky_chain import ChainStart, ChainTarget, SkyState, planes_of, run_sky_chain
from casa_ml_tasks.sampling.chains import Chain, SideBySide, in_threads, replace_stragglers, stragglers
from casa_ml_tasks.sampling.convergence import error_of_mean


def run_iteration(
    problem: ImagingProblem,
    settings: Settings,
    latent: Latent,
    likelihood: Likelihood,
    chain_mass: ChainMass,
    side_by_side: SideBySide,
) -> Latent:
    """Return the state after some trajectories of every chain, with a record of them.

    Args:
        problem: whose sky it is.
        settings: of the sampling.
        latent: the state before.
        likelihood: of that state.
        chain_mass: of that state.
        side_by_side: runs the chains.

    Raises:
        FloatingPointError: the energy is not a number.
    """
    started, stage, number = time.monotonic(), Stage(int(latent.stage)), len(latent.records) + 1
    keeps = stage is Stage.SAMPLE
    run = _run_chains(problem, settings, latent, likelihood, chain_mass, side_by_side)
    energies = [each.energy for each in run]
    if not np.isfinite(energies).all():
        raise FloatingPointError(
            f"the energy is {energies[0]}, because the visibilities, their weights or the model hold what is no "
            "number; flag them and call again: the last good state is kept"
        )
    dimensions = latent.excitations[0].size
    chains = run if keeps else replace_stragglers(run, dimensions)
    planes = np.stack(in_threads(planes_of, problem.sky, chains), axis=1)  # (trajectory, chain, plane, ny, nx)
    mean = planes.mean(axis=(0, 1), dtype=float)
    after = latent._replace(
        excitations=np.stack([each.states[-1].position.excitations for each in chains]),
        spectra=np.stack([each.states[-1].position.spectrum for each in chains]),
        steps=np.array([each.next_step() if keeps else each.typical_step() for each in chains]),
    )
    if keeps:
        after, error = _with_samples(after, chains, planes, settings)
    else:
        after, error = after.with_warm_chains(mean), error_of_mean(planes)
    record = GlobalIteration(
        iteration=number,
        stage=stage.name.lower(),
        samples=len(after.samples),
        energy=float(np.mean(energies)),
        mean_error=float("inf") if stragglers(run, dimensions).any() else error,
        operator_products=sum(each.leaps for each in run),
        accepted=float(np.mean([each.probabilities for each in run])),
        residual=_residual(problem, likelihood, mean),
        seconds=time.monotonic() - started,
    )
    return after._replace(records=np.vstack([latent.records, as_numbers(record)]))


def _run_chains(
    problem: ImagingProblem,
    settings: Settings,
    latent: Latent,
    likelihood: Likelihood,
    chain_mass: ChainMass,
    side_by_side: SideBySide,
) -> list[Chain[SkyState]]:
    """Return some trajectories of every chain, without samples the later half of them.

    The arguments are those of `run_iteration`.
    """
    stage, number, positions = Stage(int(latent.stage)), len(latent.records) + 1, latent.positions()
    keeps = stage is Stage.SAMPLE
    has_fluxes = keeps and len(latent.sources)
    fluxes = _first_fluxes(problem, settings, latent, likelihood) if has_fluxes else np.zeros((len(positions), 0))
    target = ChainTarget(problem.sky, likelihood, *chain_mass, trajectory_count(stage, settings), adapts=not keeps)
    starts = [
        ChainStart(SkyState(positions[which], fluxes[which]), settings.generator(number, which), float(step))
        for which, step in enumerate(latent.steps)
    ]
    return side_by_side(run_sky_chain, target, starts)


def _first_fluxes(
    problem: ImagingProblem, settings: Settings, latent: Latent, likelihood: Likelihood
) -> NDArray[np.float64]:
    """Return the fluxes of the point sources with which each chain goes on, (chain, source), Jy."""
    positions = latent.positions()
    if len(latent.samples):
        return latent.sampled_fluxes[-len(positions) :]
    skies, generator = [problem.sky(each) for each in positions], settings.generator(0, len(positions))
    fluxes = [likelihood.draw_fluxes(each, generator) for each in skies]
    return np.maximum(fluxes, np.ravel(likelihood.sigma)[0])  # negative ones have no probability


def _with_samples(
    latent: Latent, chains: Sequence[Chain[SkyState]], planes: NDArray[np.float32], settings: Settings
) -> tuple[Latent, float]:
    """Return the state with the skies of the chains among the samples, and the error of the samples' mean.

    The first half is dropped where the mean is known better without, for the chains were still on their way.

    Args:
        latent: the state so far.
        chains: with the new samples.
        planes: of the chains, (trajectory, chain, plane, ny, nx), Jy/pixel.
        settings: of the sampling.
    """
    each_chain = planes.shape[1:]
    planes = planes.reshape(-1, *planes.shape[2:])
    spectra = np.stack([[at.position.spectrum for at in each.states] for each in chains], axis=1)
    fluxes = np.stack([[at.fluxes for at in each.states] for each in chains], axis=1)
    latent = latent._replace(
        samples=np.concatenate([latent.samples, planes]),
        sampled_fluxes=np.concatenate([latent.sampled_fluxes, fluxes.reshape(len(planes), fluxes.shape[-1])]),
        sampled_spectra=np.concatenate([latent.sampled_spectra, spectra.reshape(-1, spectra.shape[-1])]),
    )
    whole = latent.samples.reshape(-1, *each_chain)
    later, error = whole[len(whole) // 2 :], error_of_mean(whole)
    if len(later) >= settings.fewest_kept and (error_of_later := error_of_mean(later)) < error:
        return latent.with_last_samples(len(chains) * len(later)), error_of_later
    return latent, error


def _residual(problem: ImagingProblem, likelihood: Likelihood, mean: NDArray[np.floating]) -> float:
    """Return the residual of the mean planes where the data see the sky, r.m.s. over the noise.

    mean: (plane, ny, nx), Jy/pixel.
    """
    left = np.asarray(likelihood.exact.predicted_residual(problem.sky.images(jnp.asarray(mean))))
    in_noise = problem.in_noise(left[:, None])[..., problem.response.seen()]
    return float(np.sqrt(np.mean(in_noise**2)))
