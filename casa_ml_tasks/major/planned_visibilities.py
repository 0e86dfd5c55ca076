"""Visibilities planned for one image. Nothing here knows CASA or holds a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.neighbouring_field import rotation_beside, turns_of
from casa_ml_tasks.kernels.pointing_view import View
from casa_ml_tasks.kernels.uv_annuli import annulus_of, longest_on_grid
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.weighted_visibilities import WeightedVisibilities

Array = NDArray[np.floating]


@dataclass(frozen=True)
class PlannedChunk:
    """Some visibilities of one image channel and pointing, in the order of their plan; arrays are (visibility,).

    Attributes:
        channel: of the image.
        view: of the image, that of the pointing.
        operator: between what the view sees and these visibilities.
        phase: of the middle of the view, in the caller's order; None where it is 1.
        data: Jy, over the phase, conjugated where u < 0.
        weight: imaging weights.
        nominal, thermal: as those of `WeightedVisibilities`; the same array where they are equal.
        annulus: of uv distance.
        turns: number in `ROTATIONS`, towards the neighbouring field.
        fold: of cross-validation; None without.
    """

    channel: int
    view: View
    operator: MeasurementOperator
    phase: NDArray[np.complex64] | None
    data: NDArray[np.complexfloating]
    weight: Array
    nominal: Array
    thermal: Array
    annulus: NDArray[np.uint16]
    turns: NDArray[np.uint8]
    fold: NDArray[np.uint8] | None

    @classmethod
    def of(
        cls,
        part: WeightedVisibilities,
        view: View,
        transform: Transform,
        fold: NDArray[np.uint8] | None = None,
        plan: MeasurementOperator | None = None,
    ) -> PlannedChunk:
        """Plan visibilities, or use a plan of them again, and sort them and their folds into its order.

        Args:
            part: the visibilities.
            view: of the image, that of their pointing.
            transform: of the image.
            fold: of each.
            plan: of the same visibilities with other weights.
        """
        of_view = transform.of_view(view)
        plan = of_view.plan(part.uvw) if plan is None else plan
        weight = plan.sort(part.weight)
        nominal = weight if np.array_equal(part.weight, part.nominal) else plan.sort(part.nominal)
        thermal = nominal if np.array_equal(part.nominal, part.thermal) else plan.sort(part.thermal)
        annulus = plan.sort(annulus_of(part.uvw, longest_on_grid(transform.cell)))
        turns = turns_of(plan.sort(rotation_beside(part.uvw, transform.shape, transform.cell)))
        phase = of_view.phase(part.uvw)
        data = plan.sort(part.visibility if phase is None else part.visibility * phase.conj())
        sorted_fold = None if fold is None else plan.sort(fold)
        return cls(part.channel, view, plan, phase, data, weight, nominal, thermal, annulus, turns, sorted_fold)

    def planned(self) -> PlannedChunk:
        """Return this, which is planned already."""
        return self


@dataclass(frozen=True)
class DeferredChunk:
    """Some visibilities that are planned anew whenever they are needed, so that their plan takes no memory meanwhile.

    Attributes:
        part: the visibilities; arrays that are mapped from files take no memory either.
        view: of the image, that of their pointing.
        transform: of the image.
    """

    part: WeightedVisibilities
    view: View
    transform: Transform

    def planned(self) -> PlannedChunk:
        """Return them with a plan."""
        return PlannedChunk.of(self.part, self.view, self.transform)
