"""Single-dish maps as an image needs them: in Jy/beam, along its axes and in its channels, with beam and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from casa_ml_tasks.data.blank_sky import measured_correlation, measured_noise
from casa_ml_tasks.data.casa_image import Beam
from casa_ml_tasks.data.map_alignment import Alignment, alignment
from casa_ml_tasks.data.map_beam import MapBeam, beams_of, jansky_per_beam
from casa_ml_tasks.data.map_channels import SpectralFrame, channels_of_map
from casa_ml_tasks.data.sky_map import SkyMap, read_sky_map
from casa_ml_tasks.kernels.dish_beam import DishBeam
from casa_ml_tasks.kernels.dish_modes import MapGrid
from casa_ml_tasks.kernels.single_dish import SingleDish


@dataclass(frozen=True)
class MapFile:
    """A single-dish map and what is known about it.

    Attributes:
        path: of a CASA image or a FITS image.
        beam: a Gaussian, the path of an image of the beam, or None where the map's header says it.
        noise: a number and its unit, the path of an image of the noise, or None where it has to be measured.
        scale: of the map's weight.
    """

    path: str
    beam: Beam | str | None = None
    noise: tuple[float, str] | str | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class ImageCoordinates:
    """The pixels and channels of the image of the sky.

    Attributes:
        celestial: coordinates of its two axes on the sky.
        shape: (ny, nx).
        frequencies: of the channels, (channel,), Hz.
        width: of a channel, Hz.
        spectral_frame: of the frequencies.
        rest_frequency: that was asked for, Hz; 0 for none.
    """

    celestial: WCS
    shape: tuple[int, int]
    frequencies: NDArray[np.floating]
    width: float
    spectral_frame: SpectralFrame
    rest_frequency: float = 0.0

    @classmethod
    def of_image(cls, path: str) -> ImageCoordinates:
        """Return those of a CASA image or a FITS image. Its rest frequency is not taken for one that was asked for."""
        found = read_sky_map(path)
        return cls(found.celestial, found.pixels.shape[1:], found.frequencies, found.width, SpectralFrame.of(found))

    @property
    def cell(self) -> float:
        """Side of a pixel, arcsec."""
        return float(np.sqrt(np.abs(np.linalg.det(self.celestial.pixel_scale_matrix))) * 3600)


@dataclass(frozen=True)
class SingleDishMap:
    """A map, ready for `kernels.single_dish`.

    Attributes:
        path: of the map.
        pixels: (channel, ny, nx), Jy/beam, NaN where there is no data.
        grid: where they lie on the image.
        beams: of each channel, in pixels of the image.
        noise: (channel, 1, 1) or (channel, ny, nx), Jy/beam.
        width: of the beam, arcsec, of the channel in the middle.
        scale: of the map's weight.
        correlation: area over which the noise is correlated, over that of the beam; at least 1.
    """

    path: str
    pixels: NDArray[np.float64]
    grid: MapGrid
    beams: tuple[DishBeam, ...]
    noise: NDArray[np.float64]
    width: float
    scale: float = 1.0
    correlation: float = 1.0

    @property
    def weights(self) -> NDArray[np.bool_]:
        """Which pixels count, (channel, ny, nx)."""
        return np.isfinite(self.pixels)

    def on(self, shape: tuple[int, int]) -> SingleDish:
        """Return the map as the likelihood needs it, for images (channel, ny, nx) of this shape."""
        return SingleDish.of(self.pixels, self.grid, self.beams, self.noise, shape, self.correlation)


def read_single_dish(file: MapFile, image: ImageCoordinates) -> SingleDishMap:
    """Read a map and bring it to an image. Nothing is written.

    Raises:
        ValueError: one sentence that names the map and says what is wrong with it.
    """
    try:
        sky_map = read_sky_map(file.path)
    except ValueError as error:
        raise ValueError(f"sdimage={error}") from error
    try:
        return _on_image(file, sky_map, image)
    except ValueError as error:
        raise ValueError(f"sdimage='{file.path}' {error}") from error


def _on_image(file: MapFile, sky_map: SkyMap, image: ImageCoordinates) -> SingleDishMap:
    """Return a map in the pixels and channels of an image. A ValueError says what is wrong, but not with which map."""
    beams = beams_of(file.beam, sky_map)
    channels = channels_of_map(sky_map, image.frequencies, image.width, image.spectral_frame, image.rest_frequency)
    frequencies = sky_map.frequencies if sky_map.frequencies.size else [None] * len(beams)
    factors = [
        jansky_per_beam(sky_map.unit, beam, sky_map.cell, frequency)
        for beam, frequency in zip(beams, frequencies, strict=True)
    ]
    width = beams[len(beams) // 2].width
    placed = alignment(sky_map.celestial, sky_map.pixels.shape[1:], image.celestial, image.shape, width / image.cell)
    in_jansky = np.array(factors)[:, None, None] * sky_map.pixels
    pixels = regridded(channels, placed.aligned(in_jansky))
    if not (np.isfinite(pixels) & placed.grid.inside(image.shape)).any():
        raise ValueError("has no finite pixel within the image; give a map of the image's field")
    noise = _noise(file.noise, sky_map, beams, placed, image.cell, channels, pixels)
    brightest = np.nanargmax(np.nanmax(in_jansky, axis=(1, 2), initial=-np.inf))
    error, typical = placed.error(in_jansky[brightest]), float(np.median(noise[np.isfinite(noise)]))
    if error > typical:
        raise ValueError(
            f"cannot be turned into the image's axes: that changes it by {error:.3g} Jy/beam, more than its noise of "
            f"{typical:.3g} Jy/beam; give a map with smaller pixels, or along the image's axes"
        )
    shapes = {beam: beam.in_pixels(image.cell, placed.turn) for beam in beams}
    nearest = channels.argmax(axis=1)
    correlation = measured_correlation(pixels, width / image.cell, placed.grid.step)
    of_channels = tuple(shapes[beams[each]] for each in nearest)
    return SingleDishMap(file.path, pixels, placed.grid, of_channels, noise, width, file.scale, correlation)


def regridded(weights: NDArray[np.floating], pixels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the channels of an image, NaN where one that is needed is NaN, or where none is.

    Args:
        weights: of each channel of the map in each of the image, (image channel, channel).
        pixels: of the map, (channel, ny, nx).
    """
    planes = np.full((len(weights), *pixels.shape[1:]), np.nan)
    for plane, row in zip(planes, weights, strict=True):
        if row.any():
            plane[:] = np.tensordot(row[row > 0], pixels[row > 0], 1)
    return planes


