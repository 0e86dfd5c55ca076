"""CASA images as arrays and back: (x, y, stokes, channel) on disk, (channel, stokes, y, x) inside.

An image that one process holds open blocks another for over a minute: every function here lets go of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casatools import coordsys, measures, regionmanager
from casatools import image as image_tool
from casatools import table as table_tool
from numpy.typing import NDArray

from casa_ml_tasks.data.image_channels import ImageChannels


@contextmanager
def opened(path: str | Path) -> Iterator[image_tool]:
    """The casatools image tool on an image, closed afterwards."""
    tool = image_tool()
    tool.open(str(path))
    try:
        yield tool
    finally:
        tool.done()


def read_image(path: str | Path) -> NDArray[np.float32]:
    """The pixels of an image, (channel, stokes, y, x), in its own unit, masked ones included."""
    with opened(path) as tool:
        return np.ascontiguousarray(tool.getchunk().T, np.float32)


def read_images(paths: Iterable[str | Path]) -> NDArray[np.float32]:
    """The pixels of several images, one after the other along the first axis."""
    return np.concatenate([read_image(path) for path in paths])


def read_valid(path: str | Path) -> NDArray[np.float32]:
    """The pixels of an image, (channel, stokes, y, x), NaN where its mask is False."""
    with opened(path) as tool:
        return np.where(tool.getchunk(getmask=True).T, tool.getchunk().T, np.float32(np.nan))


def write_image(path: str | Path, pixels: NDArray[np.floating], template: str | Path, unit: str) -> None:
    """Write pixels, (channel, stokes, y, x), into an image made like the template where there is none yet."""
    if not Path(path).exists():
        with opened(template) as tool:
            tool.newimagefromimage(infile=str(template), outfile=str(path)).done()
        with opened(path) as tool:
            if masks := [name for name in tool.maskhandler("get") if name != "T"]:
                tool.maskhandler("delete", masks)
            tool.setbrightnessunit(unit)
            tool.setrestoringbeam(remove=True)
    with opened(path) as tool:
        tool.putchunk(np.ascontiguousarray(pixels.T, np.float32))


def cut_middle(path: str | Path, shape: tuple[int, int]) -> None:
    """Leave the middle of an image, (ny, nx), in its place; its middle pixel stays the middle pixel."""
    whole = f"{path}.whole"
    os.replace(path, whole)
    with opened(whole) as tool:
        nx, ny, *others = tool.shape()
        y, x = ny // 2 - shape[0] // 2, nx // 2 - shape[1] // 2
        first = [x, y] + [0] * len(others)
        last = [x + shape[1] - 1, y + shape[0] - 1] + [n - 1 for n in others]
        box = regionmanager().box(blc=first, trc=last)
        tool.subimage(outfile=str(path), region=box, dropdeg=False).done()
    shutil.rmtree(whole)


def write_on_grid(
    path: str | Path,
    pixels: NDArray[np.floating],
    template: str | Path,
    origin: tuple[float, float],
    step: tuple[float, float],
    unit: str,
) -> None:
    """Write an image with other pixels than its template, along the same axes; NaN is masked.

    Args:
        path: of the image; what is there is replaced.
        pixels: (channel, stokes, y, x).
        template: whose channels, Stokes planes and axes it has.
        origin: y, x in the template of the centre of the first pixel.
        step: height and width of a pixel, pixels of the template.
        unit: of the pixels, such as Jy/beam.
    """
    with opened(template) as tool:
        coordinates = tool.coordsys()
        reference, increment = (
            np.array(coordinates.referencepixel("direction")["numeric"]),
            np.array(coordinates.increment("n", "direction")["numeric"]),
        )
        coordinates.setreferencepixel(list((reference - origin[::-1]) / step[::-1]), "direction")
        coordinates.setincrement(list(increment * step[::-1]), "direction")
        shown = np.ascontiguousarray(pixels.T, np.float32)
        tool.fromarray(outfile=str(path), pixels=np.nan_to_num(shown), csys=coordinates.torecord(), overwrite=True)
    with opened(path) as tool:
        tool.setbrightnessunit(unit)
        tool.calcmask("T", name="mask0")
        tool.putregion(pixelmask=np.isfinite(shown))


def empty_copy(template: str | Path, path: str | Path, shape: tuple[int, ...]) -> None:
    """Make an image of zeros, (channel, stokes, y, x), with the coordinates, notes and object of the template."""
    with opened(template) as tool:
        coordinates, notes = tool.coordsys().torecord(), tool.miscinfo()
        tool.fromshape(outfile=str(path), shape=list(shape[::-1]), csys=coordinates)
    with opened(path) as tool:
        tool.setmiscinfo(notes)
    _copy_object(template, path)


def _copy_object(template: str | Path, path: str | Path) -> None:
    """Name the object of an image as that of another: exportfits writes it as OBJECT."""
    tool = table_tool()
    try:
        tool.open(str(template))
        named = tool.getkeyword("imageinfo").get("objectname", "") if "imageinfo" in tool.keywordnames() else ""
        tool.close()
        tool.open(str(path), nomodify=False)
        tool.putkeyword("imageinfo", {"imagetype": "Intensity", "objectname": named})
    finally:
        tool.close()


def mask_where_zero(path: str | Path, other: str | Path) -> None:
    """Give an image a mask in the place of any other, False where another image is 0."""
    with opened(path) as tool:
        if masks := [name for name in tool.maskhandler("get") if name != "T"]:
            tool.maskhandler("delete", masks)
        tool.calcmask(f'"{other}" != 0.0', name="mask0")


def write_samples(path: str | Path, samples: NDArray[np.floating], template: str | Path, unit: str) -> None:
    """Write (sample, channel, stokes, y, x) into an image with an axis Sample, from 1, in the place of frequency.

    Of a cube, which has one Stokes plane, frequency takes the place of Stokes: a fifth axis would keep both, but CARTA
    opens images of up to four.

    Args:
        path: of the image; what is there is replaced.
        samples: of an image of one channel, or of one Stokes plane.
        template: an image of these channels and Stokes planes, whose coordinates it gets.
        unit: of the samples, such as Jy/pixel.
    """
    with opened(template) as tool:
        coordinates, notes = tool.coordsys().torecord(), tool.miscinfo()
        spectral, stokes = (
            next(name for name in coordinates if name.startswith(kind)) for kind in ("spectral", "stokes")
        )
        linear = {"axes": ["Sample"], "units": [""], "crpix": [0.0], "crval": [1.0], "cdelt": [1.0], "pc": [[1.0]]}
        coordinates[spectral.replace("spectral", "linear")] = {name: np.array(value) for name, value in linear.items()}
        frequency = coordinates.pop(spectral)
        pixels = samples[:, 0]
        if samples.shape[1] > 1:
            del coordinates[stokes]
            coordinates[stokes.replace("stokes", "spectral")] = frequency
            pixels = samples[:, :, 0]
        pixels = np.ascontiguousarray(pixels.T, np.float32)
        tool.fromarray(outfile=str(path), pixels=pixels, csys=coordinates, overwrite=True)
    with opened(path) as tool:
        tool.setbrightnessunit(unit)
        tool.setmiscinfo(notes)


def note(path: str | Path, name: str, value: str | float | bool) -> None:
    """Add an entry to an image's miscellaneous information."""
    with opened(path) as tool:
        tool.setmiscinfo(tool.miscinfo() | {name: value})


