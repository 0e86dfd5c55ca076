"""The noise of images, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.calibration_errors import CalibrationErrors
from casa_ml_tasks.quantities import quantity


def typical(noise: NDArray[np.floating]) -> float:
    """Return the median over the planes with data, whose noise is finite."""
    return float(np.median(noise[np.isfinite(noise)]))


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
        """Return the noise and its causes in words, for the top of the report."""
        total = quantity(typical(self.of_planes), "Jy/beam")
        if not self.calibration:
            return total
        fraction = self.calibration.fraction
        size = f", about {100 * fraction:.2g} % of the visibilities" if fraction else ""
        return f"{total}: thermal {quantity(typical(self.thermal), 'Jy/beam')}, the rest errors of calibration{size}"
