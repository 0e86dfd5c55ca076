"""Bayesian imaging as a minor cycle: samples of the skies that the data and a log-normal prior allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from enum import IntEnum
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.resolve import spectrum as power_spectrum
from casa_ml_tasks.minor.resolve.beginning import fainter, position_of
from casa_ml_tasks.minor.resolve.chains import Chain, follow, mean_error
from casa_ml_tasks.minor.resolve.coarse_likelihood import coarse_points
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, Prior
from casa_ml_tasks.minor.resolve.energy import Likelihood, Position, spectral_curvature
from casa_ml_tasks.minor.resolve.hamiltonian import FIRST_STEP
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.point_sources import PointSources, standing_out
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior, PowerSpectrum
from casa_ml_tasks.minor.rml.minor_cycle import AGREEMENT, RegularisedMaximumLikelihood

SAMPLES = 48
#: Of the noise of a beam, spread over the beam: what the prior expects of an empty pixel.
OFFSET = 0.1
SIGNAL = 5.0  # noise sigma: what noise alone does not reach
CHAINS = 4
#: Trajectories of each chain in a global iteration.
TRAJECTORIES = 5
TRAJECTORIES_OF_SAMPLES = 12
#: Peak over the noise with which the chains begin. Most of the sky is empty then, and as free as the prior leaves it;
#: to leave the smooth image that they begin at takes far longer where the data hold the rest of the sky tightly.
HOTTEST = 20.0
COOLER = 1.9  # by which factor the noise falls from one iteration to the next
#: Peak over noise to which the spectrum is sampled with the sky. A field that is known better than that ties itself to
#: the spectrum too tightly for one trajectory to move both.
LEARNABLE = 300.0
SETTLING = 2  # iterations at the least noise of a stage
NO_SOURCES = np.zeros((0, 2), np.int64)
MOST_ITERATIONS = 6  # of a stage
FEWEST_KEPT = 12  # of a chain
SETTLED = 1 / 3  # error of the mean over the uncertainty


class Stage(IntEnum):
    """What a global iteration is for."""

    WARM = 0  # chains of skies and spectra forget where they began, while the noise falls
    COOL = 1  # the noise falls on to the true one, for spectra that are known
    SAMPLE = 2  # samples are kept
    FINISHED = 3


class Latent(NamedTuple):
    """Between two global iterations.

    Attributes:
        excitations: (chain, ny, nx).
        spectra: parameters of the power spectrum, (chain, parameters).
        steps: of the leapfrog, (chain,).
        sigma: noise of the dirty image as the chains take it now, Jy/beam.
        least_sigma: down to which they move the spectra with the sky, Jy/beam.
        mean: of the skies of the last iteration, (ny, nx), Jy/pixel.
        sources: pixels y, x of the point sources, (source, 2).
        samples: of the posterior so far, (sample, ny, nx), Jy/pixel, with the point sources; of every chain in turn.
        sampled_fluxes: of the point sources, (sample, source), Jy.
        sampled_spectra: (sample, parameters).
        records: (iteration, fields of `GlobalIteration`).
        stage: of the next iteration.
        since: iterations since the stage began.
    """

    excitations: NDArray[np.float64]
    spectra: NDArray[np.float64]
    steps: NDArray[np.float64]
    sigma: NDArray[np.float64]
    least_sigma: NDArray[np.float64]
    mean: NDArray[np.float64]
    sources: NDArray[np.int64]
    samples: NDArray[np.float32]
    sampled_fluxes: NDArray[np.float64]
    sampled_spectra: NDArray[np.float64]
    records: NDArray[np.float64]
    stage: NDArray[np.int64]
    since: NDArray[np.int64]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Latent:
        """What `MinorState.latent` holds."""
        return cls(**{name: arrays[name] for name in cls._fields})

    def iterations(self) -> tuple[GlobalIteration, ...]:
        """The records in words."""
        return tuple(
            GlobalIteration(int(number), Stage(int(stage)).name.lower(), int(samples), energy, error, int(count), *rest)
            for number, stage, samples, energy, error, count, *rest in self.records.tolist()
        )

    def spectra_are_known(self) -> bool:
        """Whether the chains move the sky alone."""
        return bool(self.sigma < self.least_sigma)

    def settled(self) -> bool:
        """Whether the chains agreed in the last iteration."""
        return self.iterations()[-1].mean_error < SETTLED

    def positions(self) -> list[Position]:
        """Where the chains are."""
        return [Position(*map(jnp.asarray, each)) for each in zip(self.excitations, self.spectra, strict=True)]

    def begun(self, stage: Stage) -> Latent:
        """Another stage."""
        return self._replace(stage=np.array(stage), since=np.array(0))

    def cooled(self, least: float) -> Latent:
        """With less noise, Jy/beam, but not less than that; iterations count from where it stays."""
        return self._replace(sigma=np.array(max(least, float(self.sigma) / COOLER)), since=np.array(0))

    def without_samples(self) -> Latent:
        """As before the first of them."""
        return self.with_last_samples(0)

    def with_last_samples(self, count: int) -> Latent:
        """Without those before."""
        first = len(self.samples) - count
        return self._replace(
            samples=self.samples[first:],
            sampled_fluxes=self.sampled_fluxes[first:],
            sampled_spectra=self.sampled_spectra[first:],
        )


def _as_numbers(record: GlobalIteration) -> list[float]:
    """A row of `Latent.records`."""
    number, stage, *rest = astuple(record)
    return [number, Stage[stage.upper()], *rest]


class Resolve:
    """Samples the posterior of one image of total intensity.

    The sky is the exponential of a correlated field, whose power spectrum is as unknown as it. Chains of Hamiltonian
    Monte Carlo (`hamiltonian`) begin at the regularised maximum likelihood image, move sky and spectrum together until
    they have forgotten it, and are then samples of the posterior, without any approximation of its shape. Only where
    the signal is more than `LEARNABLE` times the noise the spectra are those of a higher noise.

    One call of `update` is one global iteration, some trajectories of every chain, so that a killed run loses no more.
    """

    def __init__(
        self,
        psf: Image,
        sigma: ArrayLike,
        beam_area: ArrayLike,
        cell: float,
        prior: Mapping[str, Any] | None = None,
        samples: int = 0,
        sources: NDArray[np.int64] | None = NO_SOURCES,
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
            prior: fields of `Prior` that are not to be set from the data.
            samples: of the posterior, at least; 0 for the usual.
            sources: pixels y, x with a point source, (source, 2); None to find them.
            most_iterations: global ones of each stage.
            seed: of all that is drawn.
            on_iteration: told of every global iteration.
        """
        self._psf = psf[0, 0]
        self._sigma = float(np.ravel(sigma)[0])
        self._beam_area = float(np.ravel(beam_area)[0])
        self._cell = cell
        self._prior = Prior(float(np.log(OFFSET * self._sigma / self._beam_area)))._replace(**(prior or {}))
        self._samples = samples or SAMPLES
        self._sources = sources
        self._most_iterations = most_iterations
        self._seed = seed
        self._on_iteration = on_iteration

    @cached_property
    def _field(self) -> CorrelatedField:
        ny, nx = (n // 2 for n in self._psf.shape)
        with jax.enable_x64(True):
            return CorrelatedField((ny, nx), self._prior)

    @cached_property
    def _operator(self) -> NormalOperator:
        return NormalOperator.from_psf(self._psf)

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """One global iteration. residual: Jy/beam, model: Jy/pixel, (1, 1, ny, nx) both.

        Raises:
            ValueError: what the data show is negative.
            FloatingPointError: the energy is not a number.
        """
        if self._agrees(residual, state):
            return model, replace(state, converged=True)
        with jax.enable_x64(True):
            latent = self._latent(state) or self._begin(residual, model, state)
            sources = PointSources.at(latent.sources, self._psf, residual[0, 0])
            likelihood = Likelihood(
                self._operator,
                sources.without(jnp.asarray(residual[0, 0], float)),
                jnp.asarray(model[0, 0], float),
                float(latent.sigma),
                sources,
            )
            latent = self._next(self._iterate(latent, likelihood))
            self._on_iteration(record := latent.iterations()[-1])
            iterations = state.iterations + record.operator_products
            if latent.stage != Stage.FINISHED:
                return model, MinorState(iterations, latent=latent._asdict(), unfinished=True)
            mean = latent.samples.mean(axis=0)[None, None]
            predicted = residual - np.asarray(self._operator(jnp.asarray(mean - model, float)))
        return mean, MinorState(iterations, predicted.astype(np.float32), latent=latent._asdict())

    def posterior(self, state: MinorState) -> Posterior:
        """What is known in this state."""
        latent = Latent.of(state.latent)
        with jax.enable_x64(True):
            amplitudes = [self._field.amplitude_of_bins(jnp.asarray(each))[1:] for each in latent.sampled_spectra]
        ny, nx = self._field.shape
        spectrum = PowerSpectrum(
            self._field.modes.frequency[1:] / self._cell, np.square(amplitudes) * ny * nx * self._cell**2
        )
        points = None
        if len(latent.sources):
            points = np.zeros((1, 1, ny, nx), np.float32)
            points[0, 0, *latent.sources.T] = latent.sampled_fluxes.mean(axis=0)
        return Posterior(latent.samples[:, None, None], spectrum, latent.iterations(), latent.settled(), points)

    def _latent(self, state: MinorState) -> Latent | None:
        """What the last iteration left; None where there is nothing, or another noise asks for a new beginning."""
        if state.unfinished:
            return Latent.of(state.latent)
        if state.predicted_residual is None:
            return None
        return Latent.of(state.latent).without_samples().begun(Stage.COOL)

    def _agrees(self, residual: Image, state: MinorState) -> bool:
        """Whether the samples are done and the major cycle found the residual of their mean that they predicted."""
        if state.unfinished or state.predicted_residual is None:
            return False
        return float(np.std(residual - state.predicted_residual)) < AGREEMENT * self._sigma

    def _begin(self, residual: Image, model: Image, state: MinorState) -> Latent:
        """From the regularised maximum likelihood image, and the spectrum of its logarithm."""
        lowest, highest = float(residual.min()), float(residual.max())
        if not model.any() and -lowest > max(highest, SIGNAL * self._sigma):
            raise ValueError(
                f"the dirty image is more negative ({lowest:.3g} Jy/beam) than positive ({highest:.3g} Jy/beam), which "
                "no positive sky explains; use rmlclean with positivity=False and regularizer=['l1']"
            )
        image, pixels = self._first_image(residual, model)
        sources = PointSources.at(pixels, self._psf, residual[0, 0])
        highest = float(sources.without(jnp.asarray(residual[0, 0], float)).max())
        noise, sigma = self._sigma / self._beam_area, max(self._sigma, highest / HOTTEST)
        position = position_of(self._field, image.astype(float), noise, self._beam_area)
        points = coarse_points(image, sigma, self._beam_area)
        mass = Mass.of(self._field, position, points, psf=self._psf, sources=sources, sigma=sigma)
        chains = [fainter(position, mass, key) for key in jax.random.split(jax.random.key(self._seed), CHAINS)]
        return Latent(
            excitations=np.stack([each.excitations for each in chains]),
            spectra=np.stack([each.spectrum for each in chains]),
            steps=np.full(CHAINS, FIRST_STEP),
            sigma=np.array(sigma),
            least_sigma=np.array(max(self._sigma, highest / LEARNABLE)),
            mean=image.astype(float),
            sources=pixels,
            samples=np.zeros((0, *image.shape), np.float32),
            sampled_fluxes=np.zeros((0, len(pixels))),
            sampled_spectra=np.zeros((0, self._field.parameters)),
            records=state.latent.get("records", np.zeros((0, len(GlobalIteration.__dataclass_fields__)))),
            stage=np.array(Stage.WARM),
            since=np.array(0),
        )

    def _first_image(self, residual: Image, model: Image) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """By regularised maximum likelihood: all but the point sources, (ny, nx), Jy/pixel, and pixels of these."""
        names = ["l1", "log_smoothness", *(["points"] if self._sources is None else [])]
        sketch = RegularisedMaximumLikelihood(
            self._psf[None, None], self._sigma, self._beam_area, names, [1.0] * len(names)
        )
        found, state = sketch.update(residual, model, MinorState())
        image, points = found[0, 0].copy(), state.points
        if self._sources is not None:
            return image, self._sources
        assert points is not None, "the regulariser makes them"
        pixels = standing_out(points[0, 0], self._sigma, self._beam_area)
        image[*pixels.T] -= points[0, 0, *pixels.T]
        return image, pixels

    def _iterate(self, latent: Latent, likelihood: Likelihood) -> Latent:
        """Some trajectories of every chain.

        Raises:
            FloatingPointError: the energy is not a number.
        """
        started, stage, number = time.monotonic(), Stage(int(latent.stage)), len(latent.records) + 1
        masses, positions, keeps = self._masses(latent, likelihood), latent.positions(), stage is Stage.SAMPLE
        middle = jnp.mean(latent.spectra, axis=0)
        scale = None if latent.spectra_are_known() else power_spectrum.scale_of(self._field, middle)

        def chain(which: int) -> Chain:
            with jax.enable_x64(True):
                key = jax.random.key(np.random.default_rng([self._seed, number, which]).integers(2**31))
                keys, step = jax.random.split(key, self._trajectories(stage)), float(latent.steps[which])
                at, mass = positions[which], masses[which]
                whole = follow(self._field, at, keys, likelihood, mass, scale, step, adapts=not keeps)
                return whole if keeps else whole.late()

        with ThreadPoolExecutor(available_cores()) as pool:
            chains = list(pool.map(chain, range(CHAINS)))
        energies = [each.energy for each in chains]
        if not np.isfinite(energies).all():
            raise FloatingPointError(
                f"the energy is {energies[0]}, because the visibilities, their weights or the model hold what is no "
                "number; flag them and call again: the last good state is kept"
            )
        skies = np.stack([each.skies for each in chains], axis=1)  # (trajectory, chain, ny, nx)
        mean = skies.mean(axis=(0, 1))
        moved = latent._replace(
            excitations=np.stack([each.positions[-1].excitations for each in chains]),
            spectra=np.stack([each.positions[-1].spectrum for each in chains]),
            steps=np.array([each.typical_step() for each in chains]),
            mean=mean.astype(float),
        )
        moved, error = self._sampled(moved, chains, likelihood) if keeps else (moved, mean_error(skies))
        record = GlobalIteration(
            iteration=number,
            stage=stage.name.lower(),
            samples=len(moved.samples),
            energy=float(np.mean(energies)),
            mean_error=error,
            operator_products=sum(each.leaps for each in chains),
            accepted=float(np.mean([each.probabilities for each in chains])),
            residual=self._residual(likelihood, mean),
            seconds=time.monotonic() - started,
        )
        return moved._replace(records=np.vstack([latent.records, _as_numbers(record)]))

    def _sampled(self, latent: Latent, chains: Sequence[Chain], likelihood: Likelihood) -> tuple[Latent, float]:
        """With the skies of the chains and their point sources among the samples, and the error of the samples' mean.

        The first half is dropped where the mean is known better without, for the chains were still on their way.
        """
        skies = np.stack([each.skies for each in chains], axis=1).reshape(-1, *self._field.shape)
        spectra = np.stack([[at.spectrum for at in each.positions] for each in chains], axis=1)
        fluxes = self._fluxes(skies, likelihood, len(latent.records) + 1)
        np.add.at(skies, np.s_[:, *latent.sources.T], fluxes)
        latent = latent._replace(
            samples=np.concatenate([latent.samples, skies]),
            sampled_fluxes=np.concatenate([latent.sampled_fluxes, fluxes]),
            sampled_spectra=np.concatenate([latent.sampled_spectra, spectra.reshape(-1, spectra.shape[-1])]),
        )
        whole = latent.samples.reshape(-1, CHAINS, *self._field.shape)
        later, error = whole[len(whole) // 2 :], mean_error(whole)
        if len(later) >= FEWEST_KEPT and (error_of_later := mean_error(later)) < error:
            return latent.with_last_samples(CHAINS * len(later)), error_of_later
        return latent, error

    def _fluxes(self, skies: NDArray[np.float32], likelihood: Likelihood, number: int) -> NDArray[np.float64]:
        """Of the point sources beside each of some skies, (sky, source), Jy."""
        sources, keys = likelihood.sources, jax.random.split(jax.random.key(self._seed + number), len(skies))
        if not sources.y.size:
            return np.zeros((len(skies), 0))
        dirty = (likelihood.normal(jnp.asarray(each, float) - likelihood.model) for each in skies)
        sigma = float(likelihood.sigma)
        return np.array([sources.draw(each, sigma, key) for each, key in zip(dirty, keys, strict=True)])

    def _masses(self, latent: Latent, likelihood: Likelihood) -> list[Mass]:
        """Of every chain; one for all while they move their spectra."""
        points = coarse_points(latent.mean, float(latent.sigma), self._beam_area)
        positions = latent.positions()
        sources, sigma = likelihood.sources, float(latent.sigma)
        mass = partial(Mass.of, self._field, points=points, psf=self._psf, sources=sources, sigma=sigma)
        if latent.spectra_are_known():
            return [mass(at=each) for each in positions]
        curvatures = [spectral_curvature(self._field, each, likelihood) for each in positions]
        return [mass(at=self._middle(positions), curvature=np.mean(curvatures, axis=0))] * CHAINS

    def _middle(self, positions: Sequence[Position]) -> Position:
        """The mean spectrum, and the mean field."""
        spectrum = jnp.mean(jnp.stack([each.spectrum for each in positions]), axis=0)
        fields = jnp.stack([self._field.amplitude(each.spectrum) * each.excitations for each in positions])
        return Position(jnp.mean(fields, axis=0) / self._field.amplitude(spectrum), spectrum)

    def _trajectories(self, stage: Stage) -> int:
        """Of every chain in an iteration."""
        if stage is not Stage.SAMPLE:
            return TRAJECTORIES
        wanted = -(-self._samples // CHAINS)
        return max(min(TRAJECTORIES_OF_SAMPLES, wanted), -(-wanted // self._most_iterations))

    def _residual(self, likelihood: Likelihood, mean: NDArray[np.floating]) -> float:
        """Of the mean, r.m.s. over the noise."""
        predicted = likelihood.residual - likelihood.operator(jnp.asarray(mean, float) - likelihood.model)
        return float(jnp.sqrt(jnp.mean(predicted**2))) / self._sigma

    def _next(self, latent: Latent) -> Latent:
        """The stage of the next iteration, and its noise."""
        stage, since = Stage(int(latent.stage)), int(latent.since) + 1
        latent, last = latent._replace(since=np.array(since)), since >= self._most_iterations
        if stage is Stage.SAMPLE:
            enough = len(latent.samples) >= self._samples and latent.settled()
            return latent.begun(Stage.FINISHED) if enough or last else latent
        least = float(latent.least_sigma) if stage is Stage.WARM else self._sigma
        if latent.sigma > least:
            return latent.cooled(least)
        if since < SETTLING and not last:
            return latent
        if latent.sigma > self._sigma:
            return latent.begun(Stage.COOL).cooled(self._sigma)
        return latent.begun(Stage.SAMPLE)
