"""Skies of either kind, in a projection or in HEALPix: made for the image of visibilities, and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from casatools import coordsys
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import empty_copy, opened, write_image
from casa_ml_tasks.data.healpix import HealpixSky, write_healpix
from casa_ml_tasks.data.projections import HEALPIX
from casa_ml_tasks.data.sky_frame import SinImage, Sky, SkyFrame

TABLE = ".fits"


def sky_of(projection: str, image: SinImage) -> Sky:
    """Return the sky in a projection about the centre of an image, with pixels as large and as many.

    Args:
        projection: one of `data.projections`, in capitals.
        image: of the visibilities.

    Raises:
        ValueError: there is no such sky in HEALPix.
    """
    if projection == HEALPIX:
        return HealpixSky.covering(SkyFrame(image.centre, image.frame, (image.cell, image.cell), image.shape))
    return SkyFrame(image.centre, image.frame, (image.cell, image.cell), image.shape, projection)


def write_sky(path: str | Path, template: str | Path, sky: Sky, pixels: NDArray[np.floating], unit: str) -> Path:
    """Write a sky; return where it is.

    Args:
        path: of the CASA image; a table of HEALPix pixels has TABLE behind it.
        template: an image with the channels and Stokes planes of the sky.
        sky: where the pixels are.
        pixels: (channel, stokes, ny, nx).
        unit: of the pixels.
    """
    path = Path(path)
    if isinstance(sky, HealpixSky):
        path = path.with_name(path.name + TABLE)
        write_healpix(path, sky, pixels, unit)
        return path
    assert isinstance(sky, SkyFrame), "there are two kinds of skies"
    if not path.exists():
        empty_sky(template, path, sky)
    write_image(path, pixels, path, unit)
    with opened(path) as tool:
        tool.setbrightnessunit(unit)
    return path


def empty_sky(template: str | Path, path: str | Path, sky: SkyFrame) -> None:
    """Make a CASA image of zeros with the pixels of a sky, and else with the axes, notes and object of a template."""
    with opened(template) as tool:
        planes = tool.shape()[2:]
    empty_copy(template, path, (*planes[::-1], *sky.shape))
    with opened(path) as tool:
        tool.setcoordsys(with_pixels_of(sky, tool.coordsys()).torecord())


def with_pixels_of(sky: SkyFrame, coordinates: coordsys) -> coordsys:
    """Return coordinates whose direction is that of the pixels of a sky, and whose other axes are those of others."""
    record = coordinates.torecord()
    (name,) = (key for key in record if key.startswith("direction"))
    wcs = sky.wcs()
    direction = {
        "system": sky.frame,
        "conversionSystem": sky.frame,
        "projection": sky.projection,
        "projection_parameters": np.zeros(2 if sky.projection == "SIN" else 0),
        "crval": np.array(sky.centre),
        "crpix": wcs.wcs.crpix - 1,
        "cdelt": np.radians(wcs.wcs.cdelt),
        "units": np.array(["rad", "rad"]),
        "pc": np.eye(2),
        # Those of other projections do not do for cylindrical ones.
        "longpole": wcs.wcs.lonpole,
        "latpole": wcs.wcs.latpole,
    }
    found = coordsys()
    found.fromrecord({**record, name: {**record[name], **direction}})
    return found
