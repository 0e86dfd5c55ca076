"""Simulated dirty cubes of galaxies and points, with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import Beam
from casa_ml_tasks.simulation.cube_observation import (
    CONFIGURATIONS,
    CubeObservation,
    CubeResponse,
    draw_observation,
)
from casa_ml_tasks.simulation.cube_sources import CubeSources, draw_cube_sources
from casa_ml_tasks.simulation.fitted_beam import fitted_beam


@dataclass(frozen=True)
class SimulatedCube:
    """A dirty cube and the truth behind it. Channels are independent; the sky is what the primary beam has left.

    Attributes:
        observation: with cell and frequencies.
        response: PSFs and covariance of the noise.
        sources: the truth, in Jy.
        dirty: (channel, y, x), Jy/beam.
        noise: standard deviation of each channel, (channel,), Jy/beam.
    """

    observation: CubeObservation
    response: CubeResponse
    sources: CubeSources
    dirty: NDArray[np.float32]
    noise: NDArray[np.float64]

    @property
    def psf(self) -> NDArray[np.float32]:
        """The PSF of the middle of the band on twice the field, (2 y, 2 x), peak 1 in the pixel (ny, nx)."""
        return self.response.middle

    @cached_property
    def beam(self) -> Beam:
        """The Gaussian of the middle of the band."""
        return fitted_beam(self.psf, self.observation.cell)

    @cached_property
    def images(self) -> NDArray[np.float32]:
        """Each source with flux 1, (source, y, x)."""
        return self.sources.images(self.observation.pixels)

    @property
    def spectra(self) -> NDArray[np.float64]:
        """(source, channel), Jy."""
        return self.sources.spectra(self.observation.frequencies)

    @property
    def sky(self) -> NDArray[np.float32]:
        """(channel, y, x), Jy/pixel."""
        return np.tensordot(self.spectra.T.astype(np.float32), self.images, 1)

    @cached_property
    def peaks(self) -> NDArray[np.float64]:
        """Peak of each source with flux 1 in the dirty image of the middle of the band, (source,), 1/beam."""
        middle = CubeResponse(self.psf[None], np.ones((1, 1)), self.response.noise)
        return np.array([middle.dirty(image[None], np.ones((1, 1))).max() for image in self.images])

    @property
    def snr(self) -> NDArray[np.float64]:
        """Peak of each source in the mean of the dirty channels, without the others, over its noise, (source,)."""
        return self.peaks * self.spectra.mean(axis=1) * np.sqrt(len(self.noise)) / self.noise[0]

    @property
    def line_snr(self) -> NDArray[np.float64]:
        """Signal-to-noise ratio of each line for a filter of its own profile at the peak of its source, (source,)."""
        profile = np.sqrt(np.sum(self.sources.lines(len(self.noise)) ** 2, axis=1))
        return self.peaks * self.sources.line_flux * profile / self.noise[0]


def simulate_cube(
    seed: int,
    *,
    pixels: int = 256,
    channels: int = 128,
    configurations: Sequence[str] = CONFIGURATIONS,
    briggs_share: float = 0.3,
    observation: CubeObservation | None = None,
    sources: CubeSources | None = None,
) -> SimulatedCube:
    """Return a dirty cube. The same arguments give the same cube.

    Args:
        seed: of observation, sources and noise.
        pixels: of the field in each direction.
        channels: of the cube; one makes it an image.
        configurations: of ALMA, from which one is drawn.
        briggs_share: of observations with Briggs' weighting.
        observation: in the place of one that is drawn; it has its own pixels and channels.
        sources: in the place of those that are drawn; fluxes in Jy.

    Raises:
        ValueError: casadata has no such configuration.
    """
    if observation is None:
        observation = draw_observation(seed, pixels, channels, configurations, briggs_share=briggs_share)
    if sources is None:
        drawn = draw_cube_sources(seed, observation.pixels, observation.channels)
        sources = drawn.scaled(observation.noise / np.sqrt(observation.channels))
    response = CubeResponse.of(observation, observation.baselines)
    return seen(observation, response, sources, np.random.default_rng([seed, 3]))


def seen(
    observation: CubeObservation, response: CubeResponse, sources: CubeSources, rng: np.random.Generator
) -> SimulatedCube:
    """Return the dirty cube of sources, with noise."""
    dirty = response.dirty(sources.images(observation.pixels), sources.spectra(observation.frequencies))
    dirty += np.float32(observation.noise) * response.draw_noise(rng)
    return SimulatedCube(observation, response, sources, dirty, np.full(observation.channels, observation.noise))
