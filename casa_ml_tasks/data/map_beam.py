"""The beam of a single-dish map, from its header, from numbers or from an image, and what it makes of units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy.constants import Boltzmann, arcsecond
from scipy.constants import c as SPEED_OF_LIGHT

from casa_ml_tasks.data.casa_image import Beam
from casa_ml_tasks.data.sky_map import SkyMap, read_sky_map
from casa_ml_tasks.kernels.dish_beam import DishBeam, GaussianBeam, SampledBeam

JANSKY = 1e-26  # W / m^2 / Hz
SQUARE_WIDTH = np.pi / (4 * np.log(2))  # solid angle of a Gaussian over the square of its width
MOST_TURNED = 0.02  # radians, of an image of a beam


class MapBeam(Protocol):
    """A beam on the sky."""

    @property
    def width(self) -> float:
        """Full width at half maximum of a round Gaussian of the same solid angle, arcsec."""
        ...

    def in_pixels(self, cell: float, turn: float) -> DishBeam:
        """Return the beam in pixels of an image.

        Args:
            cell: of the image, arcsec.
            turn: angle of the map's North from the image's y axis towards -x, radians.
        """
        ...


@dataclass(frozen=True)
class EllipticalBeam:
    """A Gaussian, arcsec and degrees, its position angle from the map's North."""

    ellipse: Beam

    @property
    def width(self) -> float:
        """Geometric mean of the widths, arcsec."""
        return float(np.sqrt(self.ellipse.major * self.ellipse.minor))

    def in_pixels(self, cell: float, turn: float) -> GaussianBeam:
        """Return the beam in pixels of an image of `cell` arcsec, towards whose North the map's is turned."""
        ellipse = self.ellipse
        return GaussianBeam(ellipse.major / cell, ellipse.minor / cell, np.radians(ellipse.angle) + turn)


@dataclass(frozen=True, eq=False)
class BeamImage:
    """An image of a beam, along the map's axes, East to the left; the same as another if it is the same object.

    Attributes:
        pixels: (ny, nx), 1 at the peak.
        centre: y and x of the pixel that looks at the source.
        cells: height and width of a pixel, arcsec; the width is negative where East is to the right.
    """

    pixels: NDArray[np.float64]
    centre: tuple[float, float]
    cells: tuple[float, float]

    @property
    def width(self) -> float:
        """Width of a round Gaussian of the same solid angle, arcsec."""
        return float(np.sqrt(np.abs(self.pixels.sum() * self.cells[0] * self.cells[1]) / SQUARE_WIDTH))

    def in_pixels(self, cell: float, turn: float) -> SampledBeam:
        """Return the beam in pixels of an image of `cell` arcsec.

        Raises:
            ValueError: the map's North is another than the image's.
        """
        if abs(turn) > MOST_TURNED:
            raise ValueError(
                f"has its North {np.degrees(turn):.2g} deg from the image's, and an image of a beam is not turned; "
                "give a map in the image's frame, or sdbeam as a Gaussian"
            )
        return SampledBeam(self.pixels, self.centre, (self.cells[0] / cell, self.cells[1] / cell))


