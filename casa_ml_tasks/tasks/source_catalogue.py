"""The catalogue of found sources as astropy tables: pixels and angles of the fit become directions and position angles.

Axes are those of the sky: the fit works with the exact PSF, so that nothing is left to deconvolve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import Table
from numpy.typing import NDArray

from casa_ml_tasks.data.image_axes import LIGHT, ImageAxes
from casa_ml_tasks.sources.finder import FoundSource
from casa_ml_tasks.sources.gaussians import Gaussians

#: Names of longitude and latitude in the frames whose axes are not right ascension and declination.
LONGITUDE = {"GALACTIC": "glon", "ECLIPTIC": "elon", "SUPERGAL": "slon"}
LATITUDE = {"GALACTIC": "glat", "ECLIPTIC": "elat", "SUPERGAL": "slat"}
#: As astropy knows the frames, to write names of sources.
ASTROPY = {"J2000": "fk5", "ICRS": "icrs", "B1950": "fk4", "GALACTIC": "galactic"}


@dataclass(frozen=True)
class SkyShapes:
    """Gaussians on the sky, (source,) each.

    Attributes:
        longitude, latitude: of the centres, degrees, in the frame of the image.
        longitude_error, latitude_error: 1 sigma along the sky, arcsec.
        major, minor: full widths at half maximum, arcsec.
        major_error, minor_error: 1 sigma, arcsec.
        angle: of the major axis from North through East, degrees, from 0 to 180.
        angle_error: 1 sigma, degrees.
    """

    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    longitude_error: NDArray[np.float64]
    latitude_error: NDArray[np.float64]
    major: NDArray[np.float64]
    minor: NDArray[np.float64]
    major_error: NDArray[np.float64]
    minor_error: NDArray[np.float64]
    angle: NDArray[np.float64]
    angle_error: NDArray[np.float64]


def on_sky(shapes: Gaussians, errors: Gaussians, axes: ImageAxes) -> SkyShapes:
    """Return Gaussians of an image on the sky, with the scale and the orientation that the image has at each.

    Args:
        shapes: in pixels, with angles from the x axis towards the y axis.
        errors: 1 sigma of each number.
        axes: of the image.
    """
    longitude, latitude = axes.directions(shapes.x, shapes.y)
    jacobian = axes.jacobians(shapes.x, shapes.y)
    along = np.stack([np.cos(shapes.angle), np.sin(shapes.angle)], -1)
    across = np.stack([-along[:, 1], along[:, 0]], -1)
    long_axis, short_axis = (np.einsum("sij,sj->si", jacobian, each) for each in (along, across))
    scale, other = np.linalg.norm(long_axis, axis=-1), np.linalg.norm(short_axis, axis=-1)
    spread = np.sqrt(np.einsum("sij,sj->si", jacobian**2, np.stack([errors.x, errors.y], -1) ** 2))
    return SkyShapes(
        longitude,
        latitude,
        longitude_error=spread[:, 0],
        latitude_error=spread[:, 1],
        major=scale * shapes.major,
        minor=other * shapes.minor,
        major_error=scale * errors.major,
        minor_error=other * errors.minor,
        angle=np.degrees(np.arctan2(long_axis[:, 0], long_axis[:, 1])) % 180,
        angle_error=np.degrees(errors.angle),
    )


@dataclass(frozen=True)
class Catalogue:
    """Three tables that belong together.

    Attributes:
        sources: one row a source, the most probable first, with its spectrum.
        lines: one row a spectral line, with the `id` of its source.
        channels: of the spectra.
    """

    sources: Table
    lines: Table
    channels: Table


def catalogue(
    found: Sequence[FoundSource], axes: ImageAxes, noise: NDArray[np.floating], response: NDArray[np.floating] | None
) -> Catalogue:
    """Return the catalogue.

    Args:
        found: the sources.
        axes: of the image.
        noise: of the dirty image, (channel,), Jy/beam; not finite where a channel is blank.
        response: of the primary beam, (ny, nx), by which fluxes are divided; None where it is not known.
    """
    shapes = Gaussians.concatenated([each.gaussian for each in found])
    errors = Gaussians.concatenated([each.errors for each in found])
    towards = np.ones(len(found)) if response is None else _response(shapes, response)
    return Catalogue(
        sources=_sources(found, shapes, errors, axes, towards),
        lines=_lines(found, axes, towards),
        channels=_channels(axes, noise),
    )


def _response(shapes: Gaussians, response: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the response of the primary beam at the nearest pixels to the centres, (source,)."""
    ny, nx = response.shape
    y, x = (
        np.clip(np.rint(place).astype(int), 0, size - 1) for place, size in ((shapes.y, ny), (shapes.x, nx))
    )
    return np.asarray(response[y, x], float)


