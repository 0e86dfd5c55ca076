"""The regularised maximum likelihood minor cycle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.kernels.channel_operators import ChannelOperators
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator, NormalOperator
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.minor.rml.minimisation import TOLERANCE_PER_BEAM, minimise
from casa_ml_tasks.minor.rml.objective import Objective, parts_of
from casa_ml_tasks.minor.rml.regularisers.registry import NEED_CHANNELS, of_signed_images
from casa_ml_tasks.minor.rml.state import ENDED, SCHEMA, latent_of, point_image, sources_of
from casa_ml_tasks.minor.rml.unresolved import NONE, Sources, Unresolved

#: Iterations of one minor cycle where the user sets no limit.
MOST_ITERATIONS = 400
#: Predicted and actual residual agree when the r.m.s. of their difference is below this fraction of the noise.
AGREEMENT = 0.1

#: Of (channel, stokes): one image, or those of some channels that regularisers couple.
Planes = tuple[int | NDArray[np.integer], int]
#: The likelihood of other data of some planes, around their model, (..., ny, nx), Jy/pixel.
OtherData = Callable[[Planes, NDArray[np.floating]], QuadraticLikelihood]


class RegularisedMaximumLikelihood:
    """Minimises chi^2/2 plus regularisers over the images that the normal operator can predict.

    Every channel and Stokes parameter is an image of its own, several at once, unless a regulariser compares channels.
    Each has converged when the last major cycle found the residual that its minor cycle had predicted at its end.
    """

    schema = SCHEMA

    def __init__(
        self,
        psf: Image,
        sigma: ArrayLike,
        beam_area: ArrayLike,
        regularisers: Sequence[str],
        strengths: Sequence[float],
        positivity: bool | Sequence[bool] | NDArray[np.bool_] = True,
        prior: Image | float = 0.0,
        expected: Image | None = None,
        support: Callable[[], NDArray[np.bool_]] | None = None,
        most_iterations: int = MOST_ITERATIONS,
        niter: int = -1,
        on_progress: Callable[[int, float], None] = lambda iteration, objective: None,
        operator: NormalOperator | None = None,
        unresolved: bool = True,
        other_data: OtherData | None = None,
        tolerance: float = TOLERANCE_PER_BEAM,
        may_end_early: bool = False,
    ):
        """Remember what to minimise.

        Args:
            psf: (channel, stokes, 2 ny, 2 nx), Jy/beam; zero in a plane without data, whose model stays as it is.
            sigma: noise of the dirty image, Jy/beam; a number, or (channel, stokes).
            beam_area: solid angle of the CLEAN beam, pixels; a number, or one for each channel.
            regularisers: names in `REGULARISERS`.
            strengths: one each, dimensionless; 1 follows from the noise.
            positivity: allow non-negative images only; one answer, or one for each Stokes parameter.
            prior: what the entropy prefers to all other images, (channel or 1, stokes or 1, ny, nx), Jy/pixel.
            expected: an image that `l1` and `log_smoothness` judge others by, (channel, stokes, ny, nx), Jy/pixel; NaN
                in planes of which nothing is expected.
            support: asked in every minor cycle where the model may differ from zero, (channel, stokes, ny, nx);
                everywhere by default.
            most_iterations: of one minor cycle and plane.
            niter: of all minor cycles and planes together; -1 for no limit.
            on_progress: called with the iterations of this cycle, all planes, and the objective of one, now and then.
            operator: of every plane, or `ChannelOperators`, where it is not the convolution with the PSF: of a mosaic.
            unresolved: give bright sources between pixels positions of their own, in non-negative images of which each
                is alone and has no operator but its PSF.
            other_data: the likelihood of data that the major cycle does not see, such as a single-dish map.
            tolerance: the end of a minor cycle, as `TOLERANCE_PER_BEAM` has it.
            may_end_early: end the first minor cycle where the residual stays far above the noise, as `minimise` has it.
        """
        channels, stokes, height, width = psf.shape
        images = (channels, stokes, height // 2, width // 2)
        self._psf = psf
        self._only_operator = operator
        self._unresolved = unresolved and operator is None and other_data is None
        self._other_data = other_data
        self._sigma = np.broadcast_to(np.asarray(sigma, float), (channels, stokes))
        self._beam_area = np.broadcast_to(np.asarray(beam_area, float), channels)
        self._support = support or (lambda: np.ones(images, bool))
        self._strengths = tuple(float(strength) for strength in strengths)
        self._regularisers = tuple(regularisers)
        self._positivity = np.broadcast_to(positivity, stokes)
        self._prior = np.broadcast_to(np.asarray(prior, float), images)
        self._expected = None
        if expected is not None:
            nothing = (self._sigma / self._beam_area[:, None])[..., None, None]
            self._expected = np.where(np.isnan(expected), nothing, expected)
        self._most_iterations = most_iterations
        self._niter = niter
        self._tolerance = tolerance
        self._may_end_early = may_end_early
        self._on_progress = on_progress

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Return the model after one minor cycle, and its state.

        Args:
            residual: (channel, stokes, ny, nx), Jy/beam.
            model: whose residual it is, (channel, stokes, ny, nx), Jy/pixel.
            state: from the minor cycle before.
        """
        agrees = self._agrees(residual, state)
        unfinished = self._psf.any(axis=(-2, -1)) & ~agrees
        if not unfinished.any():
            return model, replace(state, converged=True)
        new = model.astype(np.float32)
        predicted = np.array(residual if state.predicted_residual is None else state.predicted_residual, np.float32)
        ended = np.array(agrees)
        points = None
        if "points" in self._regularisers:
            known = None if state.predicted_residual is None else point_image(state)  # None: of other data
            points = np.zeros_like(new) if known is None else np.minimum(known, np.maximum(new, 0))
        count = int(np.count_nonzero(unfinished))
        most = self._iterations_each(state, count)
        to_the_end = not (self._may_end_early and state.predicted_residual is None)
        done, support = Count(self._on_progress), self._support()
        unresolved = {at: sources_of(state.latent, *at) for at in np.ndindex(ended.shape)}

        def image(planes: Planes) -> None:
            alone = None if points is None else points[planes]
            sources = unresolved[planes] if self._has_unresolved(planes) else NONE
            given = Given(residual[planes], model[planes], support[planes], alone, sources, to_the_end)
            found = self._minimum(planes, given, most, done)
            new[planes], predicted[planes], ended[planes] = found.image, found.residual, found.ended
            if points is not None and found.point_image is not None:
                points[planes] = found.point_image
            if self._has_unresolved(planes):
                unresolved[planes] = found.unresolved

        with ThreadPoolExecutor(min(available_cores(), count)) as pool:
            list(pool.map(image, self._independent(unfinished)))
        latent = latent_of(ended, points, unresolved)
        return new, MinorState(state.iterations + done.iterations, predicted, latent=latent)

    @property
    def has_independent_channels(self) -> bool:
        """Whether nothing of a channel depends on another: neither regularisers nor a limit to all iterations."""
        alone = self._only_operator is None and self._other_data is None
        return alone and self._niter < 0 and NEED_CHANNELS.isdisjoint(self._regularisers)

    def support(self) -> NDArray[np.bool_]:
        """Return where the model may differ from zero now, (channel, stokes, ny, nx)."""
        return self._support()

    def of_channels(self, channels: slice) -> RegularisedMaximumLikelihood:
        """Return the minor cycle of some channels, without a support, and silent: it can be sent to another process."""
        own = copy(self)
        for name in ("_psf", "_sigma", "_beam_area", "_prior"):
            setattr(own, name, getattr(self, name)[channels].copy())
        own._expected = None if self._expected is None else self._expected[channels].copy()
        own._support, own._on_progress = _nowhere, _silent
        return own

    def supported_by(self, support: NDArray[np.bool_]) -> RegularisedMaximumLikelihood:
        """Return the same where the model may differ from zero there alone, (channel, stokes, ny, nx)."""
        own = copy(self)
        own._support = lambda: support
        return own

    def _has_unresolved(self, planes: Planes) -> bool:
        """Return whether bright sources between pixels have positions of their own there."""
        alone = np.ndim(planes[0]) == 0 and NEED_CHANNELS.isdisjoint(self._regularisers)
        return self._unresolved and alone and bool(self._positivity[planes[1]])

    def _agrees(self, residual: Image, state: MinorState) -> NDArray[np.bool_]:
        """Return whether each plane has the residual that its ended minor cycle predicted, (channel, stokes)."""
        if state.predicted_residual is None:
            return np.zeros(residual.shape[:2], bool)
        difference = np.asarray(residual - state.predicted_residual)
        return state.latent[ENDED] & (np.sqrt(np.mean(difference**2, axis=(-2, -1))) < AGREEMENT * self._sigma)

    def _independent(self, unfinished: NDArray[np.bool_]) -> list[Planes]:
        if NEED_CHANNELS.isdisjoint(self._regularisers):
            return list(zip(*np.nonzero(unfinished), strict=True))
        return [(np.flatnonzero(each), stokes) for stokes, each in enumerate(unfinished.T) if each.any()]

    def _minimum(self, planes: Planes, given: Given, most: int, done: Count) -> Minimum:
        channels, stokes = planes
        with jax.enable_x64(True):
            shape = (-1, 1, 1) if np.ndim(channels) else ()
            likelihood = QuadraticLikelihood(
                self._operator(planes),
                jnp.asarray(given.residual, jnp.float32),
                jnp.asarray(given.model, jnp.float32),
                jnp.asarray(self._sigma[planes]).reshape(shape),
            )
            beam_area = jnp.asarray(self._beam_area[channels]).reshape(shape)
            names, strengths = self._regularisers_of(stokes)
            joint = likelihood
            if self._other_data is not None:
                joint = likelihood + self._other_data(planes, given.model)
            expected = None if self._expected is None else jnp.asarray(self._expected[planes])
            objective = Objective(joint, beam_area, strengths, names, jnp.asarray(self._prior[planes]), expected)
            if self._has_unresolved(planes):
                return self._beside_sources(objective, self._psf[planes], given, most, done)
            start = given.parts(names, bool(self._positivity[stokes]))
            support = jnp.asarray(given.support)
            parts, ended = minimise(
                objective, support, start, most, done.add, to_the_end=given.to_the_end, tolerance=self._tolerance
            )
            return _minimum_of(objective, likelihood, parts, ended)

    def _beside_sources(
        self, objective: Objective, psf: NDArray[np.floating], given: Given, most: int, done: Count
    ) -> Minimum:
        """Return the minimum for one plane beside bright sources between pixels, if there are any."""
        unresolved = Unresolved(objective, psf, given.support, given.sources)
        given = given.without(unresolved.pixels())
        start = given.parts(objective.regularisers, positivity=True)
        support = jnp.asarray(given.support)
        look, to_the_end = unresolved.look, given.to_the_end
        parts, ended = minimise(unresolved.objective, support, start, most, done.add, look, to_the_end, self._tolerance)
        found = _minimum_of(unresolved.objective, unresolved.objective.likelihood, parts, ended)
        return found.beside(*unresolved.finish(parts))

    def _regularisers_of(self, stokes: int) -> tuple[tuple[str, ...], jax.Array]:
        """Return names and strengths: those given, but for planes that may be negative beside planes that may not."""
        pairs = list(zip(self._regularisers, self._strengths, strict=True))
        if not self._positivity[stokes]:
            pairs = of_signed_images(pairs)
        return tuple(name for name, _ in pairs), jnp.asarray([strength for _, strength in pairs], float)

    def _operator(self, planes: Planes) -> NormalOperator:
        """Return the normal operator, kept between minor cycles if there is one only: many would fill the memory."""
        if isinstance(self._only_operator, ChannelOperators):
            return self._only_operator.of_channels(planes[0])
        if self._only_operator is not None:
            return self._only_operator
        operator = ConvolutionNormalOperator.from_psf(self._psf[planes], np.float32)
        if self._sigma.size == 1:
            self._only_operator = operator
        return operator

    def _iterations_each(self, state: MinorState, planes: int) -> int:
        if self._niter < 0:
            return self._most_iterations
        return min(self._most_iterations, -(-(self._niter - state.iterations) // planes))


class Given(NamedTuple):
    """What one minor cycle begins with for some planes, (..., ny, nx).

    Attributes:
        residual: Jy/beam.
        model: whose residual it is, Jy/pixel.
        support: where the image may differ from zero.
        point_image: what of the model is point sources, Jy/pixel; None where they are no component.
        sources: what of it are sources between pixels.
        to_the_end: as `minimise` has it.
    """

    residual: NDArray[np.floating]
    model: NDArray[np.floating]
    support: NDArray[np.bool_]
    point_image: NDArray[np.floating] | None
    sources: Sources
    to_the_end: bool

    def without(self, sources: NDArray[np.floating]) -> Given:
        """Return the same without the pixels of some sources, (ny, nx), Jy/pixel."""
        points = None if self.point_image is None else np.maximum(self.point_image - sources, 0)
        return self._replace(model=self.model - sources, point_image=points)

    def parts(self, names: Sequence[str], positivity: bool) -> jax.Array:
        """Return the parts to begin with, as `parts_of` has them, with those regularisers."""
        points = self.point_image if "points" in names else None
        return parts_of(np.where(self.support, self.model, 0), positivity, points)


class Minimum(NamedTuple):
    """What one minor cycle finds for some planes, (..., ny, nx).

    Attributes:
        image: Jy/pixel.
        residual: that it should have, Jy/beam.
        ended: whether there is nothing more to gain.
        point_image: what of the image is point sources, Jy/pixel; None where they are no component.
        unresolved: what of it are sources between pixels.
    """

    image: NDArray[np.float32]
    residual: NDArray[np.floating]
    ended: bool
    point_image: NDArray[np.float32] | None = None
    unresolved: Sources = NONE

    def beside(self, sources: Sources, pixels: NDArray[np.floating]) -> Minimum:
        """Return the same with sources between pixels, which have these pixels, (ny, nx), Jy/pixel."""
        pixels = pixels.astype(np.float32)
        points = None if self.point_image is None else self.point_image + pixels
        return self._replace(image=self.image + pixels, point_image=points, unresolved=sources)


def _nowhere() -> NDArray[np.bool_]:
    raise ValueError("a minor cycle of some channels has no support; give it one with supported_by")


def _silent(iterations: int, objective: float) -> None:
    """Tell nobody of the progress."""


def _minimum_of(objective: Objective, visibilities: QuadraticLikelihood, parts: jax.Array, ended: bool) -> Minimum:
    """Return the minimum of an objective, with the residual of the visibilities alone."""
    image, (_, points) = objective.image(parts), objective.components(parts)
    predicted = np.asarray(visibilities.predicted_residual(image))
    return Minimum(np.asarray(image), predicted, ended, np.asarray(points[0]) if len(points) else None)


@dataclass
class Count:
    """Iterations of this minor cycle, counted by all threads."""

    tell: Callable[[int, float], None]
    iterations: int = 0
    _lock: Lock = field(default_factory=Lock)

    def add(self, iterations: int, objective: float) -> None:
        with self._lock:
            self.iterations += iterations
            self.tell(self.iterations, objective)
