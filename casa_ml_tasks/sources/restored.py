"""Restored images: sources as the CLEAN beam would show them, on what they leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from casa_ml_tasks.sources.dirty_cube import Beam

REACH = 3.0  # FWHM of the beam's major axis, to which its Gaussian is drawn


def restored(model: NDArray[np.floating], residual: NDArray[np.floating], beam: Beam) -> NDArray[np.float32]:
    """Return model * CLEAN beam + residual, (channel, ny, nx), Jy/beam.

    Args:
        model: (channel, ny, nx), Jy/pixel.
        residual: (channel, ny, nx), Jy/beam.
        beam: peak 1.
    """
    found = np.array(residual, np.float32)
    shape = drawn(beam)
    for channel in np.flatnonzero(np.any(model != 0, axis=(1, 2))):
        found[channel] += fftconvolve(model[channel], shape, "same").astype(np.float32)
    return found


def drawn(beam: Beam) -> NDArray[np.float64]:
    """Return the Gaussian of a beam, (2 n + 1, 2 n + 1), 1 in the middle."""
    n = int(np.ceil(REACH * beam.major))
    y, x = np.mgrid[-n : n + 1, -n : n + 1]
    cosine, sine = np.cos(beam.angle), np.sin(beam.angle)
    along, across = x * cosine + y * sine, y * cosine - x * sine
    return np.exp(-4 * np.log(2) * ((along / beam.major) ** 2 + (across / beam.minor) ** 2))
