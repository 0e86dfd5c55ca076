"""Bayesian imaging as a minor cycle: samples of the skies that the data and a log-normal prior allow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.resolve import spectrum as power_spectrum
from casa_ml_tasks.minor.resolve.beginning import fainter, position_of
from casa_ml_tasks.minor.resolve.centring import Centring
from casa_ml_tasks.minor.resolve.chains import Chain, follow, mean_error, mean_errors, stragglers, without_stragglers
from casa_ml_tasks.minor.resolve.coarse_brightness import CoarseBrightness
from casa_ml_tasks.minor.resolve.coarse_likelihood import Points, agreement, coarse_points, width_of
from casa_ml_tasks.minor.resolve.composition import Composition, continuum
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, Prior
from casa_ml_tasks.minor.resolve.energy import Likelihood, spectral_curvature
from casa_ml_tasks.minor.resolve.hamiltonian import FIRST_STEP, better_step
from casa_ml_tasks.minor.resolve.latent import ENOUGH, SCHEMA, SETTLED, Latent, Stage, as_numbers
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.point_sources import PointSources, standing_out
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior, PowerSpectrum
from casa_ml_tasks.minor.resolve.response import Response
from casa_ml_tasks.minor.rml.minor_cycle import AGREEMENT, RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.state import point_image, sources_of
from casa_ml_tasks.quantities import angle

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
T = TypeVar("T")
NO_SOURCES = np.zeros((0, 2))
MOST_ITERATIONS = 6  # with samples
FEWEST_KEPT = 12  # of a chain


class Resolve:
    """Samples the posterior of images of total intensity: of one, of channels, or of Taylor terms.

    The sky is made of exponentials of correlated fields, whose power spectra are as unknown as they. Chains of
    Hamiltonian Monte Carlo (`hamiltonian`) begin at the regularised maximum likelihood image, move sky and spectra
    together until they have forgotten it, and are then samples of the posterior, without any approximation of its
    shape.

    One call of `update` is one global iteration, some trajectories of every chain, so that a killed run loses no more.
    """

    schema = SCHEMA

    def __init__(
        self,
        psf: Image,
        sigma: ArrayLike,
        beam_area: ArrayLike,
        cell: float,
        compose: Callable[[Prior], Composition] = continuum,
        prior: Mapping[str, Any] | None = None,
        samples: int = 0,
        sources: NDArray[np.floating] | None = NO_SOURCES,
        most_iterations: int = MOST_ITERATIONS,
        seed: int = 42,
        on_iteration: Callable[[GlobalIteration], None] = lambda step: None,
        mosaic: Mosaic | None = None,
    ):
        """Remember what to infer from.

        Args:
            psf: (channel or 2 terms - 1, 1, 2 ny, 2 nx), Jy/beam, in natural weighting.
            sigma: noise of the dirty images, Jy/beam; a number, or (channel, 1), infinite where there are no data.
            beam_area: solid angle of the CLEAN beam, pixels; a number, or one for each channel.
            cell: size of a pixel, arcsec.
            compose: what the sky is composed of, with this prior of its brightness.
            prior: fields of `Prior` that are not to be set from the data.
            samples: of the posterior, at least; 0 for the usual.
            sources: places y, x of point sources, pixels, (source, 2); None to find them. Beside one image only, where
                bright ones between pixels are found in any case.
            most_iterations: global ones with samples.
            seed: of all that is drawn.
            on_iteration: told of every global iteration.
            mosaic: of several pointings, with its psf in every channel.
        """
        self._sigma = np.ravel(sigma).astype(float)
        self._beam_areas = np.ravel(beam_area).astype(float)
        self._beam_area = float(np.median(self._beam_areas))
        self._cell = cell
        noise = float(np.median(self._sigma[np.isfinite(self._sigma)])) / self._beam_area
        self._empty = float(np.log(OFFSET * noise))
        self._composition = compose(Prior(self._empty)._replace(**(prior or {})))
        self._response = Response(psf[:, 0], self._sigma, self._composition.synthesis, mosaic)
        self._samples = samples or SAMPLES
        self._sources = sources
        self._most_iterations = most_iterations
        self._seed = seed
        self._on_iteration = on_iteration
        self._mass_and_scale: tuple[Mass, NDArray[np.float64]] | None = None

    @cached_property
    def _sky(self) -> LogNormalSky:
        with jax.enable_x64(True):
            return LogNormalSky.of(self._response.shape, self._composition)

    @cached_property
    def _operators(self) -> tuple[NormalOperator, NormalOperator]:
        """The normal operator, and the same in single precision."""
        with jax.enable_x64(True):
            return self._response.normal(), self._response.normal(np.float32)

    @cached_property
    def _finest(self) -> float:
        """Of what the data see, cycles per pixel."""
        return self._response.finest()

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """One global iteration. residual: Jy/beam, model: Jy/pixel, (channel or term, 1, ny, nx) both.

        Raises:
            ValueError: what the data show is negative.
            FloatingPointError: the energy is not a number.
        """
        if self._agrees(residual, state):
            return model, replace(state, converged=True)
        with jax.enable_x64(True):
            latent = self._latent(state) or self._begin(residual, model, state)
            sources = self._response.point_sources(latent.sources, residual[0, 0])
            likelihood = Likelihood(
                *self._operators,
                residual=sources.without(jnp.asarray(residual[:, 0], float)),
                model=jnp.asarray(model[:, 0], float),
                sigma=jnp.asarray(float(latent.heat) * self._sigma)[:, None, None],
                sources=sources,
            )
            latent = self._next(self._iterate(latent, likelihood))
            self._on_iteration(record := latent.iterations()[-1])
            iterations = state.iterations + record.operator_products
            if latent.stage != Stage.FINISHED:
                return model, MinorState(iterations, latent=latent._asdict(), unfinished=True)
            mean = self._images(latent).mean(axis=0, dtype=float)
            predicted = residual[:, 0] - np.asarray(likelihood.normal(jnp.asarray(mean - model[:, 0])))
        after = MinorState(iterations, predicted[:, None].astype(np.float32), latent=latent._asdict())
        return mean[:, None].astype(np.float32), after

    def sketch(self) -> RegularisedMaximumLikelihood:
        """Regularised maximum likelihood of the same channels, or of the first Taylor term, which takes seconds."""
        with_points = self._sources is None or self._composition.of_points.any()
        names = ["l1", "log_smoothness", *(["points"] if with_points else [])]
        channels = len(self._sigma)
        is_one_image = len(self._composition.synthesis) == 1
        return RegularisedMaximumLikelihood(
            self._response.psfs[:channels, None],
            self._sigma[:, None],
            self._beam_areas,
            names,
            [1.0] * len(names),
            positivity=not self._composition.is_signed,
            support=lambda: np.broadcast_to(self._response.seen(), (channels, 1, *self._response.shape)),
            operator=self._operators[1] if self._response.mosaic is not None else None,
            unresolved=is_one_image,
        )

    def posterior(self, state: MinorState) -> Posterior:
        """What is known in this state."""
        latent, brightness = Latent.of(state.latent), self._sky.sets[0]
        assert isinstance(brightness, CorrelatedField), "of any composition"
        with jax.enable_x64(True):
            spectra = latent.sampled_spectra[:, : brightness.parameters]
            amplitudes = np.exp(jax.jit(jax.vmap(brightness.log_amplitude_of_bins))(spectra))[:, 1:]
        area = self._sky.shape[0] * self._sky.shape[1] * self._cell**2
        spectrum = PowerSpectrum(self._sky.modes.frequency[1:] / self._cell, amplitudes**2 * area)
        images, seen = self._images(latent), latent.samples * self._response.seen()
        points = self._points(latent).mean(axis=0)[None, None] if len(latent.sources) else None
        return Posterior(
            images[:, :, None],
            spectrum,
            latent.iterations(),
            self._problem(latent),
            points,
            {name: of_planes(seen)[:, :, None] for name, of_planes in self._composition.components.items()},
        )

    def _problem(self, latent: Latent) -> str:
        """What has not converged and what helps, in one sentence; empty where nothing is wrong."""
        if latent.settled():
            return ""
        helps = f"maxglobal={2 * self._most_iterations} goes on for twice as long"
        if not latent.settled(np.inf):
            return f"a chain does not move, or is caught where its energy is far above that of others; {helps}"
        errors = np.array(mean_errors(latent.samples.reshape(-1, CHAINS, *latent.samples.shape[1:])))
        size = self._cell * 2 ** int(np.argmax(errors >= SETTLED))
        return (
            f"the mean flux of regions of {angle(size)} or more is uncertain by {errors.max():.2g} of its error bar, "
            f"so error bars of such regions are too small; {helps}"
        )

    def _images(self, latent: Latent) -> NDArray[np.float32]:
        """Of the samples, (sample, channel or term, ny, nx), Jy/pixel."""
        images = np.einsum("cp,spyx->scyx", self._composition.synthesis.astype(np.float32), latent.samples)
        images[:, 0] += self._points(latent)
        images *= self._response.seen()
        return images

    def _points(self, latent: Latent) -> NDArray[np.float32]:
        """Point sources of the samples, (sample, ny, nx), Jy/pixel."""
        places, shape = self._response.rendering(latent.sources), self._sky.shape
        images = [places.image(fluxes, shape) for fluxes in latent.sampled_fluxes]
        return np.array(images, np.float32).reshape(-1, *shape)

    def _latent(self, state: MinorState) -> Latent | None:
        """What the last iteration left; None where there is nothing, or another noise asks for a new beginning."""
        if state.unfinished:
            return Latent.of(state.latent)
        if state.predicted_residual is None:
            return None
        return Latent.of(state.latent).without_samples().begun(Stage.WARM)

    def _in_noise(self, images: NDArray[np.floating]) -> NDArray[np.floating]:
        """images: (channel or term, 1, ny, nx), Jy/beam. Returns them over the noise, (channel or 1, ny, nx)."""
        return images[: len(self._sigma), 0] / self._sigma[:, None, None]

    def _agrees(self, residual: Image, state: MinorState) -> bool:
        """Whether the samples are done and the major cycle found the residual of their mean that they predicted."""
        if state.unfinished or state.predicted_residual is None:
            return False
        return float(np.std(self._in_noise(residual - state.predicted_residual))) < AGREEMENT

    def _begin(self, residual: Image, model: Image, state: MinorState) -> Latent:
        """From the regularised maximum likelihood image, and the spectrum of its logarithm."""
        dirty = jnp.asarray(residual[:, 0], float) + self._operators[0](jnp.asarray(model[:, 0], float))
        in_noise = self._in_noise(np.asarray(dirty)[:, None])
        if not self._composition.is_signed and -in_noise.min() > max(in_noise.max(), SIGNAL):
            raise ValueError(
                f"the dirty image is more negative ({dirty.min():.3g} Jy/beam) than positive "
                f"({dirty.max():.3g} Jy/beam), which no positive sky explains; use components=['absorption'], which "
                "infers a negative component of one image as well"
            )
        planes, places = self._first_planes(residual, model, state)
        sources = self._response.point_sources(places, residual[0, 0])
        heat = max(1.0, self._peak(dirty, planes, sources) / HOTTEST)
        noise = self._response.noise_of_planes()[:, None, None] / self._beam_area
        darkest = np.where(self._composition.of_points, -np.inf, self._empty)[:, None, None]
        position = position_of(self._sky, planes, noise, self._beam_area, darkest)
        mass = Mass.of(self._sky, position, self._points_of(planes, heat), self._heated(heat), sources)
        chains = [fainter(self._sky, position, mass, mass.noise(self._generator(0, which))) for which in range(CHAINS)]
        excitations, spectra = (np.stack(each) for each in zip(*chains, strict=True))
        return Latent(
            excitations=excitations,
            spectra=spectra,
            warm_excitations=excitations,
            warm_spectra=spectra,
            steps=np.full(CHAINS, FIRST_STEP),
            heat=np.array(heat),
            mean=planes.astype(float),
            sources=places,
            samples=np.zeros((0, *planes.shape), np.float32),
            sampled_fluxes=np.zeros((0, len(places))),
            sampled_spectra=np.zeros((0, self._sky.parameters)),
            records=state.latent.get("records", np.zeros((0, len(GlobalIteration.__dataclass_fields__)))),
            stage=np.array(Stage.WARM),
            since=np.array(0),
        )

    def _peak(self, dirty: jax.Array, planes: NDArray[np.floating], sources: PointSources) -> float:
        """Of a dirty image without point sources, over the noise.

        dirty: (channel or term, ny, nx), Jy/beam; planes: of its image, (plane, ny, nx), Jy/pixel.
        """
        points = self._sky.images(jnp.where(self._composition.of_points[:, None, None], planes, 0.0))
        left = sources.without(dirty - self._operators[0](points))
        return float(np.abs(self._in_noise(np.asarray(left)[:, None])).max())

    def _first_planes(
        self, residual: Image, model: Image, state: MinorState
    ) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
        """By regularised maximum likelihood: all but the point sources, (plane, ny, nx), Jy/pixel; places of these."""
        some = np.s_[: len(self._sigma)]  # of Taylor terms the first
        before = MinorState(latent=state.latent)
        found, state = self.sketch().update(residual[some], model[some], before)
        images, places = found[:, 0].astype(float), NO_SOURCES if self._sources is None else self._sources
        unresolved = sources_of(state.latent, 0, 0)
        rendered = self._response.rendering(unresolved.places()).image(unresolved.flux, self._response.shape)
        images[0] -= rendered
        of_points = point_image(state)
        if of_points is not None:
            points = np.maximum(of_points[:, 0] - rendered, 0)
            if self._composition.of_points.any():
                images = np.concatenate([images - points, points])
            else:
                pixels = standing_out(points[0], float(self._sigma[0]), self._beam_area)
                images[0, *pixels.T] -= points[0, *pixels.T]
                places = pixels.astype(float)
        return self._composition.divide(images), self._with_unresolved(np.asarray(places, float), unresolved.places())

    def _with_unresolved(self, places: NDArray[np.float64], unresolved: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places of sources, (source, 2), and those of found ones that are not within a beam of them."""
        distances = np.linalg.norm(unresolved[:, None] - places, axis=-1).min(axis=1, initial=np.inf)
        return np.concatenate([places, unresolved[distances > width_of(self._beam_area)]])

    def _points_of(self, planes: NDArray[np.floating], heat: float) -> Points:
        return coarse_points(planes, heat * self._response.noise_of_planes(), self._beam_area)

    def _heated(self, heat: float) -> Response:
        """With that much more noise."""
        return self._response._replace(sigma=heat * self._sigma)

    def _iterate(self, latent: Latent, likelihood: Likelihood) -> Latent:
        """Some trajectories of every chain.

        Raises:
            FloatingPointError: the energy is not a number.
        """
        started, stage, number = time.monotonic(), Stage(int(latent.stage)), len(latent.records) + 1
        positions, keeps = latent.positions(), stage is Stage.SAMPLE
        if self._mass_and_scale is None or not len(latent.samples):
            middle = jnp.asarray(latent.warm_spectra.mean(axis=0))
            self._mass_and_scale = self._mass_of(latent, likelihood), power_spectrum.scale_of(self._sky, middle)
        mass, scale = self._mass_and_scale
        fluxes = self._fluxes(latent, likelihood) if keeps and len(latent.sources) else np.zeros((CHAINS, 0))

        def chain(which: int) -> Chain:
            count, generator = self._trajectories(stage), self._generator(number, which)
            at, step, of_sources = positions[which], float(latent.steps[which]), fluxes[which]
            whole = follow(self._sky, at, count, generator, likelihood, mass, scale, step, not keeps, of_sources)
            return whole if keeps else whole.late()

        followed = _of_each_chain(chain)
        energies = [each.energy for each in followed]
        if not np.isfinite(energies).all():
            raise FloatingPointError(
                f"the energy is {energies[0]}, because the visibilities, their weights or the model hold what is no "
                "number; flag them and call again: the last good state is kept"
            )
        chains = followed if keeps else without_stragglers(followed)
        planes = np.stack([each.planes for each in chains], axis=1)  # (trajectory, chain, plane, ny, nx)
        mean = planes.mean(axis=(0, 1), dtype=float)
        moved = latent._replace(
            excitations=np.stack([each.positions[-1].excitations for each in chains]),
            spectra=np.stack([each.positions[-1].spectrum for each in chains]),
            steps=np.array([_next_step(each) if keeps else each.typical_step() for each in chains]),
        )
        moved, error = self._sampled(moved, chains, planes) if keeps else (moved.warmed(mean), mean_error(planes))
        if stragglers(followed).any():
            error = float("inf")
        record = GlobalIteration(
            iteration=number,
            stage=stage.name.lower(),
            samples=len(moved.samples),
            energy=float(np.mean(energies)),
            mean_error=error,
            operator_products=sum(each.leaps for each in followed),
            accepted=float(np.mean([each.probabilities for each in followed])),
            residual=self._residual(likelihood, mean),
            seconds=time.monotonic() - started,
        )
        return moved._replace(records=np.vstack([latent.records, as_numbers(record)]))

    def _sampled(self, latent: Latent, chains: Sequence[Chain], planes: NDArray[np.float32]) -> tuple[Latent, float]:
        """With the skies of the chains and their point sources among the samples, and the error of the samples' mean.

        The first half is dropped where the mean is known better without, for the chains were still on their way.

        planes: of the chains, (trajectory, chain, plane, ny, nx), Jy/pixel.
        """
        each_chain = planes.shape[1:]
        planes = planes.reshape(-1, *planes.shape[2:])
        spectra = np.stack([[at.spectrum for at in each.positions] for each in chains], axis=1)
        fluxes = np.stack([each.fluxes for each in chains], axis=1)
        latent = latent._replace(
            samples=np.concatenate([latent.samples, planes]),
            sampled_fluxes=np.concatenate([latent.sampled_fluxes, fluxes.reshape(len(planes), fluxes.shape[-1])]),
            sampled_spectra=np.concatenate([latent.sampled_spectra, spectra.reshape(-1, spectra.shape[-1])]),
        )
        whole = latent.samples.reshape(-1, *each_chain)
        later, error = whole[len(whole) // 2 :], mean_error(whole)
        if len(later) >= FEWEST_KEPT and (error_of_later := mean_error(later)) < error:
            return latent.with_last_samples(CHAINS * len(later)), error_of_later
        return latent, error

    def _fluxes(self, latent: Latent, likelihood: Likelihood) -> NDArray[np.float64]:
        """Of the point sources with which each chain goes on, (chain, source), Jy."""
        if len(latent.samples):
            return latent.sampled_fluxes[-CHAINS:]
        skies, generator = [self._sky(each) for each in latent.positions()], self._generator(0, CHAINS)
        fluxes = [likelihood.draw_fluxes(each, generator) for each in skies]
        return np.maximum(fluxes, np.ravel(likelihood.sigma)[0])  # negative ones have no probability

    def _generator(self, iteration: int, chain: int) -> np.random.Generator:
        """Of random numbers; in iteration 0 those to begin with."""
        return np.random.default_rng([self._seed, iteration, chain])

    def _mass_of(self, latent: Latent, likelihood: Likelihood) -> Mass:
        """Of all chains. In their spectra the curvature is the mean: with that of one chain others may get stuck."""
        heat, positions = float(latent.heat), latent.warm_positions()

        def curvature(centring: Centring) -> NDArray[np.floating]:
            def of_chain(which: int) -> jax.Array:
                return spectral_curvature(self._sky, positions[which], likelihood, centring)

            return np.mean(_of_each_chain(of_chain), axis=0)

        skies = np.array([self._sky.planes(each) for each in positions])
        agreed = latent.mean * agreement(skies, self._beam_area)
        middle, points, response = self._middle(positions), self._points_of(agreed, heat), self._heated(heat)
        noise = response.noise_of_planes() / self._beam_area
        brightness = CoarseBrightness.of(self._sky, latent.mean, noise, self._finest)
        return Mass.of(self._sky, middle, points, response, likelihood.sources, curvature, brightness)

    def _middle(self, positions: Sequence[Position]) -> Position:
        """The mean spectra, and the mean fields."""
        spectrum = np.mean([each.spectrum for each in positions], axis=0)
        fields = [np.asarray(self._sky.amplitude(each.spectrum)) * each.excitations for each in positions]
        return Position(np.mean(fields, axis=0) / self._sky.amplitude(spectrum), jnp.asarray(spectrum))

    def _trajectories(self, stage: Stage) -> int:
        """Of every chain in an iteration."""
        if stage is not Stage.SAMPLE:
            return TRAJECTORIES
        wanted = -(-self._samples // CHAINS)
        return max(min(TRAJECTORIES_OF_SAMPLES, wanted), -(-wanted // self._most_iterations))

    def _residual(self, likelihood: Likelihood, mean: NDArray[np.floating]) -> float:
        """Of the mean planes where the data see the sky, r.m.s. over the noise."""
        left = np.asarray(likelihood.exact.predicted_residual(self._sky.images(jnp.asarray(mean))))
        in_noise = self._in_noise(left[:, None])[..., self._response.seen()]
        return float(np.sqrt(np.mean(in_noise**2)))

    def _next(self, latent: Latent) -> Latent:
        """The stage of the next iteration, and its noise."""
        if latent.stage == Stage.WARM and latent.heat > 1:
            return latent.cooled()
        latent = latent._replace(since=latent.since + 1)
        last = latent.since >= self._most_iterations
        if latent.stage == Stage.WARM:  # until all chains kept up
            return latent.begun(Stage.SAMPLE) if last or latent.settled(np.inf) else latent
        enough = len(latent.samples) >= self._samples and latent.settled(ENOUGH)
        return latent.begun(Stage.FINISHED) if last or enough else latent


def _of_each_chain(function: Callable[[int], T]) -> list[T]:
    """What a function makes of the number of each chain, in threads."""

    def precisely(which: int) -> T:
        with jax.enable_x64(True):
            return jax.block_until_ready(function(which))  # in this thread, or they wait for one another

    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(precisely, range(CHAINS)))


def _next_step(chain: Chain) -> float:
    """Of a chain whose steps do not change with every trajectory."""
    return better_step(chain.typical_step(), float(np.mean(chain.probabilities)))