def _noise(
    given: tuple[float, str] | str | None,
    sky_map: SkyMap,
    beams: list[MapBeam],
    placed: Alignment,
    cell: float,
    channels: NDArray[np.floating],
    pixels: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Return the noise of the map in the channels of the image, (channel, 1, 1) or (channel, ny, nx), Jy/beam.

    Channels of the map that are added have independent noise.
    """
    if given is None:
        step = np.sqrt(abs(placed.grid.step[0] * placed.grid.step[1])) * cell
        found = np.array([measured_noise(plane, beams[len(beams) // 2].width / step) for plane in pixels])
        if not np.isfinite(found).any():
            raise ValueError(
                "shows too little blank sky around zero to measure its noise; check its zero level and give sdnoise"
            )
        return np.where(np.isfinite(found), found, np.nanmedian(found))[:, None, None]
    if isinstance(given, str):
        try:
            image = read_sky_map(given)
        except ValueError as error:
            raise ValueError(f"needs its noise: sdnoise={error}") from error
        if image.pixels.shape[1:] != sky_map.pixels.shape[1:] or len(image.pixels) not in (1, len(beams)):
            raise ValueError(
                f"has the shape {sky_map.pixels.shape} and sdnoise='{given}' {image.pixels.shape}; give an image of "
                "the noise with the pixels of the map"
            )
        values, unit = np.where(image.pixels > 0, image.pixels, np.nan), image.unit or sky_map.unit
        values = placed.aligned(values)
    else:
        values, unit = np.full((1, 1, 1), given[0]), given[1]
    frequencies = sky_map.frequencies if sky_map.frequencies.size else [None] * len(beams)
    factors = [
        jansky_per_beam(unit, beam, sky_map.cell, frequency) for beam, frequency in zip(beams, frequencies, strict=True)
    ]
    return np.sqrt(regridded(channels**2, (np.array(factors)[:, None, None] * values) ** 2))
