"""The visibilities of an image on many workers: images in, sums over all parts out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import ComparedVisibilities, Image, Reduced
from casa_ml_tasks.kernels.pointing_view import Box, WholeImage
from casa_ml_tasks.major.imaged_visibilities import Array, ErrorOfDistance, ImagedVisibilities
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.major.weighted_visibilities import WeightSums
from casa_ml_tasks.parallel.arguments import ByChannel
from casa_ml_tasks.parallel.part import ask_part, noise_of_part, plan_part, reduce_part
from casa_ml_tasks.parallel.workers import PartsOnWorkers


@dataclass(frozen=True)
class DistributedVisibilities(ImagedVisibilities):
    """Visibilities that workers hold, in parts of rows, whose sums add, or of channels.

    Attributes:
        parts: of the visibilities.
    """

    parts: PartsOnWorkers

    @classmethod
    def weighted(cls, transform: Transform, parts: PartsOnWorkers) -> DistributedVisibilities:
        """Plan all parts of one pointing. parts: that have been counted."""
        return cls(transform, parts.answer(plan_part, parts.density), (WholeImage(transform.shape),), parts)

    @classmethod
    def of_mosaic(
        cls,
        transform: Transform,
        parts: PartsOnWorkers,
        views: Sequence[Box],
        numbers: Sequence[NDArray[np.integer]],
    ) -> DistributedVisibilities:
        """Plan all parts of a mosaic.

        Args:
            transform: between the image and visibilities.
            parts: that have been counted.
            views: of the image, one for each pointing.
            numbers: of the views that each part has, in its order.
        """
        sums = WeightSums.of_pointings(parts.gathered(plan_part, parts.density), numbers, len(views))
        return cls(transform, sums, tuple(views), parts)

    def residual_sums(self, model: Image) -> NDArray[np.float64]:
        """Return F^H W (d - F model)."""
        return self.parts.answer(ask_part, VisibilityOperator.residual_sums, self._sent(model))

    def sums_beside(self, model: Image, innermost: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the residual in the next field to the North-East, of visibilities beyond a uv distance."""
        return self.parts.answer(ask_part, VisibilityOperator.sums_beside, self._sent(model), innermost)

    def counts(self) -> NDArray[np.integer]:
        """Return how many visibilities there are in each annulus, (annulus,)."""
        return self.parts.total(ask_part, VisibilityOperator.counts)

    def noise_squares(self, error: ErrorOfDistance, noise_scale: float) -> NDArray[np.float64]:
        """Return the sums that `image_noise` is made of."""
        return self.parts.answer(ask_part, VisibilityOperator.noise_squares, error, noise_scale)

    def noise_sums(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return gridded random visibilities; each part has a seed of its own."""
        seed = int(generator.integers(2**32))
        return self.parts.answer(noise_of_part, seed)

    def reduced(self, model: Image, reduce: Callable[[Iterable[ComparedVisibilities]], Reduced]) -> list[Reduced]:
        """Return what a function makes of the visibilities beside those of a model, for each part of them."""
        found = self.parts.gathered(reduce_part, self._sent(model), reduce)
        return [each for of_part in found for each in of_part]

    def fold_sums(self) -> tuple[Array, Array, Array]:
        """Return, of each fold and of the core, what its dirty image, weight and power are sums of."""
        return self.parts.total(ask_part, VisibilityOperator.fold_sums)

    def _sent(self, model: Image) -> NDArray[np.float32] | ByChannel:
        """Return a model as it travels: to each part the channels that it has, or all to all."""
        single = model.astype(np.float32)
        return single if self.parts.channels is None else ByChannel(single)
