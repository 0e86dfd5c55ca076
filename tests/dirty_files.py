"""Dirty images on disk whose sky, PSF and noise are known exactly, and a detector that needs no training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from casatools import coordsys
from casatools import image as image_tool
from scipy.ndimage import maximum_filter

from casa_ml_tasks.networks.image_network import PATCH, TYPICAL_AXIS, DetectionMaps
from casa_ml_tasks.networks.network_grid import NetworkView, Proposal

BEAM = 5.0  # pixels, FWHM
CELL = 0.2  # arcsec
FIRST, WIDTH = 100e9, 2e6  # Hz
SIGMA = 1e-3  # Jy/beam, a channel


@dataclass(frozen=True)
class TrueSource:
    """A Gaussian: centre and FWHM in pixels, angle from x towards y, Jy in each channel."""

    x: float
    y: float
    major: float
    minor: float
    angle: float
    flux: np.ndarray

    def image(self, shape):
        """(ny, nx), flux 1."""
        y, x = np.indices(shape)
        dx, dy = x - self.x, y - self.y
        along = dx * np.cos(self.angle) + dy * np.sin(self.angle)
        across = dy * np.cos(self.angle) - dx * np.sin(self.angle)
        found = np.exp(-4 * np.log(2) * ((along / self.major) ** 2 + (across / self.minor) ** 2))
        return found / found.sum()


def two_sources(channels: int, shape=(64, 72)) -> list[TrueSource]:
    """A bright one with a line in the middle, and a fainter one without."""
    line = np.exp(-4 * np.log(2) * ((np.arange(channels) - channels / 2) / 3) ** 2)
    return [
        TrueSource(20.3, 40.6, 6.0, 3.0, np.radians(35), 0.05 + 0.1 * line * (channels > 1)),
        TrueSource(shape[1] - 20.2, 17.4, 4.0, 3.5, np.radians(120), np.full(channels, 0.03)),
    ]


def transfer(shape, beam=BEAM, seed=2):
    """Weights of uv cells on twice the field, (2 ny, nx + 1): those of a beam, and sidelobes."""
    ny, nx = shape
    u, v = np.fft.rfftfreq(2 * nx), np.fft.fftfreq(2 * ny)[:, None]
    weights = np.exp(-(np.pi**2) * beam**2 * (u**2 + v**2) / (4 * np.log(2)))
    rng = np.random.default_rng(seed)
    weights *= rng.uniform(0.2, 1.8, weights.shape)
    full = np.fft.irfft2(weights, s=(2 * ny, 2 * nx))  # real, and symmetric once its transform is
    symmetric = (full + np.roll(full[::-1, ::-1], (1, 1), (0, 1))) / 2
    return np.maximum(np.fft.rfft2(symmetric / symmetric[0, 0]).real, 0)


def dirty_cube(sources, shape, channels, sigma=SIGMA, seed=3):
    """Dirty cube (channel, ny, nx) and PSF (2 ny, 2 nx)."""
    ny, nx = shape
    size = (2 * ny, 2 * nx)
    of_psf = transfer(shape)
    of_psf /= np.fft.irfft2(of_psf, s=size)[0, 0]
    rng = np.random.default_rng(seed)
    dirty = np.empty((channels, ny, nx))
    for channel in range(channels):
        sky = sum((each.flux[channel] * each.image(shape) for each in sources), np.zeros(shape))
        clean = np.fft.irfft2(np.fft.rfft2(sky, s=size) * of_psf, s=size)[:ny, :nx]
        white = np.fft.rfft2(rng.normal(size=size))
        dirty[channel] = clean + sigma * np.fft.irfft2(white * np.sqrt(of_psf), s=size)[:ny, :nx]
    return dirty, np.fft.fftshift(np.fft.irfft2(of_psf, s=size))


def write(path: Path, pixels, unit="Jy/beam", beam=True, cell=CELL, stokes="I", frequency=FIRST, width=WIDTH):
    """Write (channel, y, x) as a CASA image, with ra 246 and dec -24 deg in the middle pixel."""
    coordinates = coordsys().newcoordsys(direction=True, stokes=[stokes], spectral=True)
    coordinates.setreferencecode("ICRS", "direction")
    coordinates.setreferencecode("LSRK", "spectral")
    coordinates.setunits(["deg", "deg", "", "Hz"])
    coordinates.setreferencevalue([246.0, -24.0], "direction")
    ny, nx = pixels.shape[1:]
    coordinates.setreferencepixel([nx // 2, ny // 2], "direction")
    coordinates.setincrement([-cell / 3600, cell / 3600], "direction")
    coordinates.setreferencevalue(frequency, "spectral")
    coordinates.setreferencepixel(0, "spectral")
    coordinates.setincrement(width, "spectral")
    coordinates.setrestfrequency(f"{FIRST}Hz")
    tool = image_tool()
    shaped = np.ascontiguousarray(pixels.T, np.float32)[:, :, None]
    tool.fromarray(outfile=str(path), pixels=shaped, csys=coordinates.torecord(), overwrite=True)
    tool.setbrightnessunit(unit)
    if beam:
        axis = f"{BEAM * cell}arcsec"
        tool.setrestoringbeam(major=axis, minor=axis, pa="0deg")
    tool.done()


def write_dirty(folder: Path, channels=8, shape=(64, 72), name="dirty", **changed) -> str:
    """Write NAME.residual and NAME.psf (twice the field, one channel) of two sources. Returns the residual's path."""
    dirty, psf = dirty_cube(two_sources(channels, shape), shape, channels, **changed)
    write(folder / f"{name}.residual", dirty)
    write(folder / f"{name}.psf", psf[None])
    return str(folder / f"{name}.residual")


class PeakView(NetworkView):
    """Peaks of the residual in the place of what a trained network sees: round sources where it stands out.

    Only those of half the height of the highest, for others may be sidelobes; the next look sees what is left.
    """

    def __call__(self, residual, model):
        shape = (self.rows.length // PATCH, self.columns.length // PATCH)
        numbers = {name: np.zeros(shape) for name in ("x", "y", "log_minor", "cosine", "sine")}
        logit = np.full(shape, -20.0)
        for y, x in np.argwhere((residual == maximum_filter(residual, 9)) & (residual > max(5, residual.max() / 2))):
            places = [float(axis.to_network(np.array(at))) / PATCH for axis, at in ((self.rows, y), (self.columns, x))]
            row, column = (int(place) for place in places)
            logit[row, column] = 3.0
            numbers["y"][row, column], numbers["x"][row, column] = places[0] - row - 0.5, places[1] - column - 0.5
        size = np.full(shape, np.log(BEAM / TYPICAL_AXIS))
        maps = DetectionMaps(logit=logit, log_major=size, **(numbers | {"log_minor": size}))
        return Proposal(np.asarray(model, np.float32), maps, self.rows, self.columns)
