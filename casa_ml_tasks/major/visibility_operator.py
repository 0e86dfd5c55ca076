"""Visibilities as the image plane sees them: chunks of visibilities in, sums of images out.

Nothing here knows CASA or holds a file, so a `VisibilityOperator` can be sent to another process. Its sums are not
normalised: those of several parts of the data add up to those of all data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import ComparedVisibilities, Image, Reduced
from casa_ml_tasks.kernels.neighbouring_field import ROTATIONS
from casa_ml_tasks.kernels.pointing_view import View, WholeImage
from casa_ml_tasks.kernels.uv_annuli import ANNULI
from casa_ml_tasks.kernels.uv_split import folds
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.imaged_visibilities import ErrorOfDistance, ImagedVisibilities
from casa_ml_tasks.major.planned_visibilities import DeferredChunk, PlannedChunk
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.weighted_visibilities import WeightedVisibilities, WeightSums, sum_of_squares

Array = NDArray[np.floating]
PLANNED_BYTES = 48  # of a visibility in a chunk with its plan


@dataclass(frozen=True)
class VisibilityOperator(ImagedVisibilities):
    """Visibilities that are in this process. Parts add.

    Attributes:
        chunks: the visibilities.
    """

    chunks: tuple[PlannedChunk | DeferredChunk, ...]

    @classmethod
    def planned(
        cls,
        transform: Transform,
        channels: int,
        parts: Iterable[WeightedVisibilities],
        fold_count: int = 0,
        plans: Sequence[MeasurementOperator] = (),
        views: Sequence[View] = (),
        most_bytes: float = np.inf,
    ) -> VisibilityOperator:
        """Plan visibilities.

        Args:
            transform: between images and visibilities.
            channels: of the images.
            parts: the visibilities, each planned at once.
            fold_count: split the visibilities into so many folds for cross-validation, and the core; 0 does not.
            plans: of the same parts with other weights, to be used again.
            views: of the image, one for each pointing and all of one shape; the whole image by default.
            most_bytes: of plans and what is sorted with them; further parts are planned anew whenever they are needed.

        Raises:
            ValueError: folds of several pointings are asked for.
        """
        views, used = tuple(views) or (WholeImage(transform.shape),), 0
        if fold_count and not isinstance(views[0], WholeImage):
            raise ValueError(f"fold_count={fold_count} splits the visibilities of one pointing; use 0 for a mosaic")
        sums = WeightSums.none(channels, views[0].shape, fold_count, len(views))
        chunks: list[PlannedChunk | DeferredChunk] = []
        for number, part in enumerate(parts):
            view, fold = views[part.pointing], None
            if fold_count:
                fold = folds(part.uvw[:, :2], transform.cell * min(transform.shape), fold_count)
            sums.add(part, transform.of_view(view), fold)
            used += PLANNED_BYTES * part.weight.size
            if used > most_bytes and not fold_count:
                chunks.append(DeferredChunk(part, view, transform))
            else:
                plan = plans[number] if number < len(plans) else None
                chunks.append(PlannedChunk.of(part, view, transform, fold, plan))
        return cls(transform, sums, views, tuple(chunks))

    def __add__(self, other: VisibilityOperator) -> VisibilityOperator:
        return VisibilityOperator(self.transform, self.sums + other.sums, self.views, self.chunks + other.chunks)

    @property
    def plans(self) -> list[MeasurementOperator]:
        """The plans that are kept, which are of the first parts."""
        return [each.operator for each in self.chunks if isinstance(each, PlannedChunk)]

    def noise_squares(self, error: ErrorOfDistance, noise_scale: float) -> NDArray[np.float64]:
        """Return the sums that `image_noise` is made of."""
        squares, at_annulus = np.zeros(self.sums.weight.size), error(self.annulus_radii())
        for each in self._planned_chunks():
            known = each.thermal > 0
            variance = noise_scale**2 / np.where(known, each.thermal, np.inf) + at_annulus[each.annulus] ** 2
            squares[each.channel] += np.sum(each.weight.astype(float) ** 2 * variance)
        return squares

    def residual_sums(self, model: Image) -> NDArray[np.float64]:
        """Return F^H W (d - F model), of all pointings together."""
        sums, images = self._zeros(), model[:, 0].astype(np.float32)
        for each in self._planned_chunks():
            seen = each.view.apply(images[each.channel], each.channel)
            _, gradient = each.operator.gradient(seen, each.data, each.weight)
            each.view.add_adjoint(-gradient, sums[each.channel, 0], each.channel)
        return sums

    def dirty_sums(self, visibilities: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """Return F^H W of visibilities, (n,), Jy, in the order in which the data were given: `residual_sums` of these.

        It is the adjoint of `predicted` times the imaging weights.
        """
        sums, first = self._zeros(), 0
        for each in self._planned_chunks():
            part = visibilities[first : first + each.data.size]
            first += each.data.size
            part = each.operator.sort(part if each.phase is None else part * each.phase.conj())
            self._grid(each, each.weight * part, sums)
        return sums

    def sums_beside(self, model: Image, innermost: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the residual in the next field to the North-East, of visibilities beyond a uv distance."""
        sums, squares, radii = self._zeros(), np.zeros(self.sums.weight.size), self.annulus_radii()
        for each in self._planned_chunks():
            weight = np.where(radii[each.annulus] > innermost, each.weight, 0)
            difference = each.data - self._degridded(each, model)
            turned = weight * difference * ROTATIONS[each.turns]
            self._grid(each, turned, sums)
            squares[each.channel] += sum_of_squares(weight, each.nominal)
        return sums, squares

    def counts(self) -> NDArray[np.integer]:
        """Return how many visibilities there are in each annulus, (annulus,)."""
        counts = np.zeros(ANNULI, int)
        for each in self._planned_chunks():
            counts += np.bincount(each.annulus, minlength=ANNULI)
        return counts

    def noise_sums(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return gridded random visibilities: nothing but the noise that natural weights claim."""
        sums = self._zeros()
        for each in self._planned_chunks():
            size = each.data.shape
            visibilities = generator.normal(size=size) + 1j * generator.normal(size=size)
            self._grid(each, np.sqrt(each.weight) * visibilities, sums)
        return sums

    def predicted(self, model: Image) -> NDArray[np.complexfloating]:
        """Return the visibilities of a model of the continuum, (n,), Jy, in the order in which they were given."""

        def restored(each: PlannedChunk) -> NDArray[np.complexfloating]:
            visibilities = each.operator.restore(self._degridded(each, model))
            return visibilities if each.phase is None else visibilities * each.phase

        return np.concatenate([restored(each) for each in self._planned_chunks()])

    def reduced(self, model: Image, reduce: Callable[[Iterable[ComparedVisibilities]], Reduced]) -> list[Reduced]:
        """Return what a function makes of the visibilities beside those of a model; there is one part."""

        def compared(each: PlannedChunk) -> ComparedVisibilities:
            predicted = self._degridded(each, model)
            return ComparedVisibilities(each.channel, each.data, predicted, each.nominal, each.thermal, each.annulus)

        return [reduce(compared(each) for each in self._planned_chunks())]

    def fold_sums(self) -> tuple[Array, Array, Array]:
        """Return, of each fold and of the core, what its dirty image, weight and power are sums of."""
        count = len(self.sums.fold_psf)
        dirty, power, weight = np.zeros((count, *self.transform.shape)), np.zeros(count), np.zeros(count)
        for each in self._planned_chunks():
            assert each.fold is not None, "folds were asked for"
            weighted = each.weight * each.data
            weight += np.bincount(each.fold, each.weight, count)
            power += np.bincount(each.fold, each.weight * np.abs(each.data) ** 2, count)
            for number in np.unique(each.fold):
                dirty[number] += each.operator.grid(np.where(each.fold == number, weighted, 0))
        return dirty, weight, power

    def _planned_chunks(self) -> Iterator[PlannedChunk]:
        return (each.planned() for each in self.chunks)

    def _degridded(self, chunk: PlannedChunk, model: Image) -> NDArray[np.complexfloating]:
        """Return the visibilities of a model over the phase of the view, in the order of the plan."""
        image = model[chunk.channel, 0].astype(np.float32)
        return chunk.operator.degrid(chunk.view.apply(image, chunk.channel))

    def _grid(self, chunk: PlannedChunk, visibilities: NDArray[np.complexfloating], sums: Array) -> None:
        """Add what weighted visibilities, in the order of the plan, give to images, in place."""
        gridded = chunk.operator.grid(visibilities.astype(chunk.data.dtype))
        chunk.view.add_adjoint(gridded, sums[chunk.channel, 0], chunk.channel)
