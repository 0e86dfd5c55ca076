"""What the report of an imaging run needs to know, and nothing about how it is drawn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics
from casa_ml_tasks.quantities import angular_unit
from casa_ml_tasks.report.image_residual import ImageResidual, image_residual

Array = NDArray[np.floating]


@dataclass(frozen=True)
class ImagingContent:
    """What an imaging run has made, of the one plane that its report shows.

    Images are (y, x), North up along y and West along x (as in CASA, right ascension falls with x), NaN where masked.

    Attributes:
        dirty: dirty image, Jy/beam.
        model: model image, Jy/pixel.
        restored: model convolved with the beam, plus residual, Jy/beam.
        residual: residual image, Jy/beam.
        cell: size of a pixel, arcsec.
        beam: major and minor axis (full width at half maximum), arcsec, and position angle from North through East,
            degrees; None where no beam was fitted.
        primary_beam: response to the sky, 1 at its maximum; None where it is not known.
        noise: standard deviation, Jy/beam, that the noise in the data gives the dirty image.
        cycles: one entry for each major cycle: ``cycle``, ``chi2``, ``reduced_chi2``, ``peak_residual`` (Jy/beam),
            ``rms_residual`` (Jy/beam), ``model_flux`` (Jy), ``iterations``, ``seconds``.
        visibilities: the residual against uv distance; None where it is not known.
        noise_model: noise scales, as the task returns them in its data model; empty where none were fitted.
        may_be_negative: whether the sky was allowed to be negative.
        model_is_mean: whether the model is the mean of a posterior, or else a single best image.

    Raises:
        ValueError: the images differ in shape.
    """

    dirty: Array
    model: Array
    restored: Array
    residual: Array
    cell: float
    beam: tuple[float, float, float] | None
    primary_beam: Array | None
    noise: float
    cycles: Sequence[Mapping[str, float]]
    visibilities: ResidualStatistics | None = None
    noise_model: Mapping[str, Any] = field(default_factory=dict)
    may_be_negative: bool = False
    model_is_mean: bool = False

    def __post_init__(self) -> None:
        for name in ("model", "restored", "residual", "primary_beam"):
            image = getattr(self, name)
            if image is not None and image.shape != self.dirty.shape:
                raise ValueError(
                    f"{name} has shape {image.shape} and dirty {self.dirty.shape}; give images of one (y, x) shape."
                )

    @property
    def angular_unit(self) -> tuple[float, str]:
        """The length, arcsec, and the name of the unit in which half of the image has a readable size."""
        return angular_unit(self.cell * max(self.dirty.shape) / 2)

    @property
    def beam_area(self) -> float:
        """Solid angle of the beam in pixels, at least 1."""
        if self.beam is None:
            return 1.0
        major, minor, _ = self.beam
        return max(math.pi * major * minor / (4 * math.log(2) * self.cell**2), 1.0)

    @cached_property
    def image_residual(self) -> ImageResidual | None:
        """How far the residual image is from noise; None where the noise is not known."""
        return image_residual(self.residual, self.primary_beam, self.noise, self.beam_area)
