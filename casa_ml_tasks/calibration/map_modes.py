r"""The Fourier modes of a single-dish map, as visibilities that compare with those of an interferometer.

A map $d = B * I + n$ has the modes $\hat d = \hat B \hat I + \hat n$. Divided by $\hat B$ they are what a baseline of
that length would measure of the whole sky, in Jy. The noise n is that of `kernels.map_noise`, with the covariance C.

A window w that falls off towards the edge of the map keeps its discontinuity there out of the faint modes. The noise of
a mode is then $\sum_r C(r)\, (w \star w)(r)\, e^{-2\pi i v r}$, and neighbouring modes are
correlated: a share $\overline{w^2}^2 / \overline{w^4}$ of them is independent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import tukey

from casa_ml_tasks.calibration.flux_scale import SetOfVisibilities
from casa_ml_tasks.kernels.dish_beam import DishBeam
from casa_ml_tasks.kernels.map_noise import spectrum_of_noise

FAINTEST = 0.02  # of the beam's transform at 0: fainter modes are left out
FALLING_OFF = 0.5  # share of the map's width, both sides together, over which the window falls off

Array = NDArray[np.floating]


def modes_of_map(
    name: str,
    pixels: Array,
    predicted: Array,
    noise: float,
    beam: DishBeam,
    step: tuple[float, float],
    cell: float,
    correlation: float = 1.0,
) -> SetOfVisibilities:
    """Return the modes of a map and of its model that the beam passes, one of every two opposite ones.

    Args:
        name: of the map.
        pixels: (ny, nx), Jy/beam; NaN where there is none.
        predicted: the model through the beam, (ny, nx), Jy/beam.
        noise: r.m.s. of a pixel, Jy/beam.
        beam: its lengths in pixels of the sky's image.
        step: height and width of the map's pixels, pixels of the sky's image.
        cell: size of a pixel of the sky's image, radians.
        correlation: area over which the noise is correlated, over that of the beam; at least 1.
    """
    window = np.isfinite(pixels) * np.multiply.outer(*(tukey(n, FALLING_OFF) for n in pixels.shape))
    v, u = (np.fft.fftfreq(n, abs(size)) for n, size in zip(pixels.shape, step, strict=True))
    transform = beam.transform(v, u)
    area = abs(step[0] * step[1])
    kept = _one_of_two(v, u) & (np.abs(transform) > FAINTEST * np.abs(transform[0, 0]))

    def modes(image: Array) -> NDArray[np.complexfloating]:
        return area * np.fft.fft2(window * np.nan_to_num(image))[kept] / transform[kept]

    length = np.hypot(v[:, None], u)[kept] / cell
    halves = np.where(length > 0, 2, 1)  # a real image has a real sum
    variance = (
        (area * noise) ** 2 * _power_of_noise(window, beam, step, correlation)[kept] / np.abs(transform[kept]) ** 2
    )
    independent = float(np.mean(window**2) ** 2 / np.mean(window**4))
    return SetOfVisibilities(
        name, length, modes(pixels), modes(predicted), halves / variance, is_map=True, independent=independent
    )


def _power_of_noise(
    window: Array, beam: DishBeam, step: tuple[float, float], correlation: float
) -> NDArray[np.floating]:
    """Return the mean |modes|^2 of noise times a window, shaped like the window.

    It has unit variance where it is as correlated as the beam.
    """
    twice = [2 * n for n in window.shape]
    v, u = (np.fft.fftfreq(n, abs(size)) for n, size in zip(twice, step, strict=True))
    size = np.abs(beam.transform(v, u))
    covariance = np.fft.ifft2(spectrum_of_noise(size / size[0, 0], correlation)).real
    shared = np.fft.ifft2(np.abs(np.fft.fft2(window, s=twice)) ** 2).real
    lags = covariance / np.mean(size / size[0, 0]) * shared
    ny, nx = window.shape
    return np.abs(np.fft.fft2(lags.reshape(2, ny, 2, nx).sum(axis=(0, 2))))


def _one_of_two(v: Array, u: Array) -> NDArray[np.bool_]:
    return (v[:, None] > 0) | ((v[:, None] == 0) & (u >= 0))
