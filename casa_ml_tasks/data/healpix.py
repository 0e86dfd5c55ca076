"""A part of the sky in HEALPix, whose pixels all have the same solid angle (Gorski et al. 2005, ApJ 622, 759).

Its image has the rows and columns of `healpix_grid`, which run to the North-West and the North-East, so that it stands
on a corner and has pixels without a sky around it. Files are FITS tables with explicit numbers, which healpy, Aladin
and astropy-healpix read.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.data.healpix_grid import numbers_at, rows_and_columns
from casa_ml_tasks.data.sky_frame import SkyFrame

if TYPE_CHECKING:
    from astropy_healpix import HEALPix

Real = TypeVar("Real", bound=np.floating[Any])
COORDSYS = {"ICRS": "C", "GALACTIC": "G"}
FINEST = 29  # largest order
WIDEST = np.radians(25)  # radius of a sky, less than a base pixel has
NARROWEST = 0.6  # width of a row of pixels, at least, over the root of their solid angle


@dataclass(frozen=True, eq=False)
class HealpixSky:
    """Some pixels of a HEALPix sphere.

    Attributes:
        nside: pixels along the edge of a base pixel, a power of 2.
        nested: whether numbers are in NESTED order, else RING.
        coordsys: of the numbers, C for ICRS or G for galactic coordinates, which are those of astropy and healpy:
            casacore's are half an arcsecond off.
        numbers: of the pixels, (pixel,), in increasing order.
        middle: longitude and latitude of the part's centre in these coordinates, radians.
    """

    nside: int
    nested: bool
    coordsys: str
    numbers: NDArray[np.int64]
    middle: tuple[float, float]

    @classmethod
    def covering(cls, area: SkyFrame, nested: bool = True) -> HealpixSky:
        """Return the pixels with their centres in an area of the sky, of the size nearest to that of its own.

        Args:
            area: whose centre, frame, cells and shape are meant; of any projection.
            nested: whether to number in NESTED order.

        Raises:
            ValueError: astropy-healpix is not installed, HEALPix has no such frame or no pixels so fine, or the area
                is too wide.
        """
        if area.frame not in COORDSYS:
            raise ValueError(
                f"projection='HEALPIX' has no frame {area.frame}; give a phasecenter in one of {', '.join(COORDSYS)}"
            )
        order = round(np.log2(np.sqrt(np.pi / 3) / min(area.cell)))
        if order > FINEST:
            raise ValueError(
                f"projection='HEALPIX' has no pixels as fine as cell='{np.degrees(min(area.cell)) * 3600:.2g}arcsec'; "
                "use a larger cell, or another projection"
            )
        sphere = _sphere(2 ** max(order, 0), nested=True)
        longitude, latitude = area.centre
        centre = int(sphere.lonlat_to_healpix(longitude * units.rad, latitude * units.rad))
        farthest = np.tensordot(_vectors(longitude, latitude), area.directions(), 1).min()
        if not farthest > np.cos(WIDEST):
            raise ValueError(
                f"projection='HEALPIX' is for images within {np.degrees(WIDEST):.0f} degrees of their centre; use a "
                "smaller imsize, or another projection"
            )
        reach = int(np.arccos(min(farthest, 1)) / (NARROWEST * np.sqrt(np.pi / 3) / sphere.nside)) + 2
        y, x = np.indices((2 * reach + 1,) * 2) - reach
        numbers = numbers_at(y, x, sphere.nside, centre)
        numbers = numbers[numbers >= 0]
        y, x = area.pixels(_vectors(*(each.to_value(units.rad) for each in sphere.healpix_to_lonlat(numbers))))
        with np.errstate(invalid="ignore"):
            inside = (np.abs(y + 0.5 - area.shape[0] / 2) <= area.shape[0] / 2) & (
                np.abs(x + 0.5 - area.shape[1] / 2) <= area.shape[1] / 2
            )
        numbers = numbers[inside] if nested else sphere.nested_to_ring(numbers[inside])
        return cls(sphere.nside, nested, COORDSYS[area.frame], np.sort(numbers), area.centre)

    @cached_property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the pixels, (pixel,) each."""
        y, x = self._from_middle
        return y + self.shape[0] // 2, x + self.shape[1] // 2

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx), both odd: the pixel that has the middle is in the middle."""
        y, x = (2 * int(np.abs(each).max(initial=0)) + 1 for each in self._from_middle)
        return y, x

    @cached_property
    def _from_middle(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        numbers = self.numbers if self.nested else _sphere(self.nside, nested=False).ring_to_nested(self.numbers)
        longitude, latitude = (each * units.rad for each in self.middle)
        centre = _sphere(self.nside, nested=True).lonlat_to_healpix(longitude, latitude)
        return rows_and_columns(numbers, self.nside, int(centre))

    def in_rows(self, values: NDArray[Real], empty: float = 0.0) -> NDArray[Real]:
        """Return values, (..., pixel), in rows and columns, (..., ny, nx). empty: where there is no sky."""
        found = np.full((*values.shape[:-1], *self.shape), empty, values.dtype)
        found[..., *self.places] = values
        return found

    @property
    def frame(self) -> str:
        """ICRS, of the directions."""
        return "ICRS"

    @property
    def centre(self) -> tuple[float, float]:
        """Right ascension and declination of the part's centre, radians."""
        x, y, z = self._in_icrs(*self.middle)
        return float(np.arctan2(y, x)), float(np.arcsin(z))

    def directions(self) -> NDArray[np.float64]:
        """Return unit vectors in ICRS, (3, ny, nx), NaN where there is no sky."""
        lonlat = _sphere(self.nside, self.nested).healpix_to_lonlat(self.numbers)
        return self.in_rows(self._in_icrs(*(each.to_value(units.rad) for each in lonlat)), np.nan)

    def solid_angles(self) -> NDArray[np.float64]:
        """Return the solid angle of each pixel, (ny, nx), sr, NaN where there is no sky."""
        return self.in_rows(np.full(self.numbers.shape, np.pi / (3 * self.nside**2)), np.nan)

    def _in_icrs(self, longitude: ArrayLike, latitude: ArrayLike) -> NDArray[np.float64]:
        if self.coordsys == "C":
            return _vectors(longitude, latitude)
        return SkyCoord(longitude, latitude, unit="rad", frame="galactic").icrs.cartesian.xyz.value


