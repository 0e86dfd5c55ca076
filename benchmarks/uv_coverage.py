"""Simulated tracks for the kernels' benchmarks: antennas of casadata, the rotation of the Earth, channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import casadata
import numpy as np
from numpy.typing import NDArray
from scipy.constants import speed_of_light

CONFIGURATIONS = Path(casadata.datapath) / "alma" / "simmos"


@dataclass(frozen=True)
class Telescope:
    """Where it is, what it looks at, and how.

    Attributes:
        configuration: file of antenna positions.
        latitude: degrees; the positions' own where they are geocentric.
        declination: of the source, degrees.
        hour_angle: the track runs from minus this to this, degrees.
        windows: lowest frequency of each spectral window, Hz.
        bandwidth: of each, Hz.
    """

    configuration: str
    latitude: float
    declination: float
    hour_angle: float
    windows: tuple[float, ...]
    bandwidth: float

    def antennas(self) -> NDArray[np.float64]:
        """(antenna, 3), metres: towards the meridian on the equator, East, and the pole."""
        path = CONFIGURATIONS / self.configuration
        positions = np.loadtxt(path, usecols=(0, 1, 2))
        if "coordsys=XYZ" in path.read_text():
            x, y, z = positions.T
            longitude = np.arctan2(y.mean(), x.mean())
            along, across = np.cos(longitude), np.sin(longitude)
            return np.stack([along * x + across * y, along * y - across * x, z], axis=1)
        east, north, up = positions.T
        latitude = np.radians(self.latitude)
        return np.stack(
            [
                np.cos(latitude) * up - np.sin(latitude) * north,
                east,
                np.sin(latitude) * up + np.cos(latitude) * north,
            ],
            axis=1,
        )


ALMA = Telescope("alma.cycle7.5.cfg", -23.0, -40.0, 30.0, (217e9, 219e9, 231e9, 233e9), 1.875e9)

#: P band: its field is wide, so w matters.
VLA = Telescope("vla.b.cfg", 34.1, 30.0, 60.0, (300e6, 350e6), 50e6)


@dataclass(frozen=True)
class Observation:
    """All baselines at some hour angles, and channels.

    Attributes:
        hour_angles: of the integrations, radians.
        frequency: (channel,), Hz.
    """

    telescope: Telescope
    hour_angles: NDArray[np.float64]
    frequency: NDArray[np.float64]

    @classmethod
    def of(cls, telescope: Telescope, visibilities: float) -> Observation:
        """About so many visibilities, in more channels the more there are."""
        channels = 8 if visibilities <= 2e6 else 16 if visibilities <= 2e7 else 128
        antennas = len(telescope.antennas())
        baselines = antennas * (antennas - 1) // 2
        integrations = max(1, round(visibilities / (baselines * channels)))
        track = np.radians(telescope.hour_angle) * np.linspace(-1, 1, integrations)
        each = channels // len(telescope.windows)
        frequency = np.add.outer(telescope.windows, np.arange(each) * telescope.bandwidth / each).ravel()
        return cls(telescope, track, frequency)

    @cached_property
    def uvw(self) -> NDArray[np.float64]:
        """(row, 3), metres."""
        antennas = self.telescope.antennas()
        first, second = np.triu_indices(len(antennas), 1)
        x, y, z = (antennas[second] - antennas[first]).T
        sin_h, cos_h = np.sin(self.hour_angles)[:, None], np.cos(self.hour_angles)[:, None]
        declination = np.radians(self.telescope.declination)
        sin_d, cos_d = np.sin(declination), np.cos(declination)
        towards_meridian = cos_h * x - sin_h * y
        u = sin_h * x + cos_h * y
        v = cos_d * z - sin_d * towards_meridian
        w = sin_d * z + cos_d * towards_meridian
        return np.stack([u, v, w], axis=-1).reshape(-1, 3)

    @property
    def wavenumber(self) -> NDArray[np.float64]:
        """(channel,), 1/m."""
        return self.frequency / speed_of_light

    @property
    def size(self) -> int:
        """How many visibilities."""
        return len(self.uvw) * self.frequency.size

    def cell(self, samples: float = 5.0) -> float:
        """Pixel size, radians, with so many pixels a fringe of the longest baseline."""
        return float(1 / (samples * np.abs(self.uvw[:, :2]).max() * self.wavenumber.max()))

    def parts(self, most: int) -> Iterator[Observation]:
        """The observation in pieces of consecutive integrations, with about `most` visibilities at most."""
        count = min(max(1, -(-self.size // most)), self.hour_angles.size)
        for piece in np.array_split(self.hour_angles, count):
            yield replace(self, hour_angles=piece)