def read_direction(path: str | Path) -> tuple[tuple[float, float], str]:
    """Right ascension and declination of the reference pixel, radians, and their frame, for instance ICRS."""
    with opened(path) as tool:
        coordinates = tool.coordsys()
        right_ascension, declination = coordinates.referencevalue("n", "direction")["numeric"]
        return (float(right_ascension), float(declination)), str(coordinates.referencecode("direction")[0])


def read_frequencies(path: str | Path) -> NDArray[np.float64]:
    """Of the channels, (channel,), Hz."""
    with opened(path) as tool:
        return _frequencies(tool.coordsys(), np.arange(tool.shape()[-1]))


def read_channels(path: str | Path) -> ImageChannels:
    """The channels of an image."""
    with opened(path) as tool:
        return channels_of(tool.coordsys(), tool.shape()[-1])


def channels_of(coordinates: coordsys, count: int) -> ImageChannels:
    """The channels of an image of `count` with these coordinates."""
    return ImageChannels(tuple(_frequencies(coordinates, np.arange(count + 1) - 0.5).tolist()))


def _frequencies(coordinates: coordsys, channels: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float64]:
    """Hz, of channel numbers, which may be fractions."""
    first = [0.0] * (coordinates.naxes() - 1)
    return np.array([coordinates.toworld([*first, float(each)], "n")["numeric"][-1] for each in channels])


