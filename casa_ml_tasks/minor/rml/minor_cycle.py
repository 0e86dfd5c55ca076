"""The regularised maximum likelihood minor cycle."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.minor.rml import projected_lbfgs
from casa_ml_tasks.minor.rml.objective import Objective
from casa_ml_tasks.minor.rml.regularisers import NoiseLevel

#: Iterations between two looks at the convergence.
STRIDE = 20
#: The minor cycle ends when `STRIDE` iterations lower the objective (chi^2/2 + ...) by less than this.
TOLERANCE = 1.0
#: Iterations of one minor cycle where the user sets no limit.
MOST_ITERATIONS = 400
#: Predicted and actual residual agree when the r.m.s. of their difference is below this fraction of the noise.
AGREEMENT = 0.1

_dirty = jax.jit(NormalOperator.__call__)


class RegularisedMaximumLikelihood:
    """Minimises chi^2/2 plus regularisers over the images that the normal operator can predict.

    It has converged when the last major cycle found the residual that the minor cycle had predicted.
    """

    def __init__(
        self,
        psf: Image,
        sigma: float,
        beam_area: float,
        regularisers: Sequence[str],
        strengths: Sequence[float],
        positivity: bool = True,
        support: NDArray[np.bool_] | None = None,
        most_iterations: int = MOST_ITERATIONS,
        niter: int = -1,
        on_progress: Callable[[int, float], None] = lambda iteration, objective: None,
    ):
        """Prepare the operator.

        Args:
            psf: (1, 1, 2 ny, 2 nx), Jy/beam.
            sigma: noise of the dirty image, Jy/beam.
            beam_area: solid angle of the CLEAN beam, pixels.
            regularisers: names in `REGULARISERS`.
            strengths: one each, dimensionless; 1 follows from the noise.
            positivity: allow non-negative images only.
            support: (1, 1, ny, nx), where the model may differ from zero; everywhere by default.
            most_iterations: of one minor cycle.
            niter: of all minor cycles together; -1 for no limit.
            on_progress: called with the iterations of this cycle and the objective, now and then.
        """
        with jax.enable_x64(True):
            self._operator = NormalOperator.from_psf(np.asarray(psf[0, 0], float))
            shape = self._operator.shape
            self._support = jnp.ones(shape, bool) if support is None else jnp.asarray(support[0, 0])
            self._noise = NoiseLevel(jnp.asarray(sigma, float), jnp.asarray(beam_area, float))
            self._strengths = jnp.asarray(strengths, float)
        self._sigma = sigma
        self._regularisers = tuple(regularisers)
        self._positivity = positivity
        self._most_iterations = most_iterations
        self._niter = niter
        self._on_progress = on_progress

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """One minor cycle. residual: Jy/beam, model: Jy/pixel, (1, 1, ny, nx) both."""
        if self._agrees(residual, state):
            return model, MinorState(state.iterations, state.predicted_residual, converged=True)
        with jax.enable_x64(True):
            of_model = np.asarray(_dirty(self._operator, np.asarray(model[0, 0], float)))
            dirty = np.asarray(residual[0, 0], float) + of_model
            objective = Objective(self._operator, jnp.asarray(dirty), self._noise, self._strengths, self._regularisers)
            beginning = projected_lbfgs.begin(objective, self._parts(model[0, 0]))
            minimum = self._minimise(objective, beginning, self._iterations_left(state))
            # The next major cycle sees the model in single precision: predict from what it will see.
            image = np.asarray(objective.image(minimum.position), np.float32)
            predicted = dirty - np.asarray(_dirty(self._operator, image.astype(float)))
        return image[None, None], MinorState(state.iterations + int(minimum.iteration), predicted[None, None])

    def _agrees(self, residual: Image, state: MinorState) -> bool:
        if state.predicted_residual is None:
            return False
        difference = np.asarray(residual - state.predicted_residual)
        return bool(np.sqrt(np.mean(difference**2)) < AGREEMENT * self._sigma)

    def _parts(self, model: NDArray[np.floating]) -> jax.Array:
        image = np.where(self._support, model, 0).astype(float)
        parts = [np.maximum(image, 0)] if self._positivity else [np.maximum(image, 0), np.maximum(-image, 0)]
        return jnp.asarray(np.stack(parts))

    def _iterations_left(self, state: MinorState) -> int:
        return self._most_iterations if self._niter < 0 else min(self._most_iterations, self._niter - state.iterations)

    def _minimise(self, objective: Objective, state: projected_lbfgs.State, most: int) -> projected_lbfgs.State:
        while int(state.iteration) < most and not state.stalled:
            before = float(state.value)
            stride = min(STRIDE, most - int(state.iteration))
            state = projected_lbfgs.advance(objective, self._support, state, stride)
            self._on_progress(int(state.iteration), float(state.value))
            if not np.isfinite(state.value):
                raise FloatingPointError("the objective of the minor cycle is not finite: check the data for NaN")
            if before - float(state.value) < TOLERANCE:
                break
        return state
