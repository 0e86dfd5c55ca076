"""The Measurement Set behind a simulated cube: direct sums, which depend on no gridder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.simulation.cubes import SimulatedCube
from casa_ml_tasks.simulation.line_profiles import SIGMA_PER_FWHM
from casa_ml_tasks.simulation.measurement_set import prepare, with_table
from casa_ml_tasks.simulation.observation import CENTRE, INTEGRATION, observe
from casa_ml_tasks.simulation.random_fields import GAUSSIAN
from casa_ml_tasks.simulation.sources import Source, direct_sum

CHUNK = 8192  # rows at once


def observe_cube(path: str | Path, cube: SimulatedCube, *, noise: float | None = None, seed: int = 1) -> None:
    """Write a Measurement Set of the sky of a cube, observed with its antennas, declination and length.

    Gaussians are Fourier transforms in closed form, disks and rings sums over their pixels. There is no primary beam:
    the sky of a cube is what one has left. A row is 30 s of a baseline: three hours of 43 antennas and 128 channels are
    0.7 GB.

    Args:
        path: of the new Measurement Set.
        cube: whose sky is observed.
        noise: of a channel of the dirty image in natural weighting, Jy/beam; by default the cube's.
        seed: of the noise.
    """
    observed = cube.observation
    observe(
        path,
        observed.places,
        frequency=float(observed.frequencies[0]),
        channels=observed.channels,
        channel_width=observed.channel_width,
        integrations=max(round(3600 * observed.uv.hours / INTEGRATION), 1),
        centre=(CENTRE[0], float(np.degrees(observed.uv.declination))),
        frame="ICRS",
        spectral_frame="LSRK",
    )
    rng = np.random.default_rng(seed)

    def fill(tool: Any) -> None:
        rows = int(tool.nrows())
        sigma = (observed.noise if noise is None else noise) * np.sqrt(2 * rows)
        prepare(tool, sigma)
        for first in range(0, rows, CHUNK):
            count = min(CHUNK, rows - first)
            stokes_i = visibilities(cube, tool.getcol("UVW", first, count))
            white = rng.normal(size=(2, 2, *stokes_i.shape))
            tool.putcol("DATA", stokes_i + sigma * (white[0] + 1j * white[1]), first, count)

    with_table(path, fill)


def visibilities(cube: SimulatedCube, uvw: NDArray[np.floating]) -> NDArray[np.complex128]:
    """Return what an array measures of the sky of a cube without noise, (channel, row), Jy. uvw: (3, row), metres."""
    frequencies = cube.observation.frequencies
    found = np.zeros((len(frequencies), uvw.shape[1]), complex)
    for number, spectrum in enumerate(cube.spectra):
        if cube.sources.profile[number] == GAUSSIAN:
            shape = direct_sum(uvw, frequencies, (_source(cube, number),))
        else:
            shape = _sum_over_pixels(cube.images[number], uvw, frequencies, cube.observation.cell * arcsecond)
        found += spectrum[:, None] * shape
    return found


def _source(cube: SimulatedCube, number: int) -> Source:
    """One source of the cube with flux 1."""
    true, cell, middle = cube.sources, cube.observation.cell, cube.observation.pixels // 2
    return Source(
        flux=1.0,
        east=(middle - true.x[number]) * cell,
        north=(true.y[number] - middle) * cell,
        size=true.major[number] * cell * SIGMA_PER_FWHM,
        ratio=true.minor[number] / true.major[number],
        angle=true.angle[number] - np.pi / 2,
    )


def _sum_over_pixels(
    image: NDArray[np.floating], uvw: NDArray[np.floating], frequencies: NDArray[np.floating], cell: float
) -> NDArray[np.complex128]:
    """The visibilities of an image, (channel, row), of pixels of `cell` radians."""
    ny, nx = image.shape
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    patch = image[np.ix_(rows, columns)].astype(float)
    found = np.zeros((len(frequencies), uvw.shape[1]), complex)
    for channel, frequency in enumerate(frequencies):
        u, v = uvw[:2] * frequency / speed_of_light
        along_x = np.exp(2j * np.pi * np.outer(u, -(columns - nx // 2) * cell))
        along_y = np.exp(2j * np.pi * np.outer(v, (rows - ny // 2) * cell))
        found[channel] = np.einsum("ky,ky->k", along_y, along_x @ patch.T)
    return found
