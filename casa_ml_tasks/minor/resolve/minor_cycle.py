"""Bayesian imaging as a minor cycle: samples of the skies that the data and a log-normal prior allow."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.minor.resolve.beginning import first_latent
from casa_ml_tasks.minor.resolve.chain_mass import LastMass
from casa_ml_tasks.minor.resolve.iteration import run_iteration
from casa_ml_tasks.minor.resolve.latent import SCHEMA, Latent, Stage
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.schedule import schedule_next
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.minor.resolve.sketch import NO_SOURCES, sketching_cycle
from casa_ml_tasks.minor.resolve.summary import images_of, posterior_of
from casa_ml_tasks.minor.rml.minor_cycle import AGREEMENT, RegularisedMaximumLikelihood
from casa_ml_tasks.sampling.chains import SideBySide, in_threads


class Resolve:
    """Samples the posterior of images of total intensity: of one, of channels, or of Taylor terms.

    The sky is made of exponentials of correlated fields, whose power spectra are as unknown as they. Chains of
    Hamiltonian Monte Carlo (`hamiltonian`) begin at the regularised maximum likelihood image, move sky and spectra
    together until they have forgotten it, and are then samples of the posterior, without any approximation of its
    shape.

    One call of `update` is one global iteration, some trajectories of every chain, so that a killed run loses no more.

    Attributes:
        side_by_side: runs the chains.
    """

    schema = SCHEMA

    def __init__(
        self,
        problem: ImagingProblem,
        sources: NDArray[np.floating] | None = NO_SOURCES,
        settings: Settings | None = None,
        on_iteration: Callable[[GlobalIteration], None] = lambda step: None,
    ):
        """Remember what to infer.

        Args:
            problem: what to infer from what.
            sources: places y, x of point sources, pixels, (source, 2); None to find them. Beside one image only, where
                bright ones between pixels are found in any case.
            settings: how to sample; the usual ones by default.
            on_iteration: told of every global iteration.
        """
        self._problem = problem
        self._sources = sources
        self._settings = settings or Settings()
        self._on_iteration = on_iteration
        self._mass_of = LastMass()
        self.side_by_side: SideBySide = in_threads

    def with_chains_run(self, side_by_side: SideBySide) -> Resolve:
        """Return the same inference, whose chains are run by something else than the threads of this process."""
        other = copy(self)
        other.side_by_side = side_by_side
        return other

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Do one global iteration. residual: Jy/beam, model: Jy/pixel, (channel or term, 1, ny, nx) both.

        Raises:
            ValueError: what the data show is negative.
            FloatingPointError: the energy is not a number.
        """
        if self._agrees(residual, state):
            return model, replace(state, converged=True)
        mean, after = self.advance(residual, model, state)
        if after.unfinished:
            return model, after
        with jax.enable_x64(True):
            change = self._problem.operators[0](jnp.asarray((mean - model)[:, 0]))
        predicted = residual - np.asarray(change)[:, None]
        return mean.astype(np.float32), replace(after, predicted_residual=predicted.astype(np.float32))

    def advance(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Do one global iteration; return the mean, once there is one, or else the model, and a state without residual.

        Arguments and errors are those of `update`.
        """
        problem, settings = self._problem, self._settings
        with jax.enable_x64(True):
            latent = _continued(state) or first_latent(problem, settings, self._sources, residual, model, state)
            sources = problem.response.point_sources(latent.sources, residual[0, 0])
            likelihood = problem.likelihood(residual, model, sources, float(latent.heat))
            mass = self._mass_of(problem, latent, likelihood)
            latent = run_iteration(problem, settings, latent, likelihood, mass, self.side_by_side)
            latent = schedule_next(latent, settings)
        self._on_iteration(record := latent.iterations()[-1])
        unfinished = bool(latent.stage != Stage.FINISHED)
        after = MinorState(state.iterations + record.operator_products, latent=latent._asdict(), unfinished=unfinished)
        return (model if unfinished else images_of(problem, latent).mean(axis=0, dtype=float)[:, None]), after

    def sketch(self) -> RegularisedMaximumLikelihood:
        """Return a minor cycle of seconds: of the same channels, or of the first Taylor term."""
        return sketching_cycle(self._problem, finds_sources=self._sources is None, may_end_early=True)

    def posterior(self, state: MinorState) -> Posterior:
        """Return what is known in this state."""
        return posterior_of(self._problem, self._settings, Latent.of(state.latent))

    def _agrees(self, residual: Image, state: MinorState) -> bool:
        """Return whether the samples are done and the major cycle found the residual that their mean should have."""
        if state.unfinished or state.predicted_residual is None:
            return False
        return float(np.std(self._problem.in_noise(residual - state.predicted_residual))) < AGREEMENT


def _continued(state: MinorState) -> Latent | None:
    """Return what the last iteration left; None where there is nothing, or another noise asks for a new beginning."""
    if state.unfinished:
        return Latent.of(state.latent)
    if state.predicted_residual is None:
        return None
    return Latent.of(state.latent).without_samples().at_start_of(Stage.WARM)
