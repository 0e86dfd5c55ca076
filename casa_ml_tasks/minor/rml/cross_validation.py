r"""Strengths of regularisers by K-fold cross-validation in the uv plane.

An image made without one fold of the visibilities predicts them; the strengths that predict best are chosen. The
held-out $\chi^2$ of a fold is $(P_k + I^T H_k I - 2 I^T j_k) / \sigma_k^2$, with the dirty image $j_k$, its noise, the
normal operator $H_k$ and the mean power $P_k$ of the fold alone: nothing has the size of the visibilities. Bright cells
of the uv plane are never predicted to the noise, and would outvote all others in a sum: logarithms are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Fold
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.rml.minimisation import minimise
from casa_ml_tasks.minor.rml.objective import Objective, parts_of
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel

STEP = 10**0.5  # between the strengths that are tried
MOST_STEPS = 2  # to either side of 1
FIRST_ITERATIONS, FURTHER_ITERATIONS = 150, 60  # of an image from nothing, and from that of other strengths


@dataclass(frozen=True)
class Trial:
    """Strengths, and how well they predict.

    Attributes:
        strengths: of the regularisers.
        misfit: logarithm of the held-out chi^2 of every fold, (fold,).
    """

    strengths: tuple[float, ...]
    misfit: NDArray[np.float64]

    def excess(self, best: Trial) -> tuple[float, float]:
        """Return the mean misfit beyond that of the best trial, and its standard error by the scatter of folds."""
        difference = self.misfit - best.misfit
        return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(difference.size))


@dataclass(frozen=True)
class CrossValidation:
    """All trials, and which was chosen.

    Attributes:
        trials: in the order of their making.
        best: the one with the smallest mean misfit.
        chosen: the strongest regularisation, by the product of strengths, within one standard error of the best (Hastie
            et al. 2009, section 7.10); the better one of equally strong ones.
    """

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        return min(self.trials, key=lambda trial: trial.misfit.mean())

    @property
    def chosen(self) -> Trial:
        def as_good(trial: Trial) -> bool:
            excess, error = trial.excess(self.best)
            return excess <= error

        def strength(trial: Trial) -> tuple[float, float]:
            return round(float(np.log(trial.strengths).sum()), 6), -float(trial.misfit.mean())

        return max(filter(as_good, self.trials), key=strength)

    def as_numbers(self) -> list[dict[str, Any]]:
        """Return every trial: its strengths, its misfit beyond the best one's, the error of that, whether chosen."""
        found = []
        for trial in self.trials:
            excess, error = trial.excess(self.best)
            chosen = trial is self.chosen
            found.append({"strengths": list(trial.strengths), "excess": excess, "error": error, "chosen": chosen})
        return found


def cross_validate(
    folds: Sequence[Fold],
    noise: NoiseLevel,
    regularisers: Sequence[str],
    positivity: bool,
    support: NDArray[np.bool_],
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> CrossValidation:
    """Search for the strengths that predict best.

    The search begins with strength 1 of everything and goes through the regularisers one after the other, up or down
    as long as the prediction improves.

    Args:
        folds: at least 2, and last what is never held out.
        noise: of the dirty image of all visibilities.
        regularisers: their names.
        positivity: allow non-negative images only.
        support: (ny, nx), where the image may differ from zero.
        on_trial: told of every trial.
    """
    problems = [
        _HeldOut.of(folds, number, noise, regularisers, positivity, support) for number in range(len(folds) - 1)
    ]
    trials: dict[tuple[int, ...], Trial] = {}

    def misfit(steps: tuple[int, ...]) -> float:
        if steps not in trials:
            strengths = tuple(STEP**step for step in steps)
            with ThreadPoolExecutor(min(available_cores(), len(problems))) as pool:
                found = list(pool.map(lambda problem: problem.at_optimum(strengths), problems))
            problems[:] = [problem for problem, _ in found]
            trials[steps] = Trial(strengths, np.array([each for _, each in found]))
            on_trial(trials[steps])
        return float(trials[steps].misfit.mean())

    here = (0,) * len(regularisers)
    for axis in range(len(regularisers)):
        for direction in (1, -1):
            start = here
            while abs(here[axis] + direction) <= MOST_STEPS:
                there = (*here[:axis], here[axis] + direction, *here[axis + 1 :])
                if misfit(there) >= misfit(here):
                    break
                here = there
            if here != start:
                break
    misfit(here)
    return CrossValidation(tuple(trials.values()))


@dataclass(frozen=True)
class _HeldOut:
    """One fold held out, the others trained on.

    Attributes:
        objective: of the others.
        support: (ny, nx), where the image may differ from zero.
        parts: the image made from the others, as `parts_of` has it.
        held_out: the likelihood of the fold.
        power: mean power of its visibilities, Jy^2.
    """

    objective: Objective
    support: jax.Array
    parts: jax.Array
    held_out: QuadraticLikelihood
    power: float

    @classmethod
    def of(
        cls,
        folds: Sequence[Fold],
        number: int,
        noise: NoiseLevel,
        regularisers: Sequence[str],
        positivity: bool,
        support: NDArray[np.bool_],
    ) -> _HeldOut:
        held_out, others = folds[number], [fold for fold in folds if fold is not folds[number]]
        weights = [fold.weight for fold in others]
        total = held_out.weight + sum(weights)
        training_psf, training_dirty = (
            np.average([getattr(fold, name) for fold in others], axis=0, weights=weights) for name in ("psf", "dirty")
        )
        nothing = np.zeros(support.shape)
        with jax.enable_x64(True):
            sigma = jnp.asarray(noise.sigma * np.sqrt(total / sum(weights)), float)
            training = QuadraticLikelihood(
                ConvolutionNormalOperator.from_psf(training_psf, np.float32),
                jnp.asarray(training_dirty, jnp.float32),
                jnp.zeros(support.shape, jnp.float32),
                sigma,
            )
            objective = Objective(
                training,
                jnp.asarray(noise.beam_area, float),
                jnp.zeros(len(regularisers)),
                tuple(regularisers),
                jnp.asarray(noise.prior, float),
            )
            likelihood = QuadraticLikelihood(
                ConvolutionNormalOperator.from_psf(held_out.psf),
                jnp.asarray(held_out.dirty, float),
                0.0,
                float(noise.sigma * np.sqrt(total / held_out.weight)),
            )
            parts = parts_of(nothing, positivity, nothing if "points" in regularisers else None)
            return cls(objective, jnp.asarray(support), parts, likelihood, held_out.power)

    def at_optimum(self, strengths: tuple[float, ...]) -> tuple[_HeldOut, float]:
        """Return the same fold at the optimum for these strengths, and the held-out misfit there."""
        with jax.enable_x64(True):
            objective = replace(self.objective, strengths=jnp.asarray(strengths, float))
            most = FURTHER_ITERATIONS if self.parts.any() else FIRST_ITERATIONS
            parts, _ = minimise(objective, self.support, self.parts, most)
            image = objective.image(parts)
            there = replace(objective, likelihood=objective.likelihood.around(image))
            chi2 = self.power / self.held_out.sigma**2 + 2 * self.held_out.value(image.astype(float))
            return replace(self, objective=there, parts=parts), float(jnp.log(chi2))
