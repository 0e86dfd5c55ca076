"""Maps of an image of the sky by a single dish, as CASA images and FITS files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from casatasks import importfits
from numpy.typing import NDArray

from casa_ml_tasks.simulation.mosaic import SkyImage

HALF_MAXIMUM = np.sqrt(8 * np.log(2))  # full width at half maximum over standard deviation


def observe_total_power(
    path: str | Path, sky: SkyImage, *, beam: float, cell: float, npix: int, sigma: float, seed: int = 1
) -> None:
    """Write `path`, a CASA image, and `path`.fits: the sky convolved with a Gaussian, and noise as wide as the beam.

    Args:
        path: of the new image.
        sky: what is observed.
        beam: full width at half maximum, arcsec.
        cell: of a pixel, arcsec.
        npix: pixels a side; pixel npix // 2 lies on the centre of the sky.
        sigma: of the noise, Jy/beam.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    places = (np.arange(npix) - npix // 2) * cell
    ny, nx = sky.pixels.shape[1:]
    from_y, from_x = (_gaussian(places, (np.arange(count) - count // 2) * sky.cell, beam) for count in (ny, nx))
    noise_from = _gaussian(places, (np.arange(-npix, 2 * npix) - npix // 2) * cell, beam)
    noise_from /= np.linalg.norm(noise_from, axis=1, keepdims=True)
    white = rng.normal(size=(len(sky.pixels), 3 * npix, 3 * npix))
    pixels = from_y @ sky.pixels @ from_x.T + sigma * noise_from @ white @ noise_from.T
    name = str(path)
    fits.writeto(f"{name}.fits", pixels[:, None].astype(np.float32), _header(sky, beam, cell, npix), overwrite=True)
    importfits(fitsimage=f"{name}.fits", imagename=name, overwrite=True)


def _gaussian(places: NDArray[np.floating], sources: NDArray[np.floating], width: float) -> NDArray[np.float64]:
    """What a beam of peak 1 at each place takes from each source: (place, source)."""
    distance = (places[:, None] - sources) / (width / HALF_MAXIMUM)
    response: NDArray[np.float64] = np.exp(-(distance**2) / 2)
    return response


def _header(sky: SkyImage, beam: float, cell: float, npix: int) -> fits.Header:
    header = fits.Header()
    middle, degrees = npix // 2 + 1, cell / 3600
    axes = (
        ("RA---SIN", middle, sky.centre[0], -degrees, "deg"),
        ("DEC--SIN", middle, sky.centre[1], degrees, "deg"),
        ("STOKES", 1, 1, 1, ""),
        ("FREQ", 1, sky.frequency, sky.channel_width, "Hz"),
    )
    for number, axis in enumerate(axes, start=1):
        for key, value in zip(("CTYPE", "CRPIX", "CRVAL", "CDELT", "CUNIT"), axis, strict=True):
            header[f"{key}{number}"] = value
    header["BUNIT"], header["RADESYS"], header["SPECSYS"], header["RESTFRQ"] = "Jy/beam", "ICRS", "LSRK", sky.frequency
    header["BMAJ"], header["BMIN"], header["BPA"] = beam / 3600, beam / 3600, 0.0
    return header
