"""A part of the sky in HEALPix, whose pixels all have the same solid angle (Gorski et al. 2005, ApJ 622, 759).

Its image has one row: the pixels in the order of their numbers. Files are FITS tables with explicit numbers, which
healpy, Aladin and astropy-healpix read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.data.sky_frame import SkyFrame

if TYPE_CHECKING:
    from astropy_healpix import HEALPix

COORDSYS = {"ICRS": "C", "GALACTIC": "G"}
FINEST = 29  # largest order


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
        """Return the pixels with their centres in an area of the sky, at least as fine as its own.

        Args:
            area: whose centre, frame, cells and shape are meant; of any projection.
            nested: whether to number in NESTED order.

        Raises:
            ValueError: astropy-healpix is not installed, or HEALPix has no such frame or no pixels so fine.
        """
        if area.frame not in COORDSYS:
            raise ValueError(
                f"projection='HEALPIX' has no frame {area.frame}; give a phasecenter in one of {', '.join(COORDSYS)}"
            )
        order = int(np.ceil(np.log2(np.sqrt(np.pi / 3) / min(area.cell))))
        if order > FINEST:
            raise ValueError(
                f"projection='HEALPIX' has no pixels as fine as cell='{np.degrees(min(area.cell)) * 3600:.2g}arcsec'; "
                "use a larger cell, or another projection"
            )
        sphere = _sphere(2 ** max(order, 0), nested)
        longitude, latitude = area.centre
        # Projections stretch: the farthest corner on the sky can be farther than in pixels.
        diagonal = 1.6 * np.hypot(area.shape[0] * area.cell[1], area.shape[1] * area.cell[0]) / 2
        around = sphere.cone_search_lonlat(
            longitude * units.rad, latitude * units.rad, radius=min(diagonal, np.pi) * units.rad
        )
        numbers = np.sort(around)
        y, x = area.pixels(_vectors(*(each.to_value(units.rad) for each in sphere.healpix_to_lonlat(numbers))))
        with np.errstate(invalid="ignore"):
            inside = (np.abs(y + 0.5 - area.shape[0] / 2) <= area.shape[0] / 2) & (
                np.abs(x + 0.5 - area.shape[1] / 2) <= area.shape[1] / 2
            )
        return cls(sphere.nside, nested, COORDSYS[area.frame], numbers[inside], area.centre)

    @property
    def shape(self) -> tuple[int, int]:
        """(1, pixel)."""
        return 1, self.numbers.size

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
        """Return unit vectors in ICRS, (3, 1, pixel)."""
        lonlat = _sphere(self.nside, self.nested).healpix_to_lonlat(self.numbers)
        return self._in_icrs(*(each.to_value(units.rad) for each in lonlat))[:, None]

    def solid_angles(self) -> NDArray[np.float64]:
        """Return the solid angle of each pixel, (1, pixel), sr."""
        return np.full(self.shape, np.pi / (3 * self.nside**2))

    def _in_icrs(self, longitude: ArrayLike, latitude: ArrayLike) -> NDArray[np.float64]:
        if self.coordsys == "C":
            return _vectors(longitude, latitude)
        return SkyCoord(longitude, latitude, unit="rad", frame="galactic").icrs.cartesian.xyz.value


def write_healpix(path: str | Path, sky: HealpixSky, values: NDArray[np.floating], unit: str) -> None:
    """Write a part of the sky as a FITS table.

    Args:
        path: of the file; what is there is replaced.
        sky: where the values are.
        values: (..., pixel), one column each.
        unit: as FITS writes it, for instance 'Jy/pixel'.
    """
    planes = values.reshape(-1, sky.numbers.size)
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
    """Return the pixels and the values, (plane, pixel), of a file of `write_healpix`."""
    with fits.open(path) as file:
        table, header = file["HEALPIX"].data, file["HEALPIX"].header
        middle = float(np.radians(header["CENLON"])), float(np.radians(header["CENLAT"]))
        numbers = np.asarray(table["PIXEL"], np.int64)
        values = np.stack([np.asarray(table[name], np.float32) for name in table.names[1:]])
        nested = header["ORDERING"] == "NESTED"
        return HealpixSky(int(header["NSIDE"]), nested, header["COORDSYS"], numbers, middle), values


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
