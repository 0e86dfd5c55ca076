"""An inference whose posterior is known: independent Gaussian pixels around the smoothed dirty image."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import MinorState, StateSchema
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior, PowerSpectrum

STEPS = 3  # global iterations, each of one call
SAMPLES = 6
IMAGE = ("channel", "stokes", "y", "x")


class Resting:
    """Leaves the image as it is."""

    def update(self, residual, model, state):
        return model, replace(state, converged=True)


@dataclass
class GaussianInference:
    """Takes the dirty image for the sky; its samples differ by the noise of a beam spread over the beam.

    Attributes:
        noise: Jy/beam.
        beam_area: pixels.
        calls: how often `update` was called.
        fails_in: the call in which it fails, as a killed process would.
        points: whether the brightest pixel is a point source.
    """

    noise: float
    beam_area: float
    fails_in: int = 0
    points: bool = False
    calls: list[MinorState] = field(default_factory=list)
    schema = StateSchema("gaussian_inference", 1, {"step": (), "draws": ("sample", *IMAGE), "mean": IMAGE})

    def update(self, residual, model, state):
        if state.latent and not state.unfinished:
            return model, replace(state, converged=True)
        self.calls.append(state)
        if len(self.calls) == self.fails_in:
            raise InterruptedError("killed")
        step = int(state.latent.get("step", 0)) + 1
        draws = state.latent.get("draws", np.zeros((SAMPLES, *model.shape)))
        draws = (draws + np.random.default_rng(step).normal(size=draws.shape)) / np.sqrt(2)
        mean = np.maximum(residual, 3 * self.noise) / self.beam_area
        latent = {"step": np.array(step), "draws": draws, "mean": mean}
        model = self._samples(latent).mean(axis=0)
        return model, MinorState(state.iterations + 1, latent=latent, unfinished=step < STEPS)

    def sketch(self):
        return Resting()

    def posterior(self, state):
        samples = self._samples(state.latent)
        frequency = np.geomspace(0.1, 3, 20)
        power = frequency**-3 * np.exp(np.random.default_rng(1).normal(scale=0.3, size=(len(samples), 20)))
        iterations = tuple(
            GlobalIteration(
                n,
                "warm" if n < STEPS else "sample",
                SAMPLES,
                1e4 / n,
                np.nan if n == 1 else 9.0**-n,
                50,
                0.8,
                1 + 1 / n,
                0.5,
            )
            for n in range(1, STEPS + 1)
        )
        mean = samples.mean(axis=0)
        points = np.where(mean == mean.max(), mean, 0) if self.points else None
        return Posterior(samples, PowerSpectrum(frequency, power), iterations, problem="", points=points)

    def _samples(self, latent) -> NDArray[np.float32]:
        return (latent["mean"] + self.noise / self.beam_area * latent["draws"]).astype(np.float32)
