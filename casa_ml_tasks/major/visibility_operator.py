"""Visibilities as the image plane sees them: chunks of visibilities in, sums of images out.

Nothing here knows CASA or holds a file, so a `VisibilityOperator` can be sent to another process. Its sums are not
normalised: those of several parts of the data add up to those of all data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import ComparedVisibilities, Fold, Image
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.neighbouring_field import ROTATIONS
from casa_ml_tasks.kernels.pointing_view import Box, View, WholeImage
from casa_ml_tasks.kernels.uv_annuli import ANNULI, annulus_edges, longest_on_grid
from casa_ml_tasks.kernels.uv_split import folds
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.planned_visibilities import DeferredChunk, PlannedChunk
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.weighted_visibilities import WeightedVisibilities, WeightSums, sum_of_squares

Array = NDArray[np.floating]
PLANNED_BYTES = 48  # of a visibility in a chunk with its plan


@dataclass(frozen=True)
class VisibilityOperator:
    r"""All visibilities, or a part of them: images in, sums of gridded visibilities out. Parts add.

    Images are (channel, 1, ny, nx); models in Jy/pixel, sums in Jy/beam times the sum of the imaging weights. The
    visibilities of a pointing k are those of its view of the image, $F_k A_k I$.

    Attributes:
        transform: between the image and visibilities.
        chunks: the visibilities.
        sums: of their weights.
        views: of the image, one for each pointing.
    """

    transform: Transform
    chunks: tuple[PlannedChunk | DeferredChunk, ...]
    sums: WeightSums
    views: tuple[View, ...]

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
        return cls(transform, tuple(chunks), sums, views)

    def __add__(self, other: VisibilityOperator) -> VisibilityOperator:
        return VisibilityOperator(self.transform, self.chunks + other.chunks, self.sums + other.sums, self.views)

    @property
    def plans(self) -> list[MeasurementOperator]:
        """The plans that are kept, which are of the first parts."""
        return [each.operator for each in self.chunks if isinstance(each, PlannedChunk)]

    def power(self, weights: Array | None = None) -> NDArray[np.float64]:
        r"""Return $\sum_k w_k A_k^2$ of each pixel, (channel, 1, ny, nx).

        Args:
            weights: w, (channel, pointing); the sums of the imaging weights by default.
        """
        power, ones = self._zeros(), np.ones(self.transform.shape, np.float32)
        for channel, weights_of_channel in enumerate(self.sums.weights if weights is None else weights):
            for view, weight in zip(self.views, weights_of_channel, strict=True):
                if weight:
                    view.add_adjoint(weight * view.apply(ones, channel), power[channel, 0], channel)
        return power

    def used_weights(self) -> NDArray[np.float64]:
        """Return the sums of the imaging weights of the pointings that have any, (channel, pointing)."""
        return self.sums.weights[:, self.sums.weights.sum(axis=0) > 0]

    def mosaic(self, field: NDArray[np.bool_], sky_units: bool = False, channel: int | None = None) -> Mosaic:
        """Return the pointings as an operator, of all channels with the mean of their beams or of one channel.

        Args:
            field: where there is an image, (ny, nx).
            sky_units: of an image that is not multiplied with the primary beam; else in flat noise.
            channel: its number; all by default.

        Raises:
            ValueError: a view is no box of the image.
        """
        channels = np.flatnonzero(self.sums.weight > 0) if channel is None else np.array([channel])
        psfs, share = self.sums.psf[channels].sum(axis=0), self.sums.weights[channels].sum(axis=0)
        used = np.flatnonzero(share > 0)
        boxes = [view for view in self.views if isinstance(view, Box)]
        if len(boxes) < len(self.views):
            raise ValueError("a mosaic is made of boxes of its image; give each pointing one")
        beams = [np.mean([boxes[k].beams[each] for each in channels], axis=0) for k in used]
        corners = np.array([boxes[k].corner for k in used])
        make = Mosaic.in_sky_units if sky_units else Mosaic.in_flat_noise
        return make(psfs[used] / np.float32(share.sum()), np.stack(beams), corners, field)

    def normalised(self, sums: Array) -> NDArray[np.float64]:
        """Return images over the sum of weights of their channel, Jy/beam; 0 for channels without data."""
        return sums / _or_one(self.sums.weight)[:, None, None, None]

    def psf(self) -> Image:
        """Return the PSF of each pointing without w, (channel, pointing, 2 height, 2 width), Jy/beam.

        Those of a channel are normalised together. Of a single pointing it is on twice the field.
        """
        return self.sums.psf / _or_one(self.sums.weight).astype(np.float32)[:, None, None, None]

    def noise(self) -> NDArray[np.float64]:
        r"""Return the r.m.s. of each dirty image, (channel, 1), Jy/beam: $\sqrt{\sum g^2/w}\,/\sum g$.

        It is infinite for a channel without data.
        """
        return self._over_weight(np.sqrt(self.sums.squares))

    def image_noise(self, error: Callable[[Array], Array], noise_scale: float) -> NDArray[np.float64]:
        r"""Return the r.m.s. of each dirty image, (channel, 1), Jy/beam: $\sqrt{\sum g^2 (s^2/w + c^2)}\,/\sum g$.

        Args:
            error: gives errors c, Jy, at uv distances, wavelengths.
            noise_scale: s, of the weights of thermal noise w.
        """
        squares, at_annulus = np.zeros(self.sums.weight.size), error(self.annulus_radii())
        for each in self._planned_chunks():
            known = each.thermal > 0
            variance = noise_scale**2 / np.where(known, each.thermal, np.inf) + at_annulus[each.annulus] ** 2
            squares[each.channel] += np.sum(each.weight.astype(float) ** 2 * variance)
        return self._over_weight(np.sqrt(squares))

    def annulus_radii(self) -> NDArray[np.float64]:
        """Return the outer radius of each annulus, wavelengths."""
        return annulus_edges(longest_on_grid(self.transform.cell))[1:]

    def residual_sums(self, model: Image) -> NDArray[np.float64]:
        """Return F^H W (d - F model), of all pointings together: the sum of A_k F_k^H W (d - F_k A_k model)."""
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
        """Return the residual in the next field to the North-East, of visibilities beyond a uv distance.

        Args:
            model: whose residual it is.
            innermost: the uv distance, wavelengths.

        Returns:
            The sums; and of the same visibilities the sums of g^2 / w, as `WeightSums.squares`, (channel,).
        """
        sums, squares, radii = self._zeros(), np.zeros(self.sums.weight.size), self.annulus_radii()
        for each in self._planned_chunks():
            weight = np.where(radii[each.annulus] > innermost, each.weight, 0)
            difference = each.data - self._degridded(each, model)
            turned = weight * difference * ROTATIONS[each.turns]
            self._grid(each, turned, sums)
            squares[each.channel] += sum_of_squares(weight, each.nominal)
        return sums, squares

    def uv_distance(self, share: float) -> float:
        """Return the uv distance within which this share of the visibilities lies, wavelengths; 0 for none."""
        counts = sum(np.bincount(each.annulus, minlength=ANNULI) for each in self._planned_chunks())
        inside = np.searchsorted(np.cumsum(counts), share * np.sum(counts), side="right")
        return float(annulus_edges(longest_on_grid(self.transform.cell))[inside])

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

    def compared(self, model: Image) -> Iterator[ComparedVisibilities]:
        """Yield the visibilities of each chunk beside those of the model."""
        for each in self._planned_chunks():
            predicted = self._degridded(each, model)
            yield ComparedVisibilities(each.channel, each.data, predicted, each.nominal, each.thermal, each.annulus)

    def fold_sums(self) -> tuple[Array, Array, Array]:
        """Return, of each fold and of the core, what its dirty image, weight and power are sums of.

        Returns:
            (fold + 1, ny, nx), Jy/beam times weight; (fold + 1,), imaging weights; (fold + 1,), Jy^2 times weight.
        """
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

    def folds(self) -> list[Fold]:
        """Return the folds, and last the core, which may be empty."""
        dirty, weight, power = self.fold_sums()
        total = _or_one(weight)
        return [
            Fold(self.sums.fold_psf[k] / total[k], dirty[k] / total[k], weight[k], power[k] / total[k])
            for k in range(len(weight))
        ]

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

    def _zeros(self) -> NDArray[np.float64]:
        return np.zeros((self.sums.weight.size, 1, *self.transform.shape))

    def _over_weight(self, deviation: Array) -> NDArray[np.float64]:
        total = self.sums.weight
        return np.where(total > 0, deviation / _or_one(total), np.inf)[:, None]


def _or_one(weight: Array) -> Array:
    """Return sums of weights, 1 where there is no data."""
    return np.where(weight > 0, weight, 1)