def _sources(
    found: Sequence[FoundSource], shapes: Gaussians, errors: Gaussians, axes: ImageAxes, towards: NDArray[np.float64]
) -> Table:
    """Return the table of the sources. towards: response of the primary beam to each."""
    sky = on_sky(shapes, errors, axes)
    longitude, latitude = LONGITUDE.get(axes.frame, "ra"), LATITUDE.get(axes.frame, "dec")
    spectra = [_corrected(found, name, towards, len(axes.frequencies)) for name in ("spectrum", "spectrum_error")]
    continuum = np.array([each.continuum for each in found]).reshape(-1, 2) / towards[:, None]
    columns = {
        "id": (np.arange(1, len(found) + 1), None, "number in the report's map"),
        "name": (_names(sky, axes.frame), None, "from the direction"),
        longitude: (sky.longitude, "deg", f"of the centre, {axes.frame}"),
        latitude: (sky.latitude, "deg", f"of the centre, {axes.frame}"),
        f"{longitude}_err": (sky.longitude_error, "arcsec", "1 sigma along the sky (with cos of the latitude)"),
        f"{latitude}_err": (sky.latitude_error, "arcsec", "1 sigma"),
        "major": (sky.major, "arcsec", "full width at half maximum, deconvolved"),
        "major_err": (sky.major_error, "arcsec", "1 sigma"),
        "minor": (sky.minor, "arcsec", "full width at half maximum, deconvolved"),
        "minor_err": (sky.minor_error, "arcsec", "1 sigma"),
        "pa": (sky.angle, "deg", "of the major axis, North through East, 0 to 180"),
        "pa_err": (sky.angle_error, "deg", "1 sigma"),
        "flux": (shapes.flux / towards, "Jy", "of the channels in which it was found, over the primary beam"),
        "flux_err": (errors.flux / towards, "Jy", "1 sigma"),
        "continuum": (continuum[:, 0], "Jy", "flux without lines at the middle of the band"),
        "continuum_err": (continuum[:, 1], "Jy", "1 sigma"),
        "pb": (towards, None, "response of the primary beam, by which fluxes are divided"),
        "snr": (np.array([each.snr for each in found], float), None, "flux over its error"),
        "delta_chi2": (np.array([each.delta_chi2 for each in found], float), None, "rise of chi^2 without the source"),
        "probability": (np.array([each.probability for each in found], float), None, "that it is a source"),
        "lines": (np.array([len(each.lines) for each in found], int), None, "spectral lines found"),
        "flags": (_words([",".join(each.flags) for each in found]), None, "see the documentation; empty is good"),
        "x": (np.asarray(shapes.x, float), "pix", "of the centre, from 0"),
        "y": (np.asarray(shapes.y, float), "pix", "of the centre, from 0"),
        "spectrum": (spectra[0], "Jy", "flux of its shape in each channel, over the primary beam"),
        "spectrum_err": (spectra[1], "Jy", "1 sigma"),
    }
    return _table(columns, {"frame": axes.frame, "spectral_frame": axes.spectral_frame})


