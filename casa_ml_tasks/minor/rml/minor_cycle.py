"""The regularised maximum likelihood minor cycle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.rml import projected_lbfgs
from casa_ml_tasks.minor.rml.objective import Objective
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.minor.rml.regularisers.registry import NEED_CHANNELS

#: Iterations between two looks at the convergence.
STRIDE = 20
#: The minor cycle ends when `STRIDE` iterations lower the objective (chi^2/2 + ...) by less than this.
TOLERANCE = 1.0
#: Iterations of one minor cycle where the user sets no limit.
MOST_ITERATIONS = 400
#: Predicted and actual residual agree when the r.m.s. of their difference is below this fraction of the noise.
AGREEMENT = 0.1

Channels = int | NDArray[np.integer]  # one, or some that regularisers couple

_dirty = jax.jit(NormalOperator.__call__)


class RegularisedMaximumLikelihood:
    """Minimises chi^2/2 plus regularisers over the images that the normal operator can predict.

    Channels are images of their own, several at once, unless a regulariser compares them. Each has converged when the
    last major cycle found the residual that its minor cycle had predicted.
    """

    def __init__(
        self,
        psf: Image,
        sigma: ArrayLike,
        beam_area: ArrayLike,
        regularisers: Sequence[str],
        strengths: Sequence[float],
        positivity: bool = True,
        prior: Image | float = 0.0,
        support: Callable[[], NDArray[np.bool_]] | None = None,
        most_iterations: int = MOST_ITERATIONS,
        niter: int = -1,
        on_progress: Callable[[int, float], None] = lambda iteration, objective: None,
    ):
        """Remember what to minimise.

        Args:
            psf: (channel, 1, 2 ny, 2 nx), Jy/beam; zero in a channel without data, whose model stays as it is.
            sigma: noise of the dirty image, Jy/beam; a number, or one for each channel.
            beam_area: solid angle of the CLEAN beam, pixels; a number, or one for each channel.
            regularisers: names in `REGULARISERS`.
            strengths: one each, dimensionless; 1 follows from the noise.
            positivity: allow non-negative images only.
            prior: what the entropy prefers to all other images, (channel or 1, 1, ny, nx), Jy/pixel.
            support: asked in every minor cycle where the model may differ from zero, (channel, 1, ny, nx); everywhere
                by default.
            most_iterations: of one minor cycle and channel.
            niter: of all minor cycles and channels together; -1 for no limit.
            on_progress: called with the iterations of this cycle, all channels, and the objective of one, now and then.
        """
        channels, _, height, width = psf.shape
        self._psf = psf[:, 0]
        self._only_operator: NormalOperator | None = None
        self._sigma = np.broadcast_to(np.asarray(sigma, float), channels)
        self._beam_area = np.broadcast_to(np.asarray(beam_area, float), channels)
        self._support = support or (lambda: np.ones((channels, 1, height // 2, width // 2), bool))
        self._strengths = tuple(float(strength) for strength in strengths)
        self._regularisers = tuple(regularisers)
        self._positivity = positivity
        self._prior = np.broadcast_to(np.asarray(prior, float), (channels, 1, height // 2, width // 2))[:, 0]
        self._most_iterations = most_iterations
        self._niter = niter
        self._on_progress = on_progress

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """One minor cycle. residual: Jy/beam, model: Jy/pixel, (channel, 1, ny, nx) both."""
        channels = np.flatnonzero(self._psf.any(axis=(1, 2)) & ~self._agree(residual, state))
        if channels.size == 0:
            return model, MinorState(state.iterations, state.predicted_residual, converged=True)
        new = model.astype(np.float32)
        predicted = np.array(residual if state.predicted_residual is None else state.predicted_residual, np.float32)
        most = self._iterations_each(state, channels.size)
        done, support = _Count(self._on_progress), self._support()

        def image(which: Channels) -> None:
            new[which, 0], predicted[which, 0] = self._images(
                which, residual[which, 0], model[which, 0], support[which, 0], most, done
            )

        coupled = not NEED_CHANNELS.isdisjoint(self._regularisers)
        with ThreadPoolExecutor(min(available_cores(), channels.size)) as pool:
            list(pool.map(image, [channels] if coupled else channels))
        return new, MinorState(state.iterations + done.iterations, predicted)

    def _agree(self, residual: Image, state: MinorState) -> NDArray[np.bool_]:
        """Whether the residual of each channel is the predicted one."""
        if state.predicted_residual is None:
            return np.zeros(len(residual), bool)
        difference = np.asarray(residual - state.predicted_residual)
        return np.sqrt(np.mean(difference**2, axis=(1, 2, 3))) < AGREEMENT * self._sigma

    def _images(
        self,
        which: Channels,
        residual: NDArray[np.floating],
        model: NDArray[np.floating],
        support: NDArray[np.bool_],
        most: int,
        done: _Count,
    ) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
        """The image of one channel or of some together, Jy/pixel, and the residual that it should have, Jy/beam."""
        with jax.enable_x64(True):
            operator = self._operator(which)
            shape = (-1, 1, 1) if np.ndim(which) else ()
            sigma, beam_area = (jnp.asarray(each[which]).reshape(shape) for each in (self._sigma, self._beam_area))
            dirty = residual.astype(float) + np.asarray(_dirty(operator, model.astype(float)))
            strengths = jnp.asarray(self._strengths, float)
            noise = NoiseLevel(sigma, beam_area, jnp.asarray(self._prior[which]))
            objective = Objective(operator, jnp.asarray(dirty), noise, strengths, self._regularisers)
            beginning = projected_lbfgs.begin(objective, self._parts(model, support))
            minimum = _minimise(objective, jnp.asarray(support), beginning, most, done)
            # The next major cycle sees the model in single precision: predict from what it will see.
            image = np.asarray(objective.image(minimum.position), np.float32)
            return image, dirty - np.asarray(_dirty(operator, image.astype(float)))

    def _operator(self, which: Channels) -> NormalOperator:
        """Kept between minor cycles if there is one channel only: those of a cube would fill the memory."""
        if len(self._psf) > 1:
            return NormalOperator.from_psf(self._psf[which].astype(float))
        if self._only_operator is None:
            self._only_operator = NormalOperator.from_psf(self._psf[which].astype(float))
        return self._only_operator

    def _parts(self, model: NDArray[np.floating], support: NDArray[np.bool_]) -> jax.Array:
        image = np.where(support, model, 0).astype(float)
        parts = [np.maximum(image, 0)] if self._positivity else [np.maximum(image, 0), np.maximum(-image, 0)]
        return jnp.asarray(np.stack(parts))

    def _iterations_each(self, state: MinorState, channels: int) -> int:
        if self._niter < 0:
            return self._most_iterations
        return min(self._most_iterations, -(-(self._niter - state.iterations) // channels))


@dataclass
class _Count:
    """Iterations of this minor cycle, counted by all threads."""

    tell: Callable[[int, float], None]
    iterations: int = 0
    _lock: Lock = field(default_factory=Lock)

    def add(self, iterations: int, objective: float) -> None:
        with self._lock:
            self.iterations += iterations
            self.tell(self.iterations, objective)


def _minimise(
    objective: Objective, support: jax.Array, state: projected_lbfgs.State, most: int, done: _Count
) -> projected_lbfgs.State:
    while int(state.iteration) < most and not state.stalled:
        iteration, value = int(state.iteration), float(state.value)
        state = projected_lbfgs.advance(objective, support, state, min(STRIDE, most - iteration))
        done.add(int(state.iteration) - iteration, float(state.value))
        if not np.isfinite(state.value):
            raise FloatingPointError("the objective of the minor cycle is not finite: check the data for NaN")
        if value - float(state.value) < TOLERANCE:
            break
    return state
