"""The sky in any frame and projection, and where its pixels are in the SIN image of the visibilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from astropy.wcs import WCS
from casatools import measures
from numpy.typing import DTypeLike, NDArray

from casa_ml_tasks.data.directions import STEP, toward
from casa_ml_tasks.kernels.reprojection import TOLERANCE, PointwiseSky, Reprojection, SlicedSky

AXES = {"GALACTIC": ("GLON", "GLAT"), "ECLIPTIC": ("ELON", "ELAT"), "SUPERGAL": ("SLON", "SLAT")}
SYSTEMS = {"J2000": "FK5", "B1950": "FK4", "ICRS": "ICRS"}  # RADESYS
SAME = 1e-12  # radians, and relative
ON_SPHERE = 0.1  # pixels, between a pixel and where its direction lies; CSC is inverted to 0.01 pixels only


@dataclass(frozen=True)
class SinImage:
    """The image that the visibilities are of, SIN about their phase centre, with North up.

    Attributes:
        centre: longitude and latitude, radians, of the pixel (ny // 2, nx // 2).
        frame: of the centre, for instance ICRS.
        cell: size of a pixel, radians.
        shape: (ny, nx).
    """

    centre: tuple[float, float]
    frame: str
    cell: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, celestial: WCS, shape: tuple[int, int]) -> SinImage:
        """Return an image of that shape with the centre, frame and cell of the coordinates of another."""
        wcs = celestial.wcs
        frames = {axes[0]: frame for frame, axes in AXES.items()} | {system: frame for frame, system in SYSTEMS.items()}
        frame = frames.get(wcs.ctype[0].partition("-")[0]) or frames[wcs.radesys]
        longitude, latitude = np.radians(wcs.crval).tolist()
        return cls((longitude, latitude), frame, float(np.radians(abs(wcs.cdelt[1]))), shape)


class Sky(Protocol):
    """Pixels on the sky."""

    @property
    def frame(self) -> str:
        """Of the directions, for instance ICRS."""
        ...

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude, radians."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        ...

    def directions(self) -> NDArray[np.float64]:
        """Return unit vectors, (3, ny, nx), NaN off the sphere."""
        ...

    def solid_angles(self) -> NDArray[np.float64]:
        """Return the solid angle of each pixel, (ny, nx), sr, NaN off the sphere."""
        ...


@dataclass(frozen=True)
class SkyFrame:
    """A projection of the sphere, as FITS and CASA define it.

    Attributes:
        centre: longitude and latitude, radians, of the pixel (ny // 2, nx // 2).
        frame: of the centre, as CASA names it: ICRS, J2000, B1950, GALACTIC, ECLIPTIC or SUPERGAL.
        cell: size of a pixel along x and y, radians.
        shape: (ny, nx).
        projection: one of `data.projections.PROJECTIONS`.
    """

    centre: tuple[float, float]
    frame: str
    cell: tuple[float, float]
    shape: tuple[int, int]
    projection: str = "SIN"

    def wcs(self) -> WCS:
        """Return the coordinates of the two axes, degrees."""
        wcs = WCS(naxis=2)
        axes = AXES.get(self.frame, ("RA", "DEC"))
        wcs.wcs.ctype = [f"{axis:-<5}{self.projection}" for axis in axes]
        wcs.wcs.cunit = ["deg", "deg"]
        wcs.wcs.crval = np.degrees(self.centre)
        wcs.wcs.crpix = [self.shape[1] // 2 + 1, self.shape[0] // 2 + 1]
        wcs.wcs.cdelt = np.degrees([-self.cell[0], self.cell[1]])
        if self.frame in SYSTEMS:
            wcs.wcs.radesys = SYSTEMS[self.frame]
        wcs.wcs.set()
        return wcs

    def directions(self) -> NDArray[np.float64]:
        """Return unit vectors, (3, ny, nx), NaN off the sphere."""
        return self._directions(*np.indices(self.shape))

    def solid_angles(self) -> NDArray[np.float64]:
        """Return the solid angle of each pixel, (ny, nx), sr, NaN where a corner is off the sphere."""
        ny, nx = self.shape
        corners = self._directions(*(np.indices((ny + 1, nx + 1)) - 0.5))
        up, down = corners[:, 1:, 1:] - corners[:, :-1, :-1], corners[:, 1:, :-1] - corners[:, :-1, 1:]
        return np.linalg.norm(np.cross(up, down, axis=0), axis=0) / 2

    def pixels(self, directions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return y and x of unit vectors, pixels; (3, ...) to (2, ...), NaN where the projection has none."""
        world = np.degrees([np.arctan2(directions[1], directions[0]), np.arcsin(np.clip(directions[2], -1, 1))])
        x, y = self.wcs().wcs_world2pix(*world.reshape(2, -1), 0)
        return np.stack([y, x]).reshape(2, *directions.shape[1:])

    def _directions(self, y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float64]:
        """Where two pixels have one direction, the one that the direction has is on the sphere."""
        wcs = self.wcs()
        longitude, latitude = wcs.wcs_pix2world(x.ravel(), y.ravel(), 0)
        back = np.stack(wcs.wcs_world2pix(longitude, latitude, 0)) - [x.ravel(), y.ravel()]
        with np.errstate(invalid="ignore"):
            on_sphere = np.abs(back).max(axis=0) < ON_SPHERE
        longitude, latitude = np.radians(np.where(on_sphere, [longitude, latitude], np.nan))
        cos = np.cos(latitude)
        vectors = [cos * np.cos(longitude), cos * np.sin(longitude), np.sin(latitude)]
        return np.stack(vectors).reshape(3, *x.shape)


def positions(sky: Sky, image: SinImage) -> NDArray[np.float64]:
    """Return where the pixels of a sky are in an image, y and x, pixels, (2, ny, nx); NaN where they cannot be seen."""
    axes = toward(*image.centre)
    if sky.frame != image.frame:
        axes = axes @ rotation(sky.frame, image.frame, sky.centre)
    l, m, n = np.tensordot(axes, sky.directions(), 1)  # noqa: E741
    (ny, nx), hidden = image.shape, ~(n > 0)
    found = np.stack([ny // 2 + m / image.cell, nx // 2 - l / image.cell])
    found[:, hidden] = np.nan
    return found


def reprojection_of(
    sky: Sky, image: SinImage, band: float, tolerance: float = TOLERANCE, precision: DTypeLike = float
) -> Reprojection:
    """Return the reprojection of a sky to an image: a slice where both have the same pixels.

    Args:
        sky: the pixels of the sky.
        image: of the visibilities.
        band: highest spatial frequency, cycles a pixel of the image, see `PointwiseSky.at`.
        tolerance: relative, of visibilities.
        precision: of the weights.

    Raises:
        ValueError: the pixels of the image are too large for the band, or the image sees nothing of the sky.
    """
    if _same_pixels(sky, image):
        corner = sky.shape[0] // 2 - image.shape[0] // 2, sky.shape[1] // 2 - image.shape[1] // 2
        return SlicedSky(sky.shape, image.shape, corner)
    reprojection = PointwiseSky.at(positions(sky, image), image.shape, band, tolerance, precision)
    if not reprojection.seen.any():
        raise ValueError(
            "no pixel of the sky lies where the visibilities are; give the sky a centre near their phase centre"
        )
    return reprojection


def jacobian(sky: Sky, image: SinImage) -> NDArray[np.float64]:
    """Return pixels of an image by pixels of a sky at its centre, y and x both, (2, 2)."""
    at = positions(sky, image)
    y, x = (n // 2 for n in sky.shape)
    return np.stack([at[:, y, x] - at[:, y - 1, x], at[:, y, x] - at[:, y, x - 1]], axis=1)


def rotation(of: str, to: str, around: tuple[float, float]) -> NDArray[np.float64]:
    """Return the matrix that takes unit vectors of one frame to another, (3, 3).

    casacore turns two directions a short way apart. That is exact between frames that are turned against each other;
    of B1950, whose aberration (its E-terms) varies over the sky, within 6 mas a degree from the direction. Images
    agree with all that CASA makes; its GALACTIC is 0.5 arcsec off that of astropy, in ICRS.

    Args:
        of, to: names of frames, as CASA has them.
        around: longitude and latitude in the first frame, radians.
    """
    own = toward(*around)
    tool = measures()
    try:
        along = _converted(tool, own[2], of, to)
        north = _converted(tool, np.cos(STEP) * own[2] + np.sin(STEP) * own[1], of, to)
    finally:
        tool.done()
    north -= (north @ along) * along
    north /= np.linalg.norm(north)
    return np.array([np.cross(north, along), north, along]).T @ own


def _converted(tool: measures, vector: NDArray[np.float64], of: str, to: str) -> NDArray[np.float64]:
    longitude, latitude = np.arctan2(vector[1], vector[0]), np.arctan2(vector[2], np.hypot(*vector[:2]))
    found = tool.measure(tool.direction(of, f"{longitude:.17g}rad", f"{latitude:.17g}rad"), to)
    return toward(found["m0"]["value"], found["m1"]["value"])[2]


def _same_pixels(sky: Sky, image: SinImage) -> bool:
    return (
        isinstance(sky, SkyFrame)
        and sky.projection == "SIN"
        and sky.frame == image.frame
        and np.allclose(sky.centre, image.centre, rtol=0, atol=SAME)
        and np.allclose(sky.cell, image.cell, rtol=SAME, atol=0)
    )
