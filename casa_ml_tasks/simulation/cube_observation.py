"""What an array sees of a cube: its PSF over the band, its beam, and the noise of its dirty images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.constants import Boltzmann, arcsecond, speed_of_light

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.simulation.antennas import read_antennas
from casa_ml_tasks.simulation.uv_coverage import Observation, baselines, gridded, imaging_weights, random_observations

#: Configurations of ALMA of the last years.
CONFIGURATIONS = tuple(f"alma.cycle{cycle}.{number}" for cycle in range(9, 13) for number in range(1, 11))
#: Lowest and highest frequency of the bands 3, 4, 6 and 7 of ALMA, GHz.
BANDS = ((86.0, 114.0), (127.0, 161.0), (213.0, 273.0), (277.0, 371.0))
TEMPERATURES = ((86.0, 70.0), (161.0, 75.0), (243.0, 95.0), (345.0, 170.0))  # GHz, K, of typical systems
CHANNEL_WIDTHS = 1e6 * np.array([0.977, 1.953, 3.906, 7.812, 15.625])  # Hz, of ALMA's correlator
WIDEST_BAND = 0.01  # of the frequency
COLLECTING_AREA = 0.7 * np.pi * 6.0**2  # of a dish, with its efficiency, m^2
JANSKY = 1e-26


@dataclass(frozen=True)
class CubeObservation:
    """An observation of one field in one spectral window.

    Attributes:
        uv: what sets the uv coverage.
        frequency: of the middle of the band, Hz.
        channel_width: Hz.
        channels: how many.
        pixels: of the field in each direction.
        antennas: how many of the configuration; all by default.
    """

    uv: Observation
    frequency: float
    channel_width: float
    channels: int
    pixels: int
    antennas: int | None = None

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """(channel,), Hz."""
        offset = np.arange(self.channels, dtype=float) - (self.channels - 1) / 2
        return self.frequency + self.channel_width * offset

    @cached_property
    def places(self) -> NDArray[np.float64]:
        """Of the antennas, (3, antenna), metres East, North and up."""
        return read_antennas(self.uv.configuration, self.antennas)[0]

    @cached_property
    def baselines(self) -> NDArray[np.float64]:
        """(u, v) without their opposites, (2, sample), metres."""
        both = baselines(self.places, self.uv.declination, self.uv.hours)
        return both[:, : both.shape[1] // 2]

    @cached_property
    def cell(self) -> float:
        """Side of a pixel, arcsec."""
        wavelengths = self.baselines * self.frequency / speed_of_light
        width = np.linalg.det(np.cov(np.hstack([wavelengths, -wavelengths]))) ** 0.25
        return float(np.sqrt(8 * np.log(2)) / (2 * np.pi * width) / self.uv.pixels_per_beam / arcsecond)

    @property
    def noise(self) -> float:
        """Thermal noise of a channel of the dirty image in natural weighting, Jy/beam."""
        count = self.places.shape[1]
        samples = 2 * self.channel_width * 3600 * self.uv.hours * count * (count - 1)
        flux_density = 2 * Boltzmann * system_temperature(self.frequency) / COLLECTING_AREA / JANSKY
        return float(flux_density / np.sqrt(samples))


def system_temperature(frequency: float) -> float:
    """Return a typical system temperature of ALMA, K, at a frequency, Hz."""
    return float(np.interp(frequency / 1e9, *np.transpose(TEMPERATURES)))


def draw_observation(
    seed: int, pixels: int, channels: int, configurations: Sequence[str] = CONFIGURATIONS, *, briggs_share: float = 0.3
) -> CubeObservation:
    """Draw an observation as ALMA makes them, with a band of at most 1 % of its frequency.

    Args:
        seed: of the random numbers.
        pixels: of the field in each direction.
        channels: of the cube.
        configurations: of antennas, each as probable as the others.
        briggs_share: of observations with Briggs' weighting, as `random_observations` has it.
    """
    rng = np.random.default_rng([seed, 2])
    (uv,) = random_observations(configurations, 1, int(rng.integers(2**31)), briggs_share=briggs_share)
    low, high = BANDS[rng.integers(len(BANDS))]
    frequency = rng.uniform(low, high) * 1e9
    narrow = CHANNEL_WIDTHS[CHANNEL_WIDTHS * channels <= WIDEST_BAND * frequency]
    width = float(rng.choice(narrow)) if narrow.size else WIDEST_BAND * frequency / channels
    return CubeObservation(uv, float(frequency), width, channels, pixels)


@dataclass(frozen=True)
class CubeResponse:
    """How a sky becomes a dirty cube.

    Attributes:
        psfs: of the first, the middle and the last frequency of the band, of one where there is one channel, (node,
            2 n, 2 n), peak 1.
        between: what each of them adds to the PSF of a channel, (channel, node).
        noise: power of the noise on the Fourier cells of twice the field, (2 n, 2 n), mean 1.
    """

    psfs: NDArray[np.float32]
    between: NDArray[np.float64]
    noise: NDArray[np.float32]

    @classmethod
    def of(cls, observation: CubeObservation, uv: NDArray[np.floating]) -> CubeResponse:
        """Return the response to samples in natural or Briggs' weighting, without w.

        The PSFs are sums over all samples, those of the noise over their nearest cells.

        Args:
            observation: of the cube.
            uv: (2, sample), metres, without opposites.
        """
        frequencies, n = observation.frequencies, observation.pixels
        nodes = observation.frequency + np.array([0.0]) if len(frequencies) == 1 else frequencies[[0, -1]]
        if len(frequencies) > 2:
            nodes = np.array([frequencies[0], observation.frequency, frequencies[-1]])
        cell = observation.cell * arcsecond
        periods = uv * observation.frequency / speed_of_light * cell
        weight = imaging_weights(periods, n, observation.uv.robust)
        uvw = np.column_stack([*uv, np.zeros(uv.shape[1])])
        psfs = np.stack([
            psf_of_weights(uvw, [node / speed_of_light], weight[:, None], (n, n), cell, threads=1) for node in nodes
        ])  # fmt: skip
        both = np.hstack([periods, -periods]) * np.array([[-1.0], [1.0]])  # East is towards smaller x
        return cls(
            (psfs / psfs[:, n : n + 1, n : n + 1]).astype(np.float32),
            _lagrange(nodes, frequencies),
            whole_plane(np.asarray(gridded(both, n, observation.uv.robust).noise)),
        )

    @property
    def middle(self) -> NDArray[np.float32]:
        """The PSF of the middle of the band, (2 n, 2 n)."""
        return self.psfs[len(self.psfs) // 2]

    def psf_of(self, channel: int) -> NDArray[np.float32]:
        """Return the PSF of one channel, (2 n, 2 n)."""
        return np.tensordot(self.between[channel].astype(np.float32), self.psfs, 1)

    def dirty(self, images: NDArray[np.floating], spectra: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the dirty cube of sources without noise, (channel, n, n), the unit of the spectra a beam.

        Args:
            images: of each source with flux 1, (source, n, n).
            spectra: (source, channel).
        """
        n = self.psfs.shape[-1] // 2
        found = np.zeros((len(self.between), n * n), np.float32)
        for node, psf in enumerate(self.psfs):
            operator = ConvolutionNormalOperator.from_psf(psf, np.float32)
            seen = np.stack([np.asarray(operator(jnp.asarray(image))) for image in images]) if len(images) else images
            found += (spectra.T * self.between[:, [node]]).astype(np.float32) @ seen.reshape(len(images), n * n)
        return found.reshape(-1, n, n)

    def draw_noise(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return noise with the covariance of the dirty images, (channel, n, n), standard deviation 1, independent
        from channel to channel: two channels are real and imaginary part of one complex field."""
        channels, doubled = len(self.between), len(self.noise)
        n = doubled // 2
        rows, columns = np.nonzero(self.noise)
        amplitude = np.sqrt(self.noise[rows, columns]) * doubled
        filled = np.unique(rows)
        found = np.empty((channels + channels % 2, n, n), np.float32)
        for pair in range(0, channels, 2):
            white = rng.standard_normal((2, rows.size), np.float32) * amplitude
            grid = np.zeros((doubled, doubled), np.complex64)
            grid[rows, columns] = white[0] + 1j * white[1]
            along_x = np.zeros((doubled, n), np.complex64)
            along_x[filled] = scipy.fft.ifft(grid[filled], axis=1)[:, :n]
            image = scipy.fft.ifft(along_x, axis=0)[:n]
            found[pair], found[pair + 1] = image.real, image.imag
        return found[:channels]


def whole_plane(half: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return all cells of a symmetric spectrum, (2 n, 2 n), of which half, (2 n, n + 1), are given."""
    n = half.shape[-1] - 1
    opposite = np.roll(half[::-1], 1, axis=0)[:, n - 1 : 0 : -1]
    return np.hstack([half, opposite]).astype(np.float32)


def _lagrange(nodes: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights of polynomials through the nodes, (place, node)."""
    found = np.ones((len(places), len(nodes)))
    for i, node in enumerate(nodes):
        for other in np.delete(nodes, i):
            found[:, i] *= (places - other) / (node - other)
    return found
