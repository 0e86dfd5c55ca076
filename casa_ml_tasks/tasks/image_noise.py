"""The noise of the images, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.calibration_errors import CalibrationErrors
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.quantities import quantity


@dataclass(frozen=True)
class ImageNoise:
    """Noise of the images, and its two causes.

    Attributes:
        of_planes: with errors of calibration, (channel, stokes), Jy/beam.
        thermal: without, (channel, stokes), Jy/beam.
        calibration: errors of calibration.
    """

    of_planes: NDArray[np.floating]
    thermal: NDArray[np.floating]
    calibration: CalibrationErrors

    def sentence(self) -> str:
        """Return what the top of the report says."""
        total = quantity(typical(self.of_planes), "Jy/beam")
        if not self.calibration:
            return total
        fraction = self.calibration.fraction
        size = f", about {100 * fraction:.2g} % of the visibilities" if fraction else ""
        return f"{total}: thermal {quantity(typical(self.thermal), 'Jy/beam')}, the rest errors of calibration{size}"


def typical(noise: NDArray[np.floating]) -> float:
    """Return the median over the planes with data, whose noise is finite."""
    return float(np.median(noise[np.isfinite(noise)]))


def noise_scale(parameters: Mapping[str, Any], data: Survey) -> float:
    """Return the true noise over the noise that WEIGHT claims: the user's, or the measured one."""
    return data.noise_scale if parameters["noisescale"] == "auto" else float(parameters["noisescale"])
