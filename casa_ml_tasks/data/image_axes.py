"""What pixels and channels of a CASA image are on the sky: directions, position angles, frequencies and velocities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.wcs import WCS
from casatools import coordsys
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.data.casa_image import opened
from casa_ml_tasks.data.sky_frame import AXES, SYSTEMS

LIGHT = 299792.458  # km/s
STEP = 0.5  # pixels, of the differences that give the scale and the orientation of the image at a place


@dataclass(frozen=True)
class ImageAxes:
    """The axes of an image.

    Attributes:
        celestial: of x and y, degrees; pixels count from 0.
        frame: of the directions, as CASA names it, for instance ICRS.
        frequencies: (channel,), Hz.
        widths: of the channels, (channel,), Hz.
        rest_frequency: Hz, of velocities; 0 where the image names none.
        spectral_frame: of the frequencies, for instance LSRK.
    """

    celestial: WCS
    frame: str
    frequencies: NDArray[np.float64]
    widths: NDArray[np.float64]
    rest_frequency: float
    spectral_frame: str

    def directions(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return longitude (from 0 to 360) and latitude, degrees, of pixels."""
        longitude, latitude = self.celestial.wcs_pix2world(np.ravel(x), np.ravel(y), 0)
        return np.asarray(longitude) % 360, np.asarray(latitude)

    def pixels(self, longitude: ArrayLike, latitude: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return x and y, pixels, of directions in the frame of the image, degrees."""
        x, y = self.celestial.wcs_world2pix(np.ravel(longitude), np.ravel(latitude), 0)
        return np.asarray(x), np.asarray(y)

    def jacobians(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Return how far East and North one pixel along x and along y leads, (place, 2, 2), arcsec."""
        x, y = np.ravel(x), np.ravel(y)
        columns = []
        for dx, dy in ((STEP, 0.0), (0.0, STEP)):
            east, north = self._offsets((x + dx, y + dy), (x - dx, y - dy))
            columns.append(np.stack([east, north], -1) / (2 * STEP))
        return np.stack(columns, -1)

    def _offsets(
        self, to: tuple[NDArray[np.floating], NDArray[np.floating]], of: tuple[NDArray[np.floating], ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the way from pixels to others, a few of them away, to the East and to the North, arcsec."""
        (longitude, latitude), (other, beside) = self.directions(*to), self.directions(*of)
        turned = (longitude - other + 180) % 360 - 180
        east = turned * np.cos(np.radians((latitude + beside) / 2))
        return 3600 * east, 3600 * (latitude - beside)

    @cached_property
    def velocities(self) -> NDArray[np.float64]:
        """Radio velocities of the channels, (channel,), km/s; NaN without a rest frequency."""
        return self.velocity(self.frequencies)

    def velocity(self, frequency: ArrayLike) -> NDArray[np.float64]:
        """Return the radio velocity, km/s, of a frequency, Hz; NaN without a rest frequency."""
        if not self.rest_frequency > 0:
            return np.full(np.shape(frequency), np.nan)
        return LIGHT * (1 - np.asarray(frequency, float) / self.rest_frequency)

    def frequency(self, channel: ArrayLike) -> NDArray[np.float64]:
        """Return the frequency, Hz, of a channel's number, which may be a fraction."""
        numbers = np.arange(len(self.frequencies))
        if len(numbers) == 1:
            return self.frequencies[0] + self.widths[0] * np.asarray(channel, float)
        below = np.clip(np.floor(channel).astype(int), 0, len(numbers) - 2)
        step = np.diff(self.frequencies)[below]
        return self.frequencies[below] + step * (np.asarray(channel, float) - below)


def read_axes(path: str | Path) -> ImageAxes:
    """Return the axes of an image or of a FITS file with directions and frequencies, in any order."""
    with opened(path) as tool:
        coordinates = tool.coordsys()
        spectral = coordinates.axiscoordinatetypes().index("Spectral")
        centres, edges = (
            _frequencies(coordinates, spectral, np.arange(tool.shape()[spectral] + more) - before)
            for more, before in ((0, 0.0), (1, 0.5))
        )
        return ImageAxes(
            celestial=celestial_wcs(coordinates),
            frame=str(coordinates.referencecode("direction")[0]),
            frequencies=centres,
            widths=np.diff(edges),
            rest_frequency=float(coordinates.restfrequency()["value"][0]),
            spectral_frame=str(coordinates.referencecode("spectral")[0]),
        )


def celestial_wcs(coordinates: coordsys) -> WCS:
    """Return the directions of the first two pixel axes as FITS has them, degrees."""
    record = coordinates.torecord()
    direction = record[next(name for name in record if name.startswith("direction"))]
    degrees = {"rad": 180 / np.pi, "deg": 1.0, "'": 1 / 60, "arcmin": 1 / 60, '"': 1 / 3600, "arcsec": 1 / 3600}
    units = np.array([degrees[str(unit)] for unit in direction["units"]])
    frame = str(direction["system"])
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"{axis:-<5}{direction['projection']}" for axis in AXES.get(frame, ("RA", "DEC"))]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = units * direction["crval"]
    wcs.wcs.cdelt = units * direction["cdelt"]
    wcs.wcs.crpix = np.asarray(direction["crpix"]) + 1
    wcs.wcs.pc = np.transpose(direction["pc"])  # casatools hands over matrices by columns
    wcs.wcs.lonpole, wcs.wcs.latpole = direction["longpole"], direction["latpole"]
    wcs.wcs.set_pv([(2, number, value) for number, value in enumerate(direction["projection_parameters"], 1)])
    if frame in SYSTEMS:
        wcs.wcs.radesys = SYSTEMS[frame]
    wcs.wcs.set()
    return wcs


def _frequencies(coordinates: coordsys, axis: int, channels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return Hz of channel numbers, which may be fractions, along an axis of pixels."""
    pixel = [0.0] * coordinates.naxes()
    return np.array(
        [
            coordinates.toworld([*pixel[:axis], float(each), *pixel[axis + 1 :]], "n")["numeric"][axis]
            for each in channels
        ]
    )
