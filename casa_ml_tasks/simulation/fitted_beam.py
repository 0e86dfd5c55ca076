"""The Gaussian beam of a PSF."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.optimize import least_squares

from casa_ml_tasks.data.casa_image import Beam

CUTOFF = 0.35  # of the peak; what is fainter is not fitted, as in CASA


def fitted_beam(psf: NDArray[np.floating], cell: float) -> Beam:
    """Return the elliptical Gaussian of peak 1 that fits the main lobe of a PSF best.

    Args:
        psf: (ny, nx), peak 1 in the pixel (ny // 2, nx // 2).
        cell: side of a pixel, arcsec.
    """
    ny, nx = psf.shape
    islands, _ = label(psf > CUTOFF)
    y, x = np.nonzero(islands == islands[ny // 2, nx // 2])
    values, places = psf[y, x], np.stack([nx // 2 - x, y - ny // 2]).astype(float)  # East and North, pixels
    second = np.linalg.lstsq(
        np.stack([places[0] ** 2, 2 * places[0] * places[1], places[1] ** 2], 1), -2 * np.log(values), rcond=None
    )[0]

    def error(form: NDArray[np.float64]) -> NDArray[np.float64]:
        square = form[0] * places[0] ** 2 + 2 * form[1] * places[0] * places[1] + form[2] * places[1] ** 2
        return np.exp(-square / 2) - values

    east, both, north = least_squares(error, second).x
    widths, axes = np.linalg.eigh(np.linalg.inv([[east, both], [both, north]]))
    minor, major = np.sqrt(8 * np.log(2) * widths) * cell
    angle = np.degrees(np.arctan2(axes[0, 1], axes[1, 1]))
    return Beam(float(major), float(minor), float((angle + 90) % 180 - 90))