def write_healpix(path: str | Path, sky: HealpixSky, values: NDArray[np.floating], unit: str) -> None:
    """Write a part of the sky as a FITS table.

    Args:
        path: of the file; what is there is replaced.
        sky: where the values are.
        values: (..., ny, nx), one column each.
        unit: as FITS writes it, for instance 'Jy/pixel'.
    """
    planes = values[..., *sky.places].reshape(-1, sky.numbers.size)
    names = ["SIGNAL"] if len(planes) == 1 else [f"SIGNAL_{number}" for number in range(len(planes))]
    columns = [fits.Column("PIXEL", "K", array=sky.numbers)]
    columns += [fits.Column(name, "E", unit=unit, array=plane) for name, plane in zip(names, planes, strict=True)]
    table = fits.BinTableHDU.from_columns(columns, name="HEALPIX")
    table.header.update(
        PIXTYPE="HEALPIX",
        ORDERING="NESTED" if sky.nested else "RING",
        COORDSYS=sky.coordsys,
        NSIDE=sky.nside,
        INDXSCHM="EXPLICIT",
        OBJECT="PARTIAL",
        OBS_NPIX=sky.numbers.size,
        CENLON=np.degrees(sky.middle[0]),
        CENLAT=np.degrees(sky.middle[1]),
    )
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


def read_healpix(path: str | Path) -> tuple[HealpixSky, NDArray[np.float32]]:
    """Return the pixels and the values, (plane, ny, nx), of a file of `write_healpix`."""
    with fits.open(path) as file:
        table, header = file["HEALPIX"].data, file["HEALPIX"].header
        middle = float(np.radians(header["CENLON"])), float(np.radians(header["CENLAT"]))
        numbers = np.asarray(table["PIXEL"], np.int64)
        values = np.stack([np.asarray(table[name], np.float32) for name in table.names[1:]])
        nested = header["ORDERING"] == "NESTED"
        sky = HealpixSky(int(header["NSIDE"]), nested, header["COORDSYS"], numbers, middle)
        return sky, sky.in_rows(values)


def _vectors(longitude: ArrayLike, latitude: ArrayLike) -> NDArray[np.float64]:
    cos = np.cos(latitude)
    return np.stack([cos * np.cos(longitude), cos * np.sin(longitude), np.sin(latitude)])


def _sphere(nside: int, nested: bool) -> HEALPix:
    try:
        from astropy_healpix import HEALPix
    except ImportError as error:
        raise ValueError(
            "projection='HEALPIX' needs the package astropy-healpix, which is not installed; "
            "install it with pip install 'casa-ml-tasks[healpix]'"
        ) from error
    return HEALPix(nside, "nested" if nested else "ring")
