r"""Gridded weights of short observations: what a dirty image and its noise are made with, without visibilities.

With the weights W on the Fourier cells of twice the field, $H I$ is the convolution whose transfer function is W. The
noise of the dirty image has the power spectrum $W^2 / G$, where G are the natural weights; with natural weighting
this is W itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.simulation.antennas import read_antennas

ALMA_LATITUDE = np.radians(-23.0229)
INTEGRATION = 120.0  # s; uv cells of the simulated fields are no finer


@dataclass(frozen=True)
class Observation:
    """What sets the uv coverage of a field.

    Attributes:
        configuration: of antennas, a file of casadata with places East, North and up.
        declination: radians.
        hours: length of the observation, symmetric about transit.
        robust: Briggs' parameter; None for natural weighting.
        pixels_per_beam: geometric mean of the axes of the beam over the cell, of the natural weights' second moments.
    """

    configuration: str
    declination: float
    hours: float
    robust: float | None
    pixels_per_beam: float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Coverage:
    """The weights of one observation, or of several in a stack; each is (..., 2 n, n + 1).

    Attributes:
        transfer: of the PSF, whose peak is 1.
        noise: power spectrum of the noise of the dirty image, whose variance is 1.
    """

    transfer: jax.Array
    noise: jax.Array

    @property
    def operator(self) -> ConvolutionNormalOperator:
        """The normal operator H."""
        return ConvolutionNormalOperator(self.transfer)

    def psf(self) -> jax.Array:
        """Return the PSF on the field, (..., n, n), with its peak in the pixel (n // 2, n // 2)."""
        n = self.transfer.shape[-1] - 1
        whole = jnp.fft.irfft2(self.transfer, (2 * n, 2 * n))
        return jnp.fft.fftshift(whole, (-2, -1))[..., n - n // 2 : 2 * n - n // 2, n - n // 2 : 2 * n - n // 2]

    def draw_noise(self, key: jax.Array) -> jax.Array:
        """Return noise with the covariance of the dirty image's, (n, n), standard deviation 1. Of one observation."""
        n = self.transfer.shape[-1] - 1
        white = jax.random.normal(key, (2 * n, 2 * n), self.noise.dtype)
        return jnp.fft.irfft2(jnp.sqrt(self.noise) * jnp.fft.rfft2(white), (2 * n, 2 * n))[:n, :n]


def baselines(places: NDArray[np.floating], declination: float, hours: float) -> NDArray[np.float64]:
    """Return (u, v) of all baselines towards a source, with their opposites, (2, sample), metres.

    Args:
        places: of antennas, (3, antenna), metres East, North and up, at the latitude of ALMA.
        declination: of the source, radians.
        hours: length of the observation, symmetric about transit.
    """
    first, second = np.triu_indices(places.shape[1], 1)
    east, north, up = places[:, first] - places[:, second]
    to_equator = np.cos(ALMA_LATITUDE) * up - np.sin(ALMA_LATITUDE) * north
    to_pole = np.sin(ALMA_LATITUDE) * up + np.cos(ALMA_LATITUDE) * north
    count = max(round(hours * 3600 / INTEGRATION), 1)
    angle = np.radians(15 * hours) * ((np.arange(count) + 0.5) / count - 0.5)[:, None]
    along = np.cos(angle) * to_equator - np.sin(angle) * east
    u = np.sin(angle) * to_equator + np.cos(angle) * east
    v = np.cos(declination) * to_pole - np.sin(declination) * along
    return np.stack([np.r_[u.ravel(), -u.ravel()], np.r_[v.ravel(), -v.ravel()]])


def coverage(observation: Observation, n: int) -> Coverage:
    """Return the gridded weights of an observation for fields of (n, n) pixels, single precision."""
    uv = baselines(read_antennas(observation.configuration)[0], observation.declination, observation.hours)
    width = np.linalg.det(np.cov(uv)) ** 0.25
    cell = np.sqrt(8 * np.log(2)) / (2 * np.pi * width) / observation.pixels_per_beam
    return gridded(uv * cell, n, observation.robust)


def gridded(uv: NDArray[np.floating], n: int, robust: float | None) -> Coverage:
    """Return the weights in their nearest cells.

    Args:
        uv: (2, sample), periods a pixel; those above half a period are left out.
        n: pixels of the field in each direction.
        robust: Briggs' parameter (Briggs 1995, eq. 3.17); None for natural weighting.
    """
    column, row, inside = _cells(uv, n)
    natural = np.zeros((2 * n, 2 * n))
    np.add.at(natural, (row[inside], column[inside]), 1.0)
    lowered = 1 + _briggs_factor(natural, robust) * natural
    imaging, noise = natural / lowered, natural / lowered**2

    def half(weights: NDArray[np.floating]) -> jax.Array:
        return jnp.asarray((weights / weights.mean())[:, : n + 1], jnp.float32)

    return Coverage(half(imaging), half(noise))


def imaging_weights(uv: NDArray[np.floating], n: int, robust: float | None) -> NDArray[np.float64]:
    """Return the weight of each sample, (sample,), with which `gridded` has it; 0 where that leaves it out.

    Args:
        uv: (2, sample), periods a pixel, without opposites.
        n: pixels of the field in each direction.
        robust: Briggs' parameter; None for natural weighting.
    """
    column, row, inside = _cells(uv, n)
    natural = np.zeros((2 * n, 2 * n))
    for sign in (1, -1):
        np.add.at(natural, (sign * row[inside], sign * column[inside]), 1.0)
    weight = np.zeros(uv.shape[1])
    weight[inside] = 1 / (1 + _briggs_factor(natural, robust) * natural[row[inside], column[inside]])
    return weight


def _cells(uv: NDArray[np.floating], n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Column and row of each sample on twice the field, and whether it is on the grid."""
    column, row = np.rint(uv * 2 * n).astype(int)
    return column, row, (np.abs(column) < n) & (np.abs(row) < n)


def _briggs_factor(natural: NDArray[np.float64], robust: float | None) -> float:
    """What the density of the weights is multiplied by."""
    if robust is None:
        return 0.0
    return float((5 * 10.0**-robust) ** 2 * natural.sum() / np.sum(natural**2))


def stacked(observations: Sequence[Observation], n: int) -> Coverage:
    """Return the coverages of several observations, the first axis of both arrays."""
    each = [coverage(observation, n) for observation in observations]
    return jax.tree.map(lambda *arrays: jnp.stack(arrays), *each)


def random_observations(
    configurations: Sequence[str], count: int, seed: int, *, briggs_share: float = 0.3
) -> list[Observation]:
    """Draw observations as ALMA makes them.

    Declinations go from -65 to +25 degrees, lengths from a snapshot to 3 hours, the sampling from 4.5 to 6.5 pixels a
    beam of natural weighting.

    Args:
        configurations: of antennas, each as probable as the others.
        count: how many.
        seed: of the random numbers.
        briggs_share: of observations with Briggs' weighting, robust 0 to 2; the others have natural weighting.
    """
    rng = np.random.default_rng(seed)
    return [
        Observation(
            configuration=str(rng.choice(configurations)),
            declination=float(np.radians(rng.uniform(-65, 25))),
            hours=float(rng.choice([0.1, 0.3, 1.0, 3.0])),
            robust=float(rng.uniform(0, 2)) if rng.random() < briggs_share else None,
            pixels_per_beam=float(rng.uniform(4.5, 6.5)),
        )
        for _ in range(count)
    ]
