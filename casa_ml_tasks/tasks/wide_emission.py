"""Flux on scales that the baselines do not measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_opening

from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics

#: Largest scale over 1 / (5th percentile of the uv distances): ALMA Technical Handbook, section 3.6.
LARGEST_SCALE = 0.983
MOST_PIXELS = 15  # of the largest scale; finer images are averaged for the question
NOTEWORTHY = 0.1  # of the flux


def largest_scale(statistics: ResidualStatistics) -> float:
    """The largest scale that the baselines measure well, radians; `statistics` has bins of equal numbers."""
    return LARGEST_SCALE / float(statistics.edges[1])


def share_of_wide_emission(model: NDArray[np.floating], width: float) -> float:
    """The share of the flux in regions that are wider than a disk everywhere, 0 to 1.

    It is what a morphological opening with the disk leaves: point sources, however many, have none of it.

    Args:
        model: (ny, nx), Jy/pixel.
        width: diameter of the disk, pixels.
    """
    step = int(max(1, width // MOST_PIXELS))
    ny, nx = (n // step * step for n in model.shape)
    coarse = np.maximum(model[:ny, :nx].reshape(ny // step, step, nx // step, step).sum(axis=(1, 3)), 0)
    radius = width / step / 2
    if 2 * radius >= min(coarse.shape) or not coarse.any():
        return 0.0
    offset = np.arange(-int(radius), int(radius) + 1)
    disk = np.hypot(offset[:, None], offset) <= radius
    return float(grey_opening(coarse, footprint=disk, mode="constant").sum() / coarse.sum())
