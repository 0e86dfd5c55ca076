"""A simulated cube as CASA images, and its truth as ECSV and FITS tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from casatasks import importfits
from numpy.typing import NDArray

from casa_ml_tasks.simulation.cubes import SimulatedCube
from casa_ml_tasks.simulation.observation import CENTRE
from casa_ml_tasks.simulation.random_fields import DISK, GAUSSIAN, RING

PROFILES = {GAUSSIAN: "gaussian", DISK: "disk", RING: "ring"}


def write_cube(name: str | Path, cube: SimulatedCube) -> None:
    """Write NAME.image, NAME.psf (of the middle of the band, on twice the field), NAME.sky and NAME.truth.ecsv, .fits.

    Args:
        name: of the products, with their folder; what is there is replaced.
        cube: that is written.
    """
    middle = cube.observation.frequency
    first = float(cube.observation.frequencies[0])
    _write_image(f"{name}.image", cube, cube.dirty, "Jy/beam", first)
    _write_image(f"{name}.psf", cube, cube.psf[None], "Jy/beam", middle)
    _write_image(f"{name}.sky", cube, cube.sky, "Jy/pixel", first)
    table = truth_table(cube)
    table.write(f"{name}.truth.ecsv", format="ascii.ecsv", overwrite=True)
    table.write(f"{name}.truth.fits", format="fits", overwrite=True)


def truth_table(cube: SimulatedCube) -> Table:
    """Return the sources with sky coordinates, axes and position angles (North through East)."""
    true, cell = cube.sources, cube.observation.cell
    middle = cube.observation.pixels // 2
    east, north = (middle - true.x) * cell * units.arcsec, (true.y - middle) * cell * units.arcsec
    declination = np.degrees(cube.observation.uv.declination)
    frame = SkyCoord(CENTRE[0], declination, unit="deg", frame="icrs").skyoffset_frame()
    places = SkyCoord(east, north, frame=frame).transform_to("icrs")
    frequencies = cube.observation.frequencies
    table = Table(
        {
            "x": true.x * units.pix,
            "y": true.y * units.pix,
            "ra": places.ra.to("deg"),
            "dec": places.dec.to("deg"),
            "east": east,
            "north": north,
            "major": true.major * cell * units.arcsec,
            "minor": true.minor * cell * units.arcsec,
            "pa": (np.degrees(true.angle) - 90) % 180 * units.deg,
            "profile": np.array([PROFILES[int(each)] for each in true.profile], "U8"),
            "continuum": true.continuum * units.Jy,
            "index": true.index,
            "line": true.line.astype("U8"),
            "line_channel": true.centre,
            "line_frequency": np.interp(true.centre, np.arange(len(frequencies)), frequencies) * units.Hz,
            "line_width": true.width * cube.observation.channel_width * units.Hz,
            "line_flux": true.line_flux * cube.observation.channel_width * units.Jy * units.Hz,
            "snr": cube.snr,
            "line_snr": cube.line_snr,
        }
    )
    uv = cube.observation.uv
    table.meta = {
        "freq": cube.observation.frequency,
        "array": uv.configuration,
        "hours": uv.hours,
        "weight": "natural" if uv.robust is None else f"briggs {uv.robust:.3f}",
        "noise": float(cube.noise[0]),
    }
    return table


def _write_image(path: str, cube: SimulatedCube, pixels: NDArray[np.floating], unit: str, frequency: float) -> None:
    header = fits.Header()
    ny, nx = pixels.shape[1:]
    degrees, width = cube.observation.cell / 3600, cube.observation.channel_width
    axes = (
        ("RA---SIN", nx // 2 + 1, CENTRE[0], -degrees, "deg"),
        ("DEC--SIN", ny // 2 + 1, float(np.degrees(cube.observation.uv.declination)), degrees, "deg"),
        ("STOKES", 1, 1, 1, ""),
        ("FREQ", 1, frequency, width, "Hz"),
    )
    for number, axis in enumerate(axes, start=1):
        for key, value in zip(("CTYPE", "CRPIX", "CRVAL", "CDELT", "CUNIT"), axis, strict=True):
            header[f"{key}{number}"] = value
    header["BUNIT"], header["RADESYS"], header["SPECSYS"] = unit, "ICRS", "LSRK"
    header["RESTFRQ"] = cube.observation.frequency
    if unit == "Jy/beam":
        beam = cube.beam
        header["BMAJ"], header["BMIN"], header["BPA"] = beam.major / 3600, beam.minor / 3600, beam.angle
    beside = f"{path}.fits"
    fits.writeto(beside, pixels[:, None].astype(np.float32), header, overwrite=True)
    importfits(fitsimage=beside, imagename=path, overwrite=True)
    Path(beside).unlink()
