"""Bayesian imaging as a minor cycle: samples of the skies that the data and a log-normal prior allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.resolve.coarse_likelihood import CoarseInverse, coarse_points
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, Prior
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior, PowerSpectrum
from casa_ml_tasks.minor.resolve.randomised_maximum import Found, Likelihood, Randomised, most_probable
from casa_ml_tasks.minor.resolve.spectrum_fit import SpectrumFit
from casa_ml_tasks.minor.rml.minor_cycle import AGREEMENT, RegularisedMaximumLikelihood

#: Fluxes of pixels have an exponential prior with this many times less than the noise for its inverse mean.
FLUX_PRIOR = 0.3
#: Of the noise of a beam, spread over the beam: what the prior expects of an empty pixel.
OFFSET = 0.1
FLOOR = 0.01  # of the same, in the logarithm of the first image
SAMPLES = 16
EXPLORERS = 4  # samples that find the power spectrum
SETTLED = 0.3  # change of the mean over the uncertainty, r.m.s.
MOST_ITERATIONS = 12
SIGNAL = 5.0  # noise sigma: what noise alone does not reach


class Stage(IntEnum):
    """What a global iteration is for."""

    EXPLORE = 0  # few samples, one power spectrum for all
    REFINE = 1  # all samples
    DRAW = 2  # a power spectrum for each, drawn given the sample


class Latent(NamedTuple):
    """Between two global iterations.

    Attributes:
        excitations: (sample, ny, nx).
        spectra: parameters of the power spectrum, (sample, parameters).
        mean, uncertainty: of the samples so far, (ny, nx), Jy/pixel.
        records: (iteration, fields of `GlobalIteration`).
        stage: of the next iteration.
        settled: whether the last change of the mean was small.
        offset: from which the excitations count, ln(Jy/pixel).
    """

    excitations: NDArray[np.float64]
    spectra: NDArray[np.float64]
    mean: NDArray[np.float64]
    uncertainty: NDArray[np.float64]
    records: NDArray[np.float64]
    stage: NDArray[np.int64]
    settled: NDArray[np.bool_]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Latent:
        """What `MinorState.latent` holds."""
        return cls(**{name: arrays[name] for name in cls._fields})

    def iterations(self) -> tuple[GlobalIteration, ...]:
        """The records in words."""
        return tuple(
            GlobalIteration(
                int(number), Stage(int(stage)).name.lower(), int(samples), energy, change, int(count), *rest
            )
            for number, stage, samples, energy, change, count, *rest in self.records.tolist()
        )


def _as_numbers(record: GlobalIteration) -> list[float]:
    """A row of `Latent.records`."""
    number, stage, *rest = astuple(record)
    return [number, Stage[stage.upper()], *rest]


class Resolve:
    """Samples the posterior of one image of total intensity.

    The sky is the exponential of a correlated field. Each sample is the most probable sky for visibilities and
    excitations that are randomised anew (`randomised_maximum`); the field's power spectrum is fitted to the samples
    (`spectrum_fit`), both in turn until the mean of the samples settles, first with few of them.

    One call of `update` is one global iteration, so that a killed run loses no more.
    """

    def __init__(
        self,
        psf: Image,
        sigma: ArrayLike,
        beam_area: ArrayLike,
        cell: float,
        draw_noise: Callable[[int], Image],
        prior: Mapping[str, Any] | None = None,
        samples: int = SAMPLES,
        most_iterations: int = MOST_ITERATIONS,
        seed: int = 42,
        on_iteration: Callable[[GlobalIteration], None] = lambda step: None,
    ):
        """Remember what to infer from.

        Args:
            psf: (1, 1, 2 ny, 2 nx), Jy/beam, in natural weighting.
            sigma: noise of the dirty image, Jy/beam.
            beam_area: solid angle of the CLEAN beam, pixels.
            cell: size of a pixel, arcsec.
            draw_noise: given a seed, a dirty image of nothing but noise, (1, 1, ny, nx), Jy/beam.
            prior: fields of `Prior` that are not to be set from the data.
            samples: of the posterior; even, because they come in antithetic pairs.
            most_iterations: global ones.
            seed: of all that is drawn.
            on_iteration: told of every global iteration.
        """
        self._psf = psf[0, 0]
        self._sigma = float(np.ravel(sigma)[0])
        self._beam_area = float(np.ravel(beam_area)[0])
        self._cell = cell
        self._draw_noise = draw_noise
        self._prior = Prior(float(np.log(OFFSET * self._sigma / self._beam_area)))._replace(**(prior or {}))
        self._samples = samples + samples % 2
        self._most_iterations = most_iterations
        self._seed = seed
        self._on_iteration = on_iteration

    @cached_property
    def _field(self) -> CorrelatedField:
        ny, nx = (n // 2 for n in self._psf.shape)
        return CorrelatedField((ny, nx), self._prior)

    @cached_property
    def _fit(self) -> SpectrumFit:
        return SpectrumFit(self._field)

    @cached_property
    def _operator(self) -> NormalOperator:
        return NormalOperator.from_psf(self._psf)

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """One global iteration. residual: Jy/beam, model: Jy/pixel, (1, 1, ny, nx) both."""
        if self._agrees(residual, state):
            return model, replace(state, converged=True)
        with jax.enable_x64(True):
            latent = self._latent(state) or self._begin(residual, model)
            likelihood = Likelihood(
                self._operator,
                jnp.asarray(residual[0, 0] - FLUX_PRIOR * self._sigma, float),
                jnp.asarray(model[0, 0], float),
                self._sigma,
                self._prior.offset,
            )
            latent = self._iterate(latent, likelihood)
            self._on_iteration(latent.iterations()[-1])
            finished = latent.stage > Stage.DRAW
            if finished:
                latent = latent._replace(stage=np.array(Stage.DRAW))
            mean = latent.mean.astype(np.float32)[None, None]
            predicted = residual - np.asarray(self._operator(jnp.asarray(mean[0, 0] - model[0, 0], float)))
        return mean, MinorState(
            iterations=state.iterations + int(latent.records[-1][5]),
            predicted_residual=predicted.astype(np.float32),
            latent=latent._asdict(),
            unfinished=not finished,
        )

    def posterior(self, state: MinorState) -> Posterior:
        """What is known in this state."""
        latent = Latent.of(state.latent)
        with jax.enable_x64(True):
            power = np.array([self._field.amplitude_of_bins(self._fit.named(each))[1:] ** 2 for each in latent.spectra])
            skies = self._skies(latent)
        ny, nx = self._field.shape
        spectrum = PowerSpectrum(self._field.modes.frequency[1:] / self._cell, power * ny * nx * self._cell**2)
        return Posterior(skies[:, None, None].astype(np.float32), spectrum, latent.iterations(), bool(latent.settled))

    def _latent(self, state: MinorState) -> Latent | None:
        """What the last iteration left; where the data have changed since, the power spectrum is to be found anew."""
        if not state.latent:
            return None
        latent = Latent.of(state.latent)
        if state.predicted_residual is not None:
            return latent
        means = np.array([each[0, 0] for each in self._amplitudes(latent.spectra)])
        excitations = latent.excitations.copy()
        excitations[:, 0, 0] += (latent.offset - self._prior.offset) / means
        offset = np.array(self._prior.offset)
        return latent._replace(excitations=excitations, offset=offset, stage=np.array(Stage.REFINE))

    def _agrees(self, residual: Image, state: MinorState) -> bool:
        """Whether the samples are done and the major cycle found the residual of their mean that they predicted."""
        if state.unfinished or state.predicted_residual is None:
            return False
        return float(np.std(residual - state.predicted_residual)) < AGREEMENT * self._sigma

    def _begin(self, residual: Image, model: Image) -> Latent:
        """From the regularised maximum likelihood image, and the spectrum of its logarithm.

        Raises:
            ValueError: what the data show is negative.
        """
        lowest, highest = float(residual.min()), float(residual.max())
        if not model.any() and -lowest > max(highest, SIGNAL * self._sigma):
            raise ValueError(
                f"the dirty image is more negative ({lowest:.3g} Jy/beam) than positive ({highest:.3g} Jy/beam), which "
                "no positive sky explains; use rmlclean with positivity=False and regularizer=['l1']"
            )
        names = ["l1", "log_smoothness"]
        sketch = RegularisedMaximumLikelihood(
            self._psf[None, None], self._sigma, self._beam_area, names, [1.0] * len(names)
        )
        image = sketch.update(residual, model, MinorState())[0][0, 0]
        floor = FLOOR * self._sigma / self._beam_area
        coefficients = np.asarray(self._field.coefficients(jnp.log(jnp.maximum(jnp.asarray(image, float), floor))))
        spectrum = self._fit.most_probable(self._fit.power(coefficients[None]), np.zeros(self._fit.size))
        excitations = coefficients / np.asarray(self._field.amplitude(self._fit.named(spectrum)))
        count = min(EXPLORERS, self._samples)
        return Latent(
            np.stack([excitations] * count),
            np.stack([spectrum] * count),
            image.astype(float),
            np.full(image.shape, np.inf),
            np.zeros((0, len(GlobalIteration.__dataclass_fields__))),
            np.array(Stage.EXPLORE),
            np.array(False),
            np.array(self._prior.offset),
        )

    def _iterate(self, latent: Latent, likelihood: Likelihood) -> Latent:
        """Find every sample for its power spectrum, then the spectra that suit them."""
        started = time.monotonic()
        common = np.mean(latent.spectra, axis=0)
        covariance = np.asarray(self._field.covariance(self._field.amplitude(self._fit.named(common))))
        points = coarse_points(latent.mean, self._sigma, self._beam_area)
        preconditioner = CoarseInverse.of(points, self._psf, self._sigma, covariance)
        amplitudes = self._amplitudes(latent.spectra)

        def sample(start: NDArray[np.float64], amplitude: jax.Array, drawn: Randomised) -> Found:
            with jax.enable_x64(True):
                return most_probable(jnp.asarray(start), amplitude, likelihood, drawn, preconditioner)

        randomised = [self._randomised(number) for number in range(len(amplitudes))]  # here: CASA wants one thread
        with ThreadPoolExecutor(available_cores()) as pool:
            found = list(pool.map(sample, latent.excitations, amplitudes, randomised))
        excitations = np.stack([np.asarray(each.excitations) for each in found])
        latent = latent._replace(excitations=excitations)
        skies = self._skies(latent)
        mean, uncertainty = skies.mean(axis=0), skies.std(axis=0, ddof=1)
        change = float(np.sqrt(np.mean(((mean - latent.mean) / uncertainty) ** 2)))
        predicted = likelihood.residual - likelihood.operator(jnp.asarray(mean) - likelihood.model)
        record = GlobalIteration(
            iteration=len(latent.records) + 1,
            stage=Stage(int(latent.stage)).name.lower(),
            samples=len(skies),
            energy=float(np.mean([each.energy for each in found])),
            change=change,
            conjugate_gradient_iterations=sum(each.iterations for each in found),
            residual=float(jnp.std(predicted)) / self._sigma,
            seconds=time.monotonic() - started,
        )
        latent = latent._replace(
            mean=mean,
            uncertainty=uncertainty,
            records=np.vstack([latent.records, _as_numbers(record)]),
            settled=np.array(change < SETTLED),
        )
        return self._next(latent)

    def _next(self, latent: Latent) -> Latent:
        """The power spectra and the samples for the next iteration."""
        ready = bool(latent.settled) or len(latent.records) >= self._most_iterations
        stage = Stage(int(latent.stage))
        if stage is Stage.DRAW:
            return latent._replace(stage=np.array(stage + 1))
        amplitudes = np.array(self._amplitudes(latent.spectra))
        coefficients = amplitudes * latent.excitations
        start = latent.spectra.mean(axis=0)
        common = self._fit.most_probable(self._fit.power(coefficients), start)
        spectra = np.stack([common] * len(coefficients))
        if stage is Stage.EXPLORE and ready:
            stage = Stage.REFINE
            more = self._samples - len(coefficients)
            middle = np.mean(coefficients, axis=0)
            coefficients = np.concatenate([coefficients, np.stack([middle] * more)]) if more else coefficients
            spectra = np.stack([common] * len(coefficients))
        elif stage is Stage.REFINE and ready:
            stage = Stage.DRAW
            generator = np.random.default_rng([self._seed, len(latent.records)])
            spectra = np.stack(
                [self._fit.draw(self._fit.power(each[None]), common, generator) for each in coefficients]
            )
        excitations = coefficients / np.array(self._amplitudes(spectra))
        return latent._replace(excitations=excitations, spectra=spectra, stage=np.array(stage))

    def _amplitudes(self, spectra: NDArray[np.floating]) -> list[jax.Array]:
        """Of every sample, (ny, nx) each."""
        return [self._field.amplitude(self._fit.named(each)) for each in spectra]

    def _randomised(self, number: int) -> Randomised:
        """What a sample answers to; every second has the opposite signs of the one before it."""
        pair, sign = number // 2, 1 - 2 * (number % 2)
        noise = self._draw_noise(self._seed + pair)[0, 0]
        excitations = np.random.default_rng([self._seed, pair]).normal(size=noise.shape)
        return Randomised(jnp.asarray(sign * noise, float), jnp.asarray(sign * excitations))

    def _skies(self, latent: Latent) -> NDArray[np.float64]:
        """(sample, ny, nx), Jy/pixel."""
        amplitudes = self._amplitudes(latent.spectra)
        pairs = zip(amplitudes, latent.excitations, strict=True)
        return np.exp([np.asarray(self._field.log_sky(each, jnp.asarray(xi))) for each, xi in pairs])
