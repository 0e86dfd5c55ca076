"""Visibilities of a mosaic, or of a part of one, told apart by the data set that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.arrays import Coverage
from casa_ml_tasks.calibration.flux_scale import SetOfVisibilities, Span, span_of
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.mosaic_data import MosaicData
from casa_ml_tasks.major.visibility_operator import VisibilityOperator

Array = NDArray[np.float64]
#: Makes sums, in one shape for all parts, of the visibilities of a set and its number.
ReduceSet = Callable[[SetOfVisibilities, int], Array]


@dataclass(frozen=True)
class DataSets:
    """The data sets in some visibilities, as they are imaged now.

    Sets have numbers, by the absolute path of each Measurement Set in one. What is summed adds between parts.

    Attributes:
        data: the visibilities as they were read.
        imaged: the same with corrected data or weights.
        nominal, thermal: as in `NativeMajorCycle.image_with`.
        operator: of these.
        paths: Measurement Set of each number in `imaged.origin`.
    """

    data: MosaicData
    imaged: Visibilities
    nominal: NDArray[np.floating]
    thermal: NDArray[np.floating]
    operator: VisibilityOperator
    paths: tuple[str, ...]

    def coverages(self) -> list[Coverage]:
        """Return where each Measurement Set looks."""
        return self.data.coverages(self.paths)

    def spans(self, numbers: Mapping[str, int]) -> list[Span]:
        """Return the shortest and the longest uv distance of each set; infinity and 0 of one without data here."""
        of_set, uvdist = self._set_of(numbers)[self._used], self._uvdist[self._used]
        return [span_of(uvdist[of_set == number]) for number in range(_count(numbers))]

    def reduced(
        self, numbers: Mapping[str, int], skies: Sequence[Image], noise_scale: float, reduce: ReduceSet
    ) -> tuple[Array, ...]:
        """Return what a function makes of the visibilities of each set.

        Args:
            numbers: of the sets.
            skies: the model, and its derivatives by the flux scale of each set or none; (channel, 1, ny, nx), Jy/pixel.
            noise_scale: true thermal noise over the noise that WEIGHT claims.
            reduce: of the visibilities of one set.
        """
        predicted = np.stack([self.operator.predicted(sky) for sky in skies]) if self._used.any() else None
        of_set, data = self._set_of(numbers)[self._used], self.imaged.visibility[self._used]
        uvdist, weight = self._uvdist[self._used], self.nominal[self._used] / noise_scale**2
        sums = []
        for number in range(_count(numbers)):
            members = np.flatnonzero(of_set == number)
            seen = np.zeros((len(skies), 0)) if predicted is None else predicted[:, members]
            model, changes = seen[0].astype(complex), seen[1:].astype(complex)
            one = SetOfVisibilities(
                "",
                uvdist[members],
                data[members].astype(complex),
                model,
                weight[members].astype(float),
                changes if len(skies) > 1 else None,
            )
            sums.append(reduce(one, number))
        return tuple(sums)

    def dirty_sums(self, numbers: Mapping[str, int], number: int) -> Array:
        """Return F^H W of the data of one set, (channel, 1, ny, nx)."""
        members = self._set_of(numbers) == number
        return self.operator.dirty_sums(np.where(members, self.imaged.visibility, 0)[self._used])

    def residual(self, numbers: Mapping[str, int], number: int, model: Image) -> tuple[Array, Array, Array]:
        """Return the sums of the residual of one set alone.

        Returns:
            `VisibilityOperator.residual_sums`, (channel, 1, ny, nx); of the imaging weights, and of their squares over
            the natural ones, (channel, pointing) by the numbers of `Pointings`.
        """
        members = self._set_of(numbers) == number
        alone = replace(self.data, store=self.imaged[members])
        operator = alone.operator(nominal=self.nominal[members], thermal=self.thermal[members])
        seen = self.data.seen
        weights, squares = np.zeros((2, self.data.channels, seen.numbers.size))
        weights[:, seen.known], squares[:, seen.known] = operator.sums.weights, operator.sums.squares_of_pointings
        return operator.residual_sums(model), weights, squares

    @cached_property
    def _used(self) -> NDArray[np.bool_]:
        return self.imaged.channel >= 0

    @cached_property
    def _uvdist(self) -> NDArray[np.floating]:
        return np.hypot(self.imaged.uvw[:, 0], self.imaged.uvw[:, 1])

    def _set_of(self, numbers: Mapping[str, int]) -> NDArray[np.integer]:
        """Return the number of the set of each visibility, (n,)."""
        return np.array([numbers[absolute(each)] for each in self.paths], int)[self.imaged.origin]


def factors_of(paths: Sequence[str], factors: Mapping[str, float], visibilities: Visibilities) -> Array:
    """Return the factor of each visibility, (n,).

    Args:
        paths: Measurement Set of each number in `visibilities.origin`.
        factors: by the absolute path of a Measurement Set.
        visibilities: with their origins.
    """
    return np.array([factors[absolute(each)] for each in paths])[visibilities.origin]


def absolute(vis: str) -> str:
    """Return the path of a Measurement Set as any process knows it."""
    return str(Path(vis).absolute())


def _count(numbers: Mapping[str, int]) -> int:
    return 1 + max(numbers.values())
