"""Images of what was found: model, continuum, lines and mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.sources.dirty_cube import DirtyCube
from casa_ml_tasks.sources.finder import Found
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.line_finder import SpectralFit

MASKED_SIGMAS = 2.0  # half axes of the ellipses of the mask, standard deviations of the source


def continuum_spectra(found: Found) -> NDArray[np.floating]:
    """Return the fitted continuum of each source, (source, channel), Jy; of one channel the flux itself."""
    if found.spectral_fits is None:
        return found.fluxes[0][:, None]
    channels = found.spectra.flux.shape[1]
    return np.array([fit.continuum() for fit in found.spectral_fits]).reshape(-1, channels)


def line_spectra(found: Found) -> NDArray[np.float64]:
    """Return the fitted lines of each source, (source, channel), Jy."""
    channels = found.spectra.flux.shape[1]
    return np.array([fit.line() for fit in found.spectral_fits or ()]).reshape(-1, channels)


def cube_of(found: Found, spectra: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the sources with some spectra, (channel, ny, nx), Jy/pixel.

    Args:
        found: the shapes.
        spectra: (source, channel), Jy.
    """
    shape = found.residual.shape
    cube = np.zeros((spectra.shape[1], *shape), np.float32)
    for number, spectrum in enumerate(spectra):
        (lit,) = np.nonzero(spectrum)
        image = unit(found.shapes.gaussians, number).image((shape[0], shape[1])).astype(np.float32)
        rows, columns = np.nonzero(image)
        if not rows.size:
            continue
        patch = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        for channel in lit:
            cube[channel][patch] += np.float32(spectrum[channel]) * image[patch]
    return cube


def model_cube(found: Found) -> NDArray[np.float32]:
    """Return the model, continuum and lines, (channel, ny, nx), Jy/pixel."""
    continuum = continuum_spectra(found)
    return cube_of(found, continuum if found.spectral_fits is None else continuum + line_spectra(found))


def mask_cube(found: Found, cube: DirtyCube) -> NDArray[np.bool_]:
    """Return where sources are, (channel, ny, nx): the 2-sigma ellipse, widened by the beam.

    A source whose continuum is not significant is masked in the channels of its lines alone.
    """
    _, ny, nx = cube.dirty.shape
    mask = np.zeros(cube.dirty.shape, bool)
    rows, columns = np.arange(ny)[:, None], np.arange(nx)
    fits: Sequence[SpectralFit | None] = found.spectral_fits or [None] * len(found)
    for number, fit in enumerate(fits):
        inside = _ellipse(found.shapes.gaussians, number, cube.beam.mean, rows, columns)
        if fit is None or fit.level > 3 * fit.level_error:
            mask[:, inside] = True
            continue
        for line in fit.lines:
            mask[line.first : line.last + 1, inside] = True
    return mask


def unit(gaussians: Gaussians, number: int) -> Gaussians:
    """Return one source with a flux of 1."""
    one = gaussians.chosen(np.array([number]))
    return Gaussians(one.x, one.y, one.major, one.minor, one.angle, np.ones(1))


def _ellipse(
    gaussians: Gaussians, number: int, beam: float, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Return the pixels inside the ellipse of a source as the beam widens it, (ny, nx)."""
    east, north = columns - gaussians.x[number], rows - gaussians.y[number]
    cosine, sine = np.cos(gaussians.angle[number]), np.sin(gaussians.angle[number])
    along, across = east * cosine + north * sine, north * cosine - east * sine
    major, minor = (np.hypot(axis[number], beam) for axis in (gaussians.major, gaussians.minor))
    sigmas = np.sqrt(8 * np.log(2)) * np.hypot(along / major, across / minor)
    return sigmas <= MASKED_SIGMAS
