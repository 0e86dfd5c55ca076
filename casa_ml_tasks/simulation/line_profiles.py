"""Profiles of spectral lines: the share of the flux that each channel of a cube has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

SIGMA_PER_FWHM = 1 / np.sqrt(8 * np.log(2))
DISPERSION = 0.1  # sigma of the gas over the width of a double-horned line
ROTATION = 0.866  # twice the rotation velocity over the width of a double-horned line
ANGLES = 96  # of the disk in azimuth, over which a double-horned line is summed


def gaussian_line(channels: int, centre: float, fwhm: float) -> NDArray[np.float64]:
    """Return a Gaussian, integrated over each channel, (channel,).

    Args:
        channels: how many.
        centre: channel, with its fraction.
        fwhm: channels.
    """
    return _integrated(channels, np.array([centre]), fwhm * SIGMA_PER_FWHM)


def double_horned_line(channels: int, centre: float, fwhm: float) -> NDArray[np.float64]:
    r"""Return the line of a thin disk, $\langle N(c_0 + v\sin\theta, s^2)\rangle_\theta$ over each channel, (channel,).

    Args:
        channels: how many.
        centre: channel, with its fraction.
        fwhm: channels; rotation v and dispersion s are in proportion.
    """
    theta = (np.arange(ANGLES) + 0.5) / ANGLES * np.pi - np.pi / 2
    return _integrated(channels, centre + ROTATION * fwhm / 2 * np.sin(theta), DISPERSION * fwhm)


def _integrated(channels: int, centres: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """The mean of Gaussians around several centres, integrated over each channel."""
    edges = np.arange(channels + 1)[:, None] - 0.5
    found: NDArray[np.float64] = np.diff(ndtr((edges - centres) / sigma), axis=0).mean(axis=1)
    return found


PROFILES = {"gaussian": gaussian_line, "double": double_horned_line}