def _lines(found: Sequence[FoundSource], axes: ImageAxes, towards: NDArray[np.float64]) -> Table:
    """Return the table of the lines of all sources."""
    every = [(number, line) for number, source in enumerate(found) for line in source.lines]
    owner = np.array([number for number, _ in every], int)
    centre = np.array([line.centre for _, line in every], float)
    frequency = axes.frequency(centre)
    width = np.abs(_width_at(axes, centre))
    fwhm = width * np.array([line.fwhm for _, line in every])
    speed = LIGHT / (axes.rest_frequency or np.nan)
    # The line finder gives sums over channels; times the width of a channel that is the integral over velocity.
    integral = width * speed / towards[owner]
    flux, error = (integral * np.array([getattr(line, name) for _, line in every]) for name in ("flux", "flux_error"))
    columns = {
        "id": (owner + 1, None, "of the source"),
        "line": (_counted(owner), None, "number of the line of this source"),
        "frequency": (frequency, "Hz", f"of the centre, {axes.spectral_frame}"),
        "velocity": (axes.velocity(frequency), "km/s", "radio, of the centre; NaN without a rest frequency"),
        "fwhm": (fwhm, "Hz", "full width at half maximum"),
        "fwhm_velocity": (fwhm * speed, "km/s", "full width at half maximum"),
        "flux": (flux, "Jy km/s", "integral over velocity, over the primary beam"),
        "flux_err": (error, "Jy km/s", "1 sigma"),
        "snr": (np.array([line.snr for _, line in every], float), None, "flux over its error"),
        "probability": (np.array([line.probability for _, line in every], float), None, "that it is a line"),
        "kind": (_words([str(line.kind) for _, line in every]), None, "single or double-horned"),
        "first": (np.array([line.first for _, line in every], int), None, "channel, from 0"),
        "last": (np.array([line.last for _, line in every], int), None, "channel, inclusive"),
    }
    return _table(columns, {"rest_frequency": axes.rest_frequency, "spectral_frame": axes.spectral_frame})


def _channels(axes: ImageAxes, noise: NDArray[np.floating]) -> Table:
    """Return the table of the channels."""
    columns = {
        "channel": (np.arange(len(noise)), None, "from 0"),
        "frequency": (axes.frequencies, "Hz", axes.spectral_frame),
        "velocity": (axes.velocities, "km/s", "radio; NaN without a rest frequency"),
        "noise": (np.where(np.isfinite(noise), noise, np.nan), "Jy/beam", "of the dirty image; NaN where blank"),
    }
    return _table(columns, {"rest_frequency": axes.rest_frequency})


def _table(
    columns: dict[str, tuple[NDArray[np.generic], str | None, str]], meta: dict[str, str] | dict[str, float]
) -> Table:
    """Return a table of columns with units and descriptions."""
    table = Table({name: values for name, (values, _, _) in columns.items()}, meta=meta)
    for name, (_, unit, description) in columns.items():
        table[name].unit = None if unit is None else units.Unit(unit)
        table[name].description = description
    return table


def _corrected(
    found: Sequence[FoundSource], name: str, towards: NDArray[np.float64], channels: int
) -> NDArray[np.float64]:
    """Return spectra over the primary beam, (source, channel), Jy."""
    return np.array([getattr(each, name) for each in found], float).reshape(-1, channels) / towards[:, None]


def _names(sky: SkyShapes, frame: str) -> NDArray[np.str_]:
    """Return names such as J162401.31-235956.2 of the directions, or G359.9442-00.0462."""
    if frame not in ASTROPY:
        return _words([f"{x:.5f}{y:+.5f}" for x, y in zip(sky.longitude, sky.latitude, strict=True)])
    places = SkyCoord(sky.longitude, sky.latitude, unit="deg", frame=ASTROPY[frame])
    if frame == "GALACTIC":
        return _words([f"G{each.l.deg:08.4f}{each.b.deg:+08.4f}" for each in places])
    letter = "B" if frame == "B1950" else "J"
    return _words(
        [
            letter
            + each.ra.to_string("hourangle", sep="", precision=2, pad=True)
            + each.dec.to_string("deg", sep="", precision=1, pad=True, alwayssign=True)
            for each in places
        ]
    )


def _words(texts: Sequence[str]) -> NDArray[np.str_]:
    """Return texts as an array that has a width also where there are none."""
    return np.array(texts, f"<U{max([1, *map(len, texts)])}")


def _counted(owner: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return 1, 2, ... for the lines of each source."""
    return np.array([int(np.sum(owner[: place + 1] == each)) for place, each in enumerate(owner)], int)


def _width_at(axes: ImageAxes, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the width of the channels that hold these places, Hz."""
    return axes.widths[np.clip(np.rint(centre).astype(int), 0, len(axes.widths) - 1)]