def beams_of(beam: Beam | str | None, sky_map: SkyMap) -> list[MapBeam]:
    """Return the beam of every channel of a map.

    Args:
        beam: a Gaussian, the path of an image of the beam, or None for that of the map's header.
        sky_map: the map.

    Raises:
        ValueError: there is no beam, or it makes no sense.
    """
    count = len(sky_map.pixels)
    beams: list[MapBeam]
    if isinstance(beam, str):
        beams = _images(beam)
        if len(beams) not in (1, count):
            raise ValueError(f"has {count} channels and sdbeam='{beam}' has {len(beams)}; give one beam, or one each")
        beams = beams * (count // len(beams))
    else:
        named = [beam] * count if beam else _filled(sky_map.beams)
        beams = [EllipticalBeam(each) for each in named]
    side = np.sqrt(np.prod(sky_map.pixels.shape[1:])) * sky_map.cell
    for each in beams:
        if not sky_map.cell < each.width < side:
            raise ValueError(
                f"has a beam of {each.width:.4g} arcsec, which pixels of {sky_map.cell:.4g} arcsec and a width of "
                f"{side:.4g} arcsec do not go with; correct its header or give the beam as sdbeam"
            )
    return beams


def jansky_per_beam(unit: str, beam: MapBeam, cell: float, frequency: float | None) -> float:
    r"""Return Jy/beam of a unit of brightness: K is $2 k \nu^2 \Omega / c^2$, main-beam brightness temperature.

    Args:
        unit: as files write it.
        beam: of the map.
        cell: of the map, arcsec.
        frequency: Hz; None where the map has none.

    Raises:
        ValueError: it is no unit of brightness.
    """
    if not unit:
        raise ValueError("names no unit of its brightness; set BUNIT in its header, for instance to Jy/beam or K")
    parsed = _unit(unit)
    solid_angle = SQUARE_WIDTH * (beam.width * arcsecond) ** 2
    if parsed is not None and parsed.is_equivalent(u.Jy / u.beam):
        return float(parsed.to(u.Jy / u.beam))
    if parsed is not None and parsed.is_equivalent(u.Jy / u.pix):
        return float(parsed.to(u.Jy / u.pix)) * SQUARE_WIDTH * (beam.width / cell) ** 2
    if parsed is not None and parsed.is_equivalent(u.Jy / u.sr):
        return float(parsed.to(u.Jy / u.sr)) * solid_angle
    if parsed is not None and parsed.is_equivalent(u.K):
        if frequency is None:
            raise ValueError(f"is in {unit} without a frequency; set one in its header, or give it in Jy/beam")
        kelvin = 2 * Boltzmann * (frequency / SPEED_OF_LIGHT) ** 2 * solid_angle / JANSKY
        return float(parsed.to(u.K)) * kelvin
    raise ValueError(f"has the unit '{unit}'; give a map in Jy/beam, K, Jy/pixel or MJy/sr")


def _unit(text: str) -> u.UnitBase | None:
    """Return a unit as astropy knows it, without what stands in brackets behind K; None where it knows none."""
    words = re.sub(r"\(.*\)", "", text).strip()
    for name, upper in (("Jy", "JY"), ("beam", "BEAM"), ("pixel", "PIXEL"), ("sr", "SR")):
        words = words.replace(upper, name)
    try:
        return u.Unit(words)
    except ValueError:
        return None


def _filled(beams: tuple[Beam | None, ...]) -> list[Beam]:
    """Return the beams of all channels, where one has none that of the nearest channel."""
    known = [channel for channel, beam in enumerate(beams) if beam is not None]
    if not known:
        raise ValueError("names no beam in its header; give its width as sdbeam, for instance '26.7arcsec'")
    nearest = [min(known, key=lambda each: abs(each - channel)) for channel in range(len(beams))]
    return [beam for beam in (beams[each] for each in nearest) if beam is not None]


def _images(path: str) -> list[MapBeam]:
    """Return the beams in the channels of an image."""
    try:
        found = read_sky_map(path)
    except ValueError as error:
        raise ValueError(f"needs its beam: sdbeam={error}") from error
    scales = found.celestial.pixel_scale_matrix.diagonal()[::-1] * 3600
    centre = found.celestial.wcs.crpix[::-1] - 1
    beams: list[MapBeam] = []
    for plane in np.nan_to_num(found.pixels):
        peak = np.array(np.unravel_index(np.argmax(plane), plane.shape))
        if not plane.max() > 0 or np.abs(peak - centre).max() > 1:
            raise ValueError(
                f"needs its beam: sdbeam='{path}' has no peak at its reference pixel; give an image with the beam there"
            )
        beams.append(BeamImage(plane / plane.max(), (centre[0], centre[1]), (scales[0], -scales[1])))
    return beams