def places_of(path: str | Path, directions: Sequence[str]) -> NDArray[np.float64]:
    """Pixels y and x, with their fractions, (direction, 2), of directions such as 'J2000 19:58:40.9 +40.55.58'."""
    measure = measures()
    try:
        found = [{"measure": {"direction": measure.direction(*each.split())}} for each in directions]
    finally:
        measure.done()
    with opened(path) as tool:
        coordinates = tool.coordsys()
        places = [coordinates.topixel(each)["numeric"][1::-1] for each in found]
    return np.array(places, float).reshape(-1, 2)


def set_unit(path: str | Path, unit: str) -> None:
    """Set the brightness unit of an image."""
    with opened(path) as tool:
        tool.setbrightnessunit(unit)


@dataclass(frozen=True)
class Beam:
    """A Gaussian beam: major and minor axis (full width at half maximum) in arcsec, position angle in degrees."""

    major: float
    minor: float
    angle: float

    def area(self, cell: float) -> float:
        """Solid angle in pixels of `cell` arcsec."""
        return float(np.pi / (4 * np.log(2)) * self.major * self.minor / cell**2)


def read_beams(path: str | Path) -> list[Beam | None]:
    """The restoring beam of every channel, None where it has none."""
    with opened(path) as tool:
        found, channels = tool.restoringbeam(), int(tool.shape()[-1])
    if "beams" in found:
        return [_beam(found["beams"][f"*{channel}"]["*0"]) for channel in range(channels)]
    return [_beam(found)] * channels


def read_beam(path: str | Path) -> Beam | None:
    """The restoring beam of the first channel that has one, or None."""
    return next((beam for beam in read_beams(path) if beam is not None), None)


def _beam(found: Mapping[str, Any]) -> Beam | None:
    if "major" not in found or not found["major"]["value"] > 0:
        return None
    arcsec = {"arcsec": 1.0, "arcmin": 60.0, "deg": 3600.0, "rad": np.degrees(1) * 3600}
    return Beam(
        found["major"]["value"] * arcsec[found["major"]["unit"]],
        found["minor"]["value"] * arcsec[found["minor"]["unit"]],
        found["positionangle"]["value"],
    )


def read_cell(path: str | Path) -> float:
    """The side of a pixel, arcsec: the geometric mean of the two axes."""
    with opened(path) as tool:
        increment = tool.coordsys().increment()["numeric"][:2]
    return float(np.degrees(np.sqrt(abs(np.prod(increment)))) * 3600)


def image_shape(path: str | Path) -> tuple[int, ...]:
    """(channel, stokes, y, x) of an image."""
    with opened(path) as tool:
        return tuple(int(n) for n in tool.shape()[::-1])


def can_be_opened(path: str | Path) -> bool:
    """Whether the image is whole enough to be opened: a killed process may leave half of one."""
    try:
        with opened(path):
            return True
    except RuntimeError:
        return False


def is_casa_image(path: str | Path) -> bool:
    """Whether the path is a table of type Image."""
    if not (Path(path) / "table.info").is_file():
        return False
    tool = table_tool()
    tool.open(str(path))
    try:
        return bool(tool.info()["type"] == "Image")
    finally:
        tool.close()
