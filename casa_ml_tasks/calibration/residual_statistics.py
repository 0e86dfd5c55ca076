"""What a model leaves unexplained, by uv distance, whether or not the major cycle holds the visibilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from casa_ml_tasks.calibration.residual_visibilities import AnnulusSums, ResidualStatistics, read_residuals
from casa_ml_tasks.data.measurement_set import Selection
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.engine.protocols import ComparedVisibilities, Image, KeepsVisibilities
from casa_ml_tasks.kernels.uv_annuli import longest_on_grid

MOST_COMPARED = 1 << 20  # visibilities with a model, where a sample of them is enough


@dataclass(frozen=True)
class SecondReading:
    """How to read the visibilities of one image of total intensity once more.

    Of many, a random sample is enough for errors far below a percent.

    Attributes:
        selections: of the Measurement Sets.
        frame: of the image.
        cell: size of a pixel, radians.
        visibilities: how many are selected.
    """

    selections: Sequence[Selection]
    frame: ImageFrame
    cell: float
    visibilities: int

    def residual_sums(self, model: Image) -> AnnulusSums:
        """Return the sums over a sample of the visibilities. model: (1, 1, ny, nx), Jy/pixel."""
        share = min(1.0, MOST_COMPARED / self.visibilities)
        return read_residuals(self.selections, self.frame, model[0, 0], self.cell, share)


def residual_sums(visibilities: KeepsVisibilities, model: Image) -> AnnulusSums:
    """Return the sums over all channels, of natural weights. model: (channel, 1, ny, nx), Jy/pixel."""
    none = AnnulusSums.none(longest_on_grid(visibilities.cell))

    def summed(compared: Iterable[ComparedVisibilities]) -> AnnulusSums:
        sums = none
        for each in compared:
            sums = sums.plus(each.annulus, each.data, each.model, each.nominal)
        return sums

    return sum(visibilities.reduced(model, summed), none)


def residual_statistics(
    visibilities: KeepsVisibilities | None, reading: SecondReading | None, model: Image, scale: float
) -> ResidualStatistics | None:
    """Return what a model leaves unexplained; None where the visibilities cannot be had, or none is within the grid.

    Args:
        visibilities: of the major cycle; None where it does not hold them.
        reading: takes their place; None where the model is more than one image of total intensity.
        model: (channel or term, stokes, ny, nx), Jy/pixel.
        scale: true noise over the noise that the weights of the major cycle claim.
    """
    if visibilities is not None:
        return residual_sums(visibilities, model).statistics(scale)
    if reading is None:
        return None
    sums = reading.residual_sums(model)
    return sums.statistics(scale) if sums.count.any() else None
