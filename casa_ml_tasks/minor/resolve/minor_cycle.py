"""Bayesian imaging as a minor cycle: samples of the skies that the data and a log-normal prior allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from enum import IntEnum
from functools import cache, cached_property
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
from casa_ml_tasks.minor.resolve.hamiltonian import FIRST_STEP, LEAPS, Mass, better_step, trajectory
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior, PowerSpectrum
from casa_ml_tasks.minor.resolve.randomised_maximum import Found, Likelihood, Randomised, most_probable
from casa_ml_tasks.minor.resolve.spectrum_fit import SpectrumFit
from casa_ml_tasks.minor.rml.minor_cycle import AGREEMENT, RegularisedMaximumLikelihood

#: Fluxes of pixels have an exponential prior: its inverse mean times the noise of a point source. Randomised maxima
#: overrate empty sky, which the data do not see as a whole.
FLUX_PRIOR = {"randomised": 0.3, "hamiltonian": 0.1}
SAMPLES = {"randomised": 16, "hamiltonian": 32}
SAMPLERS = tuple(SAMPLES)
#: Of the noise of a beam, spread over the beam: what the prior expects of an empty pixel.
OFFSET = 0.1
FLOOR = 0.01  # of the same, in the logarithm of the first image
SIGNAL = 5.0  # noise sigma: what noise alone does not reach
CHAINS = 4  # and as many skies that find the power spectrum
SETTLED = 0.3  # change of the mean over the uncertainty, r.m.s.
MOST_ITERATIONS = 12
WARMING = 4  # iterations
TRAJECTORIES = 10  # of each chain in an iteration
BETWEEN = 5  # trajectories from one sample of a chain to the next
AGREE = 0.5  # difference of the means of early and late samples over the uncertainty, median
SHORT_FIT = 30  # iterations for the spectrum of one sample, which is near that of all


class Stage(IntEnum):
    """What a global iteration is for."""

    EXPLORE = 0  # a few randomised maxima, and the power spectrum that suits them
    REFINE = 1  # the same with all samples
    WARM = 2  # chains that begin at the few, and forget them
    SAMPLE = 3  # chains of which samples are kept
    FINISHED = 4


class Latent(NamedTuple):
    """Between two global iterations.

    Attributes:
        excitations: (sample or chain, ny, nx).
        spectrum: parameters of the power spectrum, (parameters,).
        mean: of the skies of the last iteration, (ny, nx), Jy/pixel.
        samples: of the posterior so far, (sample, ny, nx), Jy/pixel.
        records: (iteration, fields of `GlobalIteration`).
        stage: of the next iteration.
        since: iterations since it began, or since the data or the stage changed last.
        step: of the chains' leapfrog.
        settled: whether the last change of the mean was small.
    """

    excitations: NDArray[np.float64]
    spectrum: NDArray[np.float64]
    mean: NDArray[np.float64]
    samples: NDArray[np.float32]
    records: NDArray[np.float64]
    stage: NDArray[np.int64]
    since: NDArray[np.int64]
    step: NDArray[np.float64]
    settled: NDArray[np.bool_]

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

    The sky is the exponential of a correlated field. A sample is the most probable sky for visibilities and excitations
    that are randomised (`randomised_maximum`), and the power spectrum is the one that suits the samples
    (`spectrum_fit`), in turn until their mean settles, first with few of them. Or, from these few, chains of
    Hamiltonian Monte Carlo go on (`hamiltonian`), which take longer and approximate nothing.

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
        sampler: str = "randomised",
        samples: int = 0,
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
            sampler: of `SAMPLERS`.
            samples: of the posterior; rounded up to pairs or to what an iteration of chains gives; 0 for the usual.
            most_iterations: global ones of each stage.
            seed: of all that is drawn.
            on_iteration: told of every global iteration.
        """
        self._psf = psf[0, 0]
        self._sigma = float(np.ravel(sigma)[0])
        self._beam_area = float(np.ravel(beam_area)[0])
        self._cell = cell
        self._draw_noise = cache(draw_noise)
        self._prior = Prior(float(np.log(OFFSET * self._sigma / self._beam_area)))._replace(**(prior or {}))
        self._sampler = sampler
        self._samples = samples or SAMPLES[sampler]
        self._samples += self._samples % 2
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
            latent = self._latent(state) or self._begin(residual, model, state)
            likelihood = Likelihood(
                self._operator,
                jnp.asarray(residual[0, 0], float),
                jnp.asarray(model[0, 0], float),
                self._sigma,
                self._prior.offset,
                FLUX_PRIOR[self._sampler],
            )
            latent = self._iterate(latent, likelihood)
            self._on_iteration(latent.iterations()[-1])
            iterations = state.iterations + int(latent.records[-1][5])
            if latent.stage != Stage.FINISHED:
                return model, MinorState(iterations, latent=latent._asdict(), unfinished=True)
            mean = latent.samples.mean(axis=0)[None, None]
            predicted = residual - np.asarray(self._operator(jnp.asarray(mean - model, float)))
        return mean, MinorState(iterations, predicted.astype(np.float32), latent=latent._asdict())

    def posterior(self, state: MinorState) -> Posterior:
        """What is known in this state."""
        latent = Latent.of(state.latent)
        with jax.enable_x64(True):
            fields = [
                np.asarray(self._field.coefficients(jnp.log(jnp.asarray(each, float)))) for each in latent.samples
            ]
            powers = [self._fit.power(each[None]) for each in fields]
            spectra = [self._fit.most_probable(each, latent.spectrum, SHORT_FIT) for each in powers]
            power = np.array([self._field.amplitude_of_bins(self._fit.named(each))[1:] ** 2 for each in spectra])
        ny, nx = self._field.shape
        spectrum = PowerSpectrum(self._field.modes.frequency[1:] / self._cell, power * ny * nx * self._cell**2)
        return Posterior(latent.samples[:, None, None], spectrum, latent.iterations(), bool(latent.settled))

    def _latent(self, state: MinorState) -> Latent | None:
        """What the last iteration left; None where there is nothing, or the data have changed since."""
        if state.unfinished:
            return Latent.of(state.latent)
        if state.predicted_residual is None:
            return None
        latent = Latent.of(state.latent)
        stage = np.array(Stage.REFINE if self._sampler == "randomised" else Stage.WARM)
        return latent._replace(samples=latent.samples[:0], stage=stage, since=np.array(0))

    def _agrees(self, residual: Image, state: MinorState) -> bool:
        """Whether the samples are done and the major cycle found the residual of their mean that they predicted."""
        if state.unfinished or state.predicted_residual is None:
            return False
        return float(np.std(residual - state.predicted_residual)) < AGREEMENT * self._sigma

    def _begin(self, residual: Image, model: Image, state: MinorState) -> Latent:
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
        return Latent(
            excitations=np.stack([excitations] * CHAINS),
            spectrum=spectrum,
            mean=image.astype(float),
            samples=np.zeros((0, *image.shape), np.float32),
            records=state.latent.get("records", np.zeros((0, len(GlobalIteration.__dataclass_fields__)))),
            stage=np.array(Stage.EXPLORE),
            since=np.array(0),
            step=np.array(FIRST_STEP),
            settled=np.array(False),
        )

    def _iterate(self, latent: Latent, likelihood: Likelihood) -> Latent:
        """Find skies for the power spectrum, then the power spectrum for the skies."""
        started = time.monotonic()
        stage = Stage(int(latent.stage))
        move = self._maxima if stage in (Stage.EXPLORE, Stage.REFINE) else self._chains
        moved, skies, energies, products = move(latent, likelihood, self._mass(latent))
        mean, uncertainty = skies.mean(axis=0), skies.std(axis=0, ddof=1)
        change = float(np.sqrt(np.mean(((mean - latent.mean) / uncertainty) ** 2)))
        predicted = likelihood.residual - likelihood.operator(jnp.asarray(mean) - likelihood.model)
        record = GlobalIteration(
            iteration=len(latent.records) + 1,
            stage=stage.name.lower(),
            samples=len(moved.samples) or len(skies),
            energy=float(np.mean(energies)),
            change=change,
            operator_products=products,
            residual=float(jnp.sqrt(jnp.mean(predicted**2))) / self._sigma,
            seconds=time.monotonic() - started,
        )
        return self._next(
            moved._replace(
                mean=mean,
                records=np.vstack([latent.records, _as_numbers(record)]),
                settled=np.array(change < SETTLED),
            )
        )

    def _mass(self, latent: Latent) -> Mass:
        """The curvature of the coarse likelihood of the mean."""
        amplitude = self._amplitude(latent.spectrum)
        points = coarse_points(latent.mean, self._sigma, self._beam_area)
        covariance = np.asarray(self._field.covariance(amplitude))
        return Mass(CoarseInverse.of(points, self._psf, self._sigma, covariance), amplitude)

    def _maxima(self, latent: Latent, likelihood: Likelihood, mass: Mass) -> _Moves:
        """The most probable skies for randomised data."""

        def sample(start: NDArray[np.float64], drawn: Randomised) -> Found:
            with jax.enable_x64(True):
                return most_probable(jnp.asarray(start), mass.amplitude, likelihood, drawn, mass.inverse)

        # Drawn here, because CASA wants one thread.
        randomised = [self._randomised(number) for number in range(len(latent.excitations))]
        with ThreadPoolExecutor(available_cores()) as pool:
            found = list(pool.map(sample, latent.excitations, randomised))
        excitations = np.stack([np.asarray(each.excitations) for each in found])
        skies = np.stack([np.asarray(likelihood.sky(mass.amplitude, each.excitations)) for each in found])
        moved = self._with_spectrum(latent, excitations)
        if latent.stage == Stage.REFINE:
            moved = moved._replace(samples=skies.astype(np.float32))
        return moved, skies, [each.energy for each in found], sum(each.iterations for each in found)

    def _chains(self, latent: Latent, likelihood: Likelihood, mass: Mass) -> _Moves:
        """The chains over some trajectories."""
        step, number = float(latent.step), len(latent.records)

        def chain(which: int) -> _Chain:
            with jax.enable_x64(True):
                key = jax.random.key(np.random.default_rng([self._seed, number, which]).integers(2**31))
                return _follow(jnp.asarray(latent.excitations[which]), key, likelihood, mass, step)

        with ThreadPoolExecutor(available_cores()) as pool:
            chains = list(pool.map(chain, range(CHAINS)))
        skies = np.concatenate([each.skies for each in chains])
        excitations = np.stack([each.excitations for each in chains])
        step = better_step(step, float(np.mean([each.accepted for each in chains])))
        moved = latent._replace(step=np.array(step))
        if latent.stage == Stage.SAMPLE:
            samples = np.concatenate([latent.samples, skies.astype(np.float32)])
            moved = moved._replace(excitations=excitations, samples=samples)
        else:
            moved = self._with_spectrum(moved, excitations)
        return moved, skies, [each.energy for each in chains], CHAINS * TRAJECTORIES * LEAPS

    def _with_spectrum(self, latent: Latent, excitations: NDArray[np.float64]) -> Latent:
        """The same skies with the power spectrum that suits them all best."""
        coefficients = np.asarray(self._amplitude(latent.spectrum)) * excitations
        spectrum = self._fit.most_probable(self._fit.power(coefficients), latent.spectrum)
        return latent._replace(excitations=coefficients / np.asarray(self._amplitude(spectrum)), spectrum=spectrum)

    def _next(self, latent: Latent) -> Latent:
        """The stage of the next iteration."""
        stage, since = Stage(int(latent.stage)), int(latent.since) + 1
        ready = bool(latent.settled) or since >= self._most_iterations
        if stage is Stage.EXPLORE and ready and self._sampler == "randomised":
            middle = np.mean(latent.excitations, axis=0)
            more = np.repeat(middle[None], max(self._samples - CHAINS, 0), axis=0)
            excitations = np.concatenate([latent.excitations, more])[: self._samples]
            return latent._replace(excitations=excitations, stage=np.array(Stage.REFINE), since=np.array(0))
        if stage is Stage.EXPLORE and ready:
            return latent._replace(stage=np.array(Stage.WARM), since=np.array(0))
        if stage is Stage.REFINE and ready:
            return latent._replace(stage=np.array(Stage.FINISHED))
        if stage is Stage.WARM and since >= min(WARMING, self._most_iterations):
            return latent._replace(stage=np.array(Stage.SAMPLE), since=np.array(0))
        if stage is Stage.SAMPLE and len(latent.samples) >= self._samples:
            early, last = (each.mean(axis=0) for each in np.array_split(latent.samples, 2))
            apart = float(np.median(np.abs(early - last) / latent.samples.std(axis=0, ddof=1)))
            return latent._replace(settled=np.array(apart < AGREE), stage=np.array(Stage.FINISHED))
        return latent._replace(since=np.array(since))

    def _amplitude(self, spectrum: NDArray[np.floating]) -> jax.Array:
        """(ny, nx)."""
        return self._field.amplitude(self._fit.named(spectrum))

    def _randomised(self, number: int) -> Randomised:
        """What a sample answers to; every second has the opposite signs of the one before it."""
        pair, sign = number // 2, 1 - 2 * (number % 2)
        noise = self._draw_noise(self._seed + pair)[0, 0]
        excitations = np.random.default_rng([self._seed, pair]).normal(size=noise.shape)
        return Randomised(jnp.asarray(sign * noise, float), jnp.asarray(sign * excitations))


class _Chain(NamedTuple):
    """Where a chain ended, the skies on the way (sample, ny, nx), and how often it went on."""

    excitations: NDArray[np.float64]
    skies: NDArray[np.float64]
    energy: float
    accepted: float


def _follow(excitations: jax.Array, key: jax.Array, likelihood: Likelihood, mass: Mass, step: float) -> _Chain:
    """One chain over `TRAJECTORIES`; the mass has the amplitude of the field."""
    skies, ends = [], []
    for number, each in enumerate(jax.random.split(key, TRAJECTORIES), start=1):
        ends.append(trajectory(excitations, each, likelihood, mass, step))
        excitations = ends[-1].excitations
        if number % BETWEEN == 0:
            skies.append(np.asarray(likelihood.sky(mass.amplitude, excitations)))
    accepted = float(np.mean([each.probability for each in ends]))
    return _Chain(np.asarray(excitations), np.stack(skies), float(ends[-1].energy), accepted)


_Moves = tuple[Latent, NDArray[np.float64], list[float], int]
