"""The noise of a single-dish map, and over how large an area it is correlated, from blank sky."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

FEWEST_BLANK = 0.02
"""Share of a map's pixels below zero from which its noise can be measured."""
FEWEST_BEAMS = 5.0
"""Squares as wide as the beam of blank sky, from which it can be measured."""
LAG = 0.3
"""Distance of the pixels that are compared, beams."""
SMALLEST = 0.01
"""Correlation that is taken for one, so that it has a logarithm."""
SMOOTHED = 2.0
"""Area of the correlation over that of the beam, of white noise that the whole beam has smoothed."""
WIDEST = 4.0
"""The largest that is believed: what is wider is emission."""


def blank_sky(plane: NDArray[np.floating], beam: float) -> NDArray[np.bool_] | None:
    """Return which pixels of a map are blank sky; None where there is too little of it, or none below zero.

    Blank is what has no pixel beyond four sigma within 0.6 beams, with sigma of blank sky; the first sigma is that of
    the pixels below zero.

    Args:
        plane: (ny, nx), NaN where there is no data.
        beam: width of the beam, pixels.
    """
    finite = np.isfinite(plane)
    below = finite & (np.nan_to_num(plane) < 0)
    if below.sum() < FEWEST_BLANK * finite.sum() or not below.any():
        return None
    blank, sigma = finite, np.sqrt(np.mean(plane[below] ** 2))
    for _ in range(10):
        bright = finite & (np.abs(np.nan_to_num(plane)) > 4 * sigma)
        blank = finite & (distance_transform_edt(~bright) > 0.6 * beam) if bright.any() else finite
        if blank.sum() < FEWEST_BEAMS * beam**2:
            return None
        sigma = np.sqrt(np.mean(plane[blank] ** 2))
    return blank


def measured_noise(plane: NDArray[np.floating], beam: float) -> float:
    """Return the r.m.s. of the noise of a map on blank sky; NaN where there is none.

    On simulated maps that are three quarters emission this is 1 % above the truth, +- 4 to 11 %.

    Args:
        plane, beam: as in `blank_sky`.
    """
    blank = blank_sky(plane, beam)
    return np.nan if blank is None else float(np.sqrt(np.mean(plane[blank] ** 2)))


def measured_correlation(planes: NDArray[np.floating], beam: float, step: Sequence[float]) -> float:
    r"""Return the area over which the noise of a map is correlated, over that of the beam; at least 1.

    It says how loud the lowest frequencies are, of which the total flux is: noise that is correlated as the beam has
    1, white noise that the beam has smoothed 2. Correlations are Gaussians, $\ln\rho(d) = -4 \ln 2\, d^2 / (a\,
    b^2)$ with the width b of the beam; $\rho$ is that of neighbours at about `LAG` on blank sky. With 5 to 50 beams of
    blank sky $\sqrt a$ is found without bias, +- 20 to 6 %. Without blank sky the beam is taken to have smoothed it.

    Args:
        planes: of the channels, (channel, ny, nx), NaN where there is no data.
        beam: width of the beam, pixels of the image.
        step: height and width of the map's pixels, pixels of the image.
    """
    in_pixels = beam / np.sqrt(abs(step[0] * step[1]))
    lags = [max(1, round(LAG * beam / abs(size))) for size in step]
    differences, pairs = np.zeros(2), np.zeros(2)
    for plane in planes:
        blank = blank_sky(plane, in_pixels)
        if blank is None:
            continue
        noise = plane / np.sqrt(np.mean(plane[blank] ** 2))
        for axis, lag in enumerate(lags):
            one, other = (np.moveaxis(np.where(blank, noise, np.nan), axis, 0)[part] for part in _apart(lag))
            squares = (one - other) ** 2
            differences[axis] += np.nansum(squares)
            pairs[axis] += np.count_nonzero(np.isfinite(squares))
    if not pairs.all():
        return SMOOTHED
    correlation = np.clip(1 - differences / (2 * pairs), SMALLEST, None)
    distances = np.array([lag * size / beam for lag, size in zip(lags, step, strict=True)])
    area = 4 * np.log(2) * np.sum(distances**2) / -np.sum(np.log(correlation))
    return float(np.clip(area, 1, WIDEST))


def _apart(lag: int) -> tuple[slice, slice]:
    """Return two parts of an axis whose pixels are a lag apart."""
    return slice(lag, None), slice(None, -lag)
