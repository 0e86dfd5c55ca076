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
from casa_ml_tasks.kernels.neighbouring_field import ROTATIONS
from casa_ml_tasks.kernels.uv_annuli import ANNULI, annulus_edges, longest_on_grid
from casa_ml_tasks.kernels.uv_split import folds
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.planned_visibilities import (
    PlannedChunk,
    Transform,
    WeightedVisibilities,
    WeightSums,
    sum_of_squares,
)

Array = NDArray[np.floating]


@dataclass(frozen=True)
class VisibilityOperator:
    """All visibilities, or a part of them: images in, sums of gridded visibilities out. Parts add.

    Images are (channel, 1, ny, nx); models in Jy/pixel, sums in Jy/beam times the sum of the imaging weights.
    """

    transform: Transform
    chunks: tuple[PlannedChunk, ...]
    sums: WeightSums

    @classmethod
    def planned(
        cls,
        transform: Transform,
        channels: int,
        parts: Iterable[WeightedVisibilities],
        fold_count: int = 0,
        plans: Sequence[MeasurementOperator] = (),
    ) -> VisibilityOperator:
        """Plan visibilities.

        Args:
            transform: between images and visibilities.
            channels: of the images.
            parts: the visibilities, each planned at once.
            fold_count: split the visibilities into so many folds for cross-validation, and the core; 0 does not.
            plans: of the same parts with other weights, to be used again.
        """
        sums, chunks = WeightSums.none(channels, transform.shape, fold_count), []
        for number, part in enumerate(parts):
            fold = None
            if fold_count:
                fold = folds(part.uvw[:, :2], transform.cell * min(transform.shape), fold_count)
            sums.add(part, transform, fold)
            plan = plans[number] if plans else transform.plan(part.uvw)
            chunks.append(PlannedChunk.of(part, plan, transform, fold))
        return cls(transform, tuple(chunks), sums)

    def __add__(self, other: VisibilityOperator) -> VisibilityOperator:
        return VisibilityOperator(self.transform, self.chunks + other.chunks, self.sums + other.sums)

    @property
    def plans(self) -> list[MeasurementOperator]:
        """The plan of each chunk."""
        return [each.operator for each in self.chunks]

    def normalised(self, sums: Array) -> NDArray[np.float64]:
        """Return images over the sum of weights of their channel, Jy/beam; 0 for channels without data."""
        return sums / _or_one(self.sums.weight)[:, None, None, None]

    def psf(self) -> Image:
        """Return the PSF on twice the field, without w, (channel, 1, 2 ny, 2 nx), Jy/beam."""
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
        for each in self.chunks:
            known = each.thermal > 0
            variance = noise_scale**2 / np.where(known, each.thermal, np.inf) + at_annulus[each.annulus] ** 2
            squares[each.channel] += np.sum(each.weight.astype(float) ** 2 * variance)
        return self._over_weight(np.sqrt(squares))

    def annulus_radii(self) -> NDArray[np.float64]:
        """Return the outer radius of each annulus, wavelengths."""
        return annulus_edges(longest_on_grid(self.transform.cell))[1:]

    def residual_sums(self, model: Image) -> NDArray[np.float64]:
        """Return F^H W (d - F model)."""
        sums, images = self._zeros(), model[:, 0].astype(np.float32)
        for each in self.chunks:
            _, gradient = each.operator.gradient(images[each.channel], each.data, each.weight)
            sums[each.channel, 0] -= gradient
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
        for each, seen in zip(self.chunks, self.compared(model), strict=True):
            weight = np.where(radii[each.annulus] > innermost, each.weight, 0)
            turned = weight * (seen.data - seen.model) * ROTATIONS[each.turns]
            sums[each.channel, 0] += each.operator.grid(turned.astype(seen.model.dtype))
            squares[each.channel] += sum_of_squares(weight, each.nominal)
        return sums, squares

    def uv_distance(self, share: float) -> float:
        """Return the uv distance within which this share of the visibilities lies, wavelengths; 0 for none."""
        counts = sum(np.bincount(each.annulus, minlength=ANNULI) for each in self.chunks)
        inside = np.searchsorted(np.cumsum(counts), share * np.sum(counts), side="right")
        return float(annulus_edges(longest_on_grid(self.transform.cell))[inside])

    def noise_sums(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return gridded random visibilities: nothing but the noise that natural weights claim."""
        sums = self._zeros()
        for each in self.chunks:
            size = each.data.shape
            visibilities = generator.normal(size=size) + 1j * generator.normal(size=size)
            sums[each.channel, 0] += each.operator.grid((np.sqrt(each.weight) * visibilities).astype(each.data.dtype))
        return sums

    def predicted(self, model: Image) -> NDArray[np.complexfloating]:
        """Return the visibilities of a model of the continuum, (n,), Jy, in the order in which they were given."""
        image = model[0, 0].astype(np.float32)
        return np.concatenate([each.operator.restore(each.operator.degrid(image)) for each in self.chunks])

    def compared(self, model: Image) -> Iterator[ComparedVisibilities]:
        """Yield the visibilities of each chunk beside those of the model."""
        images = model[:, 0].astype(np.float32)
        for each in self.chunks:
            predicted = each.operator.degrid(images[each.channel])
            yield ComparedVisibilities(each.channel, each.data, predicted, each.nominal, each.thermal, each.annulus)

    def fold_sums(self) -> tuple[Array, Array, Array]:
        """Return, of each fold and of the core, what its dirty image, weight and power are sums of.

        Returns:
            (fold + 1, ny, nx), Jy/beam times weight; (fold + 1,), imaging weights; (fold + 1,), Jy^2 times weight.
        """
        count = len(self.sums.fold_psf)
        dirty, power, weight = np.zeros((count, *self.transform.shape)), np.zeros(count), np.zeros(count)
        for each in self.chunks:
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

    def _zeros(self) -> NDArray[np.float64]:
        return np.zeros((self.sums.weight.size, 1, *self.transform.shape))

    def _over_weight(self, deviation: Array) -> NDArray[np.float64]:
        total = self.sums.weight
        return np.where(total > 0, deviation / _or_one(total), np.inf)[:, None]


def _or_one(weight: Array) -> Array:
    """Return sums of weights, 1 where there is no data."""
    return np.where(weight > 0, weight, 1)
