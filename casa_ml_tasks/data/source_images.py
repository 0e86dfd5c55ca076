"""Images of sources: cubes like their template, and maps of all its channels together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from casatools import regionmanager
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import Beam, opened, write_image

#: Pixel axes of every product.
ORDER = ["Direction", "Direction", "Stokes", "Spectral"]


def ordered_copy(source: str | Path, path: str | Path) -> None:
    """Write a CASA image or a FITS file as a CASA image with the axes x, y, Stokes, frequency."""
    with opened(source) as tool:
        kinds = [str(kind) for kind in tool.coordsys().axiscoordinatetypes()]
        if kinds == ORDER:
            tool.subimage(outfile=str(path), dropdeg=False).done()
        else:
            tool.transpose(outfile=str(path), order="0132").done()


def write_cube(path: str | Path, pixels: NDArray[np.generic], template: str | Path, unit: str) -> None:
    """Write (channel, ny, nx) as an image with the coordinates of a template.

    Args:
        path: of the image.
        pixels: of one Stokes plane.
        template: a CASA image of this shape.
        unit: such as Jy/pixel; '' for none.
    """
    write_image(path, np.asarray(pixels, np.float32)[:, None], template, unit)


def write_map(path: str | Path, pixels: NDArray[np.floating], template: str | Path, unit: str) -> None:
    """Write (ny, nx) as an image of one channel that is as wide as all channels of the template."""
    with opened(template) as tool:
        channels = int(tool.shape()[-1])
        region = regionmanager().box(blc=[0] * 4, trc=[*(np.array(tool.shape()[:3]) - 1).tolist(), 0])
        tool.subimage(outfile=str(path), region=region, dropdeg=False, overwrite=True).done()
    with opened(path) as tool:
        coordinates = tool.coordsys()
        increment = coordinates.increment("n", "spectral")["numeric"][0]
        value = coordinates.referencevalue("n", "spectral")["numeric"][0]
        first = value - increment * coordinates.referencepixel("spectral")["numeric"][0]
        coordinates.setreferencepixel(0.0, "spectral")
        coordinates.setreferencevalue(first + increment * (channels - 1) / 2, "spectral")
        coordinates.setincrement(increment * channels, "spectral")
        tool.setcoordsys(coordinates.torecord())
        if masks := [name for name in tool.maskhandler("get") if name != "T"]:
            tool.maskhandler("delete", masks)
        tool.setbrightnessunit(unit)
        tool.setrestoringbeam(remove=True)
        tool.putchunk(np.ascontiguousarray(pixels.T, np.float32)[:, :, None, None])


def set_beam(path: str | Path, beam: Beam) -> None:
    """Give an image one restoring beam."""
    with opened(path) as tool:
        tool.setrestoringbeam(remove=True)
        tool.setrestoringbeam(major=f"{beam.major}arcsec", minor=f"{beam.minor}arcsec", pa=f"{beam.angle}deg")
