"""Maps of the sky as other programs write them: CASA images and FITS images, their pixels and their coordinates."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, WCSSUB_LATITUDE, WCSSUB_LONGITUDE, FITSFixedWarning
from numpy.typing import NDArray
from scipy.constants import c as SPEED_OF_LIGHT

from casa_ml_tasks.data.casa_image import Beam, is_casa_image, opened, read_beams

SPECTRAL_AXES = ("FREQ", "VRAD", "VELO", "VOPT")
SPECTRAL_FRAMES = {  # SPECSYS of FITS, and casacore's name
    "LSRK": "LSRK",
    "LSRD": "LSRD",
    "BARYCENT": "BARY",
    "TOPOCENT": "TOPO",
    "GEOCENTR": "GEO",
    "GALACTOC": "GALACTO",
    "LOCALGRP": "LGROUP",
    "CMBDIPOL": "CMB",
    "SOURCE": "REST",
}
AIPS_BEAM = re.compile(r"CLEAN\s*BMAJ=\s*(\S+)\s+BMIN=\s*(\S+)\s+BPA=\s*(\S+)")
AIPS_KEYWORDS = [re.compile(rf"CLEAN{name}=\s*([-+.\dE]+)") for name in ("BMJ", "BMN", "BPA")]


@dataclass(frozen=True)
class SkyMap:
    """An image of total intensity.

    Attributes:
        path: of the file.
        pixels: (channel, ny, nx), in `unit`, NaN where masked.
        celestial: coordinates of the two axes on the sky.
        frequencies: of the channels, (channel,), Hz; empty where there is no spectral axis.
        width: of a channel, Hz; 0 where there is no spectral axis.
        spectral_frame: casacore's name, for instance LSRK; '' where the file names none.
        rest_frequency: Hz; 0 where the file names none.
        unit: of the brightness, as the file names it.
        beams: of each channel; None where the file names none.
        header: of the FITS file, or the one that CASA would write.
    """

    path: str
    pixels: NDArray[np.float64]
    celestial: WCS
    frequencies: NDArray[np.float64]
    width: float
    spectral_frame: str
    rest_frequency: float
    unit: str
    beams: tuple[Beam | None, ...]
    header: fits.Header

    @property
    def cell(self) -> float:
        """Side of a pixel, arcsec: the geometric mean of the two axes."""
        return float(np.sqrt(np.abs(np.linalg.det(self.celestial.pixel_scale_matrix))) * 3600)


def read_sky_map(path: str) -> SkyMap:
    """Read a CASA image or a FITS image, which may be compressed.

    Raises:
        ValueError: there is no such image, it has no axes on the sky, or none of its planes is Stokes I.
    """
    if is_casa_image(path):
        header, pixels = _of_casa(path)
    elif Path(path).is_file():
        header, pixels = _of_fits(path)
    else:
        what = "is no image" if Path(path).exists() else "does not exist"
        raise ValueError(f"'{path}' {what}; give the path of a CASA image or of a FITS image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        wcs = WCS(header)
    if wcs.wcs.lng < 0 or wcs.wcs.lat < 0:
        raise ValueError(f"'{path}' has no two axes on the sky; give an image with celestial coordinates")
    kinds = [str(kind).strip().upper() for kind in wcs.wcs.ctype]
    spectral = next((axis for axis, kind in enumerate(kinds) if kind.startswith(SPECTRAL_AXES)), None)
    polarisation = next((axis for axis, kind in enumerate(kinds) if kind == "STOKES"), None)
    pixels = _total_intensity(path, pixels, wcs, polarisation)
    axes = [axis for axis in (spectral, wcs.wcs.lat, wcs.wcs.lng) if axis is not None]
    others = [axis for axis in range(len(kinds)) if axis not in axes]
    pixels = pixels.transpose([len(kinds) - 1 - axis for axis in (*others, *axes)])
    if np.prod(pixels.shape[: len(others)], dtype=int) != 1:
        raise ValueError(
            f"'{path}' has axes {', '.join(kinds)}, of which only sky, Stokes and frequency are understood"
        )
    pixels = pixels.reshape(-1, *pixels.shape[-2:]).astype(float)
    rest = float(header.get("RESTFRQ", header.get("RESTFREQ", 0.0)))
    frequencies, width, frame = np.empty(0), 0.0, ""
    if spectral is not None:
        if is_casa_image(path):
            frequencies, width, frame, rest = _spectrum_of_casa(path, len(pixels))
        else:
            frequencies, width = _frequencies(path, wcs, spectral, kinds[spectral], len(pixels), rest)
            frame = SPECTRAL_FRAMES.get(str(header.get("SPECSYS", "")).strip().upper(), "")
    beams = tuple(read_beams(path)) if is_casa_image(path) else _beams_of_fits(path, header, len(pixels))
    if len(beams) != len(pixels):
        beams = (beams[0],) * len(pixels)
    unit = str(header.get("BUNIT", "")).strip()
    celestial = wcs.sub([WCSSUB_LONGITUDE, WCSSUB_LATITUDE])
    return SkyMap(str(path), pixels, celestial, frequencies, width, frame, rest, unit, beams, header)


def _of_casa(path: str) -> tuple[fits.Header, NDArray[Any]]:
    """Return the header that CASA would write, and the pixels in the order of FITS."""
    with opened(path) as tool:
        found = tool.fitsheader()
        pixels = np.where(tool.getchunk(getmask=True), tool.getchunk(), np.nan).T
    header = fits.Header()
    for name, value in found.items():
        if name in ("HISTORY", "COMMENT", "END", "NAXIS", "IMAGENME"):
            continue
        if isinstance(value, np.ndarray):
            for axis, each in enumerate(value, 1):
                header[f"{name}{axis}"] = each.item() if hasattr(each, "item") else each
        else:
            header[name] = value
    return header, pixels


def _of_fits(path: str) -> tuple[fits.Header, NDArray[Any]]:
    """Return the first header with an image of two axes or more, and its pixels."""
    try:
        with fits.open(path) as units:
            for unit in units:
                if getattr(unit, "is_image", False) and unit.header.get("NAXIS", 0) >= 2:
                    return unit.header.copy(), np.array(unit.data)
    except OSError as error:
        raise ValueError(f"'{path}' is neither a CASA image nor a FITS image; give one of them") from error
    raise ValueError(f"'{path}' holds no image; give a FITS file with one")


def _total_intensity(path: str, pixels: NDArray[Any], wcs: WCS, axis: int | None) -> NDArray[Any]:
    """Return the pixels with Stokes I alone."""
    if axis is None:
        return pixels
    along = pixels.ndim - 1 - axis
    numbers = wcs.wcs.crval[axis] + wcs.wcs.cdelt[axis] * (np.arange(pixels.shape[along]) + 1 - wcs.wcs.crpix[axis])
    (found,) = np.nonzero(np.rint(numbers) == 1)
    if not found.size:
        raise ValueError(f"'{path}' has no plane of Stokes I; give an image of total intensity")
    return pixels.take([found[0]], axis=along)


def _frequencies(
    path: str, wcs: WCS, axis: int, kind: str, count: int, rest: float
) -> tuple[NDArray[np.float64], float]:
    """Return frequencies and the width of a channel, Hz, of a FITS image."""
    values = wcs.wcs.crval[axis] + wcs.wcs.cdelt[axis] * (np.arange(count + 1) + 0.5 - wcs.wcs.crpix[axis])
    centres = (values[1:] + values[:-1]) / 2
    if not kind.startswith("FREQ"):
        if not rest > 0:
            raise ValueError(f"'{path}' has an axis {kind} without rest frequency; set RESTFRQ in its header")
        to_frequency = _optical if kind.startswith("VOPT") else _radio
        values, centres = to_frequency(values, rest), to_frequency(centres, rest)
    return centres, float(np.abs(np.diff(values)).mean())


def _radio(velocity: NDArray[np.float64], rest: float) -> NDArray[np.float64]:
    return rest * (1 - velocity / SPEED_OF_LIGHT)


def _optical(velocity: NDArray[np.float64], rest: float) -> NDArray[np.float64]:
    return rest / (1 + velocity / SPEED_OF_LIGHT)


def _spectrum_of_casa(path: str, count: int) -> tuple[NDArray[np.float64], float, str, float]:
    """Return frequencies, the width of a channel, the frame and the rest frequency, Hz."""
    with opened(path) as tool:
        coordinates = tool.coordsys()
        axis = int(coordinates.findcoordinate("spectral")["world"][0])
        pixel = np.array(coordinates.referencepixel()["numeric"])
        values = []
        for channel in (*range(count), -0.5, count - 0.5):
            pixel[axis] = channel
            values.append(coordinates.toworld(list(pixel), "n")["numeric"][axis])
        frame, rest = coordinates.referencecode("spectral")[0], coordinates.restfrequency()["value"]
    width = abs(values[-1] - values[-2]) / count
    return np.array(values[:-2]), float(width), str(frame), float(np.ravel(rest)[0])


def _beams_of_fits(path: str, header: fits.Header, count: int) -> tuple[Beam | None, ...]:
    """Return the beams that the header, a table of beams or AIPS' history name, arcsec and degrees."""
    with fits.open(path) as units:
        for unit in units[1:]:
            if unit.name == "BEAMS":
                return _beams_of_table(unit, count)
    values = [header.get(name) for name in ("BMAJ", "BMIN", "BPA")]
    if values[0] is None:
        history = " ".join(str(line) for line in header.get("HISTORY", []))
        if found := AIPS_BEAM.findall(history):
            values = [float(each) for each in found[-1]]
        elif all(pattern.search(history) for pattern in AIPS_KEYWORDS):
            values = [float(pattern.findall(history)[-1]) for pattern in AIPS_KEYWORDS]
    if values[0] is None or not float(values[0]) > 0:
        return (None,) * count
    major, minor = float(values[0]), float(values[0] if values[1] is None else values[1])
    return (Beam(major * 3600, minor * 3600, float(values[2] or 0.0)),) * count


def _beams_of_table(table: fits.BinTableHDU, count: int) -> tuple[Beam | None, ...]:
    """Return the beam of every channel from CASA's table of beams."""
    scale = {"arcsec": 1.0, "arcmin": 60.0, "deg": 3600.0}[table.columns["BMAJ"].unit or "arcsec"]
    beams: list[Beam | None] = [None] * count
    for row in table.data:
        channel = int(row["CHAN"]) if "CHAN" in table.columns.names else 0
        if channel < count and row["BMAJ"] > 0:
            beams[channel] = Beam(row["BMAJ"] * scale, row["BMIN"] * scale, float(row["BPA"]))
    return tuple(beams)
