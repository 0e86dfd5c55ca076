"""The catalogue of found sources as astropy tables: pixels and angles of the fit become directions and position angles.

Axes are those of the sky: the fit works with the exact PSF, so that nothing is left to deconvolve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from astropy import units
from astropy.table import Table
from numpy.typing import NDArray

from casa_ml_tasks.data.image_axes import LIGHT, ImageAxes
from casa_ml_tasks.sources.finder import Found
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.sky_shapes import names_of, on_sky

#: Names of longitude and latitude in the frames whose axes are not right ascension and declination.
LONGITUDE = {"GALACTIC": "glon", "ECLIPTIC": "elon", "SUPERGAL": "slon"}
LATITUDE = {"GALACTIC": "glat", "ECLIPTIC": "elat", "SUPERGAL": "slat"}


@dataclass(frozen=True)
class Catalogue:
    """Three tables that belong together.

    Attributes:
        sources: one row a source, the most significant first, with its spectrum.
        lines: one row a spectral line, with the `id` of its source.
        channels: of the spectra.
    """

    sources: Table
    lines: Table
    channels: Table


def catalogue(
    found: Found, axes: ImageAxes, noise: NDArray[np.floating], response: NDArray[np.floating] | None
) -> Catalogue:
    """Return the catalogue.

    Args:
        found: the sources.
        axes: of the image.
        noise: of the dirty image, (channel,), Jy/beam; not finite where a channel is blank.
        response: of the primary beam, (ny, nx), by which fluxes are divided; None where it is not known.
    """
    shapes = found.shapes.gaussians
    towards = np.ones(len(found)) if response is None else _response(shapes, response)
    return Catalogue(_sources(found, axes, towards), _lines(found, axes, towards), _channels(axes, noise))


def _response(shapes: Gaussians, response: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the response of the primary beam at the nearest pixels to the centres, (source,)."""
    ny, nx = response.shape
    y, x = (np.clip(np.rint(place).astype(int), 0, size - 1) for place, size in ((shapes.y, ny), (shapes.x, nx)))
    return np.asarray(response[y, x], float)


def _sources(found: Found, axes: ImageAxes, towards: NDArray[np.float64]) -> Table:
    """Return the table of the sources. towards: response of the primary beam to each."""
    shapes, seen = found.shapes.gaussians, found.shapes
    sky = on_sky(shapes, seen.errors, axes)
    longitude, latitude = LONGITUDE.get(axes.frame, "ra"), LATITUDE.get(axes.frame, "dec")
    flux, flux_error = (np.asarray(each, float) / towards for each in found.fluxes)
    continuum, continuum_error = (each / towards for each in _continuum(found))
    spectrum, spectrum_error = (
        np.asarray(each, float) / towards[:, None] for each in (found.spectra.flux, found.spectra.error)
    )
    fits = found.spectral_fits
    lines = [0] * len(found) if fits is None else [len(fit.lines) for fit in fits]
    columns = {
        "id": (np.arange(1, len(found) + 1), None, "number in the map of the report"),
        "name": (_words(names_of(sky, axes.frame)), None, "made of the direction"),
        longitude: (sky.longitude, "deg", f"of the centre, {axes.frame}"),
        latitude: (sky.latitude, "deg", f"of the centre, {axes.frame}"),
        f"{longitude}_err": (sky.longitude_error, "arcsec", "1 sigma, along the sky"),
        f"{latitude}_err": (sky.latitude_error, "arcsec", "1 sigma"),
        "major": (sky.major, "arcsec", "full width at half maximum, on the sky (deconvolved)"),
        "major_err": (sky.major_error, "arcsec", "1 sigma"),
        "minor": (sky.minor, "arcsec", "full width at half maximum, on the sky (deconvolved)"),
        "minor_err": (sky.minor_error, "arcsec", "1 sigma"),
        "unresolved": (np.asarray(seen.unresolved, bool), None, "narrower than the data can tell: minor axis 0"),
        "pa": (sky.angle, "deg", "of the major axis, from North through East, 0 to 180"),
        "pa_err": (sky.angle_error, "deg", "1 sigma"),
        "flux": (flux, "Jy", "mean of all channels, lines included, over the primary beam"),
        "flux_err": (flux_error, "Jy", "1 sigma"),
        "continuum": (continuum, "Jy", "without lines, at the middle channel, over the primary beam"),
        "continuum_err": (continuum_error, "Jy", "1 sigma"),
        "lines": (np.array(lines, int), None, "spectral lines found"),
        "snr": (np.asarray(seen.snr, float), None, "flux over its error in the channels first to last"),
        "delta_chi2": (np.asarray(seen.delta_chi2, float), None, "rise of chi^2 there without this source"),
        "probability": (np.asarray(seen.probability, float), None, "that it is a source"),
        "flags": (_words([",".join(words) for words in found.flags]), None, "what makes it doubtful; empty is good"),
        "pb": (towards, None, "response of the primary beam, by which fluxes are divided"),
        "first": (np.asarray(seen.channels[:, 0], int), None, "first channel, from 0, in which it is seen best"),
        "last": (np.asarray(seen.channels[:, 1], int), None, "last channel, inclusive"),
        "x": (np.asarray(shapes.x, float), "pix", "of the centre, from 0"),
        "y": (np.asarray(shapes.y, float), "pix", "of the centre, from 0"),
        "spectrum": (spectrum, "Jy", "flux of its shape in each channel, over the primary beam; NaN where blank"),
        "spectrum_err": (spectrum_error, "Jy", "1 sigma of the noise in this channel; infinite where blank"),
    }
    return _table(columns, {"RADESYS": axes.frame, "SPECSYS": axes.spectral_frame})


def _continuum(found: Found) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the level of each continuum with its error, (source,), Jy; of one channel the flux itself.

    The error is that of the spectrum and that of the uncertain shape together.
    """
    if found.spectral_fits is None:
        return np.asarray(found.fluxes[0], float), np.asarray(found.fluxes[1], float)
    levels = np.array([(fit.level, fit.level_error) for fit in found.spectral_fits], float).reshape(-1, 2)
    return levels[:, 0], np.hypot(levels[:, 1], found.shape_errors * levels[:, 0])


def _lines(found: Found, axes: ImageAxes, towards: NDArray[np.float64]) -> Table:
    """Return the table of the lines of all sources."""
    every = [(number, line) for number, fit in enumerate(found.spectral_fits or ()) for line in fit.lines]
    owner = np.array([number for number, _ in every], int)

    def of_all(name: str) -> NDArray[np.float64]:
        return np.array([getattr(line, name) for _, line in every], float)

    frequency = axes.frequency(of_all("centre"))
    width = np.abs(axes.widths[np.clip(np.rint(of_all("centre")).astype(int), 0, len(axes.widths) - 1)])
    velocity = width * LIGHT / (axes.rest_frequency or np.nan)  # of a channel
    # The line finder gives sums over channels; times the width of a channel that is the integral over velocity.
    integral = velocity / towards[owner]
    line_flux = of_all("flux")
    line_error = np.hypot(of_all("flux_error"), found.shape_errors[owner] * line_flux)
    columns = {
        "id": (owner + 1, None, "of the source"),
        "line": (_counted(owner), None, "number of the line of this source"),
        "frequency": (frequency, "Hz", f"of the centre, {axes.spectral_frame}"),
        "frequency_err": (width * of_all("centre_error"), "Hz", "1 sigma"),
        "velocity": (axes.velocity(frequency), "km/s", "radio, of the centre; NaN without a rest frequency"),
        "velocity_err": (velocity * of_all("centre_error"), "km/s", "1 sigma"),
        "fwhm": (velocity * of_all("fwhm"), "km/s", "full width at half maximum"),
        "fwhm_err": (velocity * of_all("fwhm_error"), "km/s", "1 sigma"),
        "fwhm_frequency": (width * of_all("fwhm"), "Hz", "full width at half maximum"),
        "flux": (integral * line_flux, "Jy km/s", "integral over velocity, over the primary beam"),
        "flux_err": (integral * line_error, "Jy km/s", "1 sigma, that of the shape included"),
        "snr": (of_all("snr"), None, "peak of a filter that has the width of the line"),
        "probability": (of_all("probability"), None, "that it is a line"),
        "kind": (_words([str(line.kind) for _, line in every]), None, "single or double (two horns)"),
        "first": (of_all("first").astype(int), None, "channel, from 0"),
        "last": (of_all("last").astype(int), None, "channel, from 0, inclusive"),
    }
    return _table(columns, {"RESTFRQ": axes.rest_frequency, "SPECSYS": axes.spectral_frame})


def _channels(axes: ImageAxes, noise: NDArray[np.floating]) -> Table:
    """Return the table of the channels."""
    columns = {
        "channel": (np.arange(len(noise)), None, "from 0"),
        "frequency": (axes.frequencies, "Hz", axes.spectral_frame),
        "velocity": (axes.velocities, "km/s", "radio; NaN without a rest frequency"),
        "noise": (np.where(np.isfinite(noise), noise, np.nan), "Jy/beam", "of the dirty image; NaN where blank"),
    }
    return _table(columns, {"RESTFRQ": axes.rest_frequency})


def _table(columns: dict[str, tuple[NDArray[np.generic], str | None, str]], meta: Mapping[str, str | float]) -> Table:
    """Return a table of columns with units and descriptions."""
    table = Table({name: values for name, (values, _, _) in columns.items()}, meta=meta)
    for name, (_, unit, description) in columns.items():
        table[name].unit = None if unit is None else units.Unit(unit)
        table[name].description = description
    return table


def _words(texts: Sequence[str]) -> NDArray[np.str_]:
    """Return texts as an array that has a width also where there are none."""
    return np.array(texts, f"<U{max([1, *map(len, texts)])}")


def _counted(owner: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return 1, 2, ... for the lines of each source."""
    return np.array([int(np.sum(owner[: place + 1] == each)) for place, each in enumerate(owner)], int)
