"""Mosaics of an image of the sky by ALMA's arrays, as Measurement Sets.

The visibilities are sums over all pixels of the sky, in double precision, so the data do not depend on any gridder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.kernels.primary_beams import antenna_beam
from casa_ml_tasks.simulation.antennas import read_antennas
from casa_ml_tasks.simulation.measurement_set import put_data, with_table
from casa_ml_tasks.simulation.observation import CENTRE, directions_of, observe


@dataclass(frozen=True)
class SkyImage:
    """What the telescopes look at.

    Attributes:
        pixels: (channel, y, x), Jy/pixel, in SIN projection; East is towards smaller x. Each pixel is a point source in
            its middle. Pixel (ny // 2, nx // 2) is the centre.
        cell: of a pixel, arcsec.
        centre: right ascension and declination, ICRS, degrees.
        frequency: of the first channel, LSRK, Hz.
        channel_width: Hz.
    """

    pixels: NDArray[np.floating]
    cell: float
    centre: tuple[float, float] = CENTRE
    frequency: float = 230e9
    channel_width: float = 1e9

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """(channel,), Hz."""
        return self.frequency + self.channel_width * np.arange(len(self.pixels), dtype=float)

    @property
    def phasecenter(self) -> str:
        """The centre as tasks read it."""
        return f"ICRS {self.centre[0]:.10f}deg {self.centre[1]:.10f}deg"


def observe_mosaic(
    path: str | Path,
    sky: SkyImage,
    *,
    configuration: str,
    pointings: tuple[tuple[float, float], ...],
    sigma: float,
    antennas: int | None = None,
    integrations: int = 1,
    visits: int = 1,
    seed: int = 1,
) -> None:
    """Write a Measurement Set of a mosaic, with Gaussian noise in DATA and WEIGHT = 1 / sigma^2.

    Each pointing sees the sky through the primary beams with which CASA images ALMA's antennas, the product of two
    voltage patterns on baselines between dishes of different diameter. XX and YY are both Stokes I.

    Args:
        path: of the new Measurement Set.
        sky: what is observed.
        configuration: of antennas, one of casadata's files in alma/simmos, as 'alma.cycle9.2' or 'aca.cycle9'.
        pointings: arcsec east and north of the centre.
        sigma: of the real and of the imaginary part of one correlation, Jy.
        antennas: how many of the configuration; all by default.
        integrations: of 30 s, for each visit to a pointing.
        visits: how often each pointing is observed, around transit.
        seed: of the noise.

    Raises:
        ValueError: casadata has no such configuration.
    """
    layout, diameters = read_antennas(configuration, antennas)
    observe(
        path,
        layout,
        dish_diameter=diameters,
        frequency=sky.frequency,
        channels=len(sky.pixels),
        channel_width=sky.channel_width,
        integrations=integrations,
        visits=visits,
        centre=sky.centre,
        pointings=pointings,
        frame="ICRS",
        spectral_frame="LSRK",
    )
    directions = np.radians(directions_of(sky.centre, pointings))
    rng = np.random.default_rng(seed)

    def fill(tool: Any) -> None:
        uvw, fields = tool.getcol("UVW").T, tool.getcol("FIELD_ID")
        pairs = diameters[np.stack([tool.getcol("ANTENNA1"), tool.getcol("ANTENNA2")])].T
        stokes_i = np.zeros((len(sky.pixels), fields.size), complex)
        for field, *pair in np.unique(np.column_stack([fields, pairs]), axis=0):
            rows = (fields == field) & np.all(pairs == pair, axis=1)
            stokes_i[:, rows] = predict(sky, uvw[rows], directions[int(field)], tuple(pair))
        noise = rng.normal(size=(2, 2, *stokes_i.shape))
        put_data(tool, stokes_i + sigma * (noise[0] + 1j * noise[1]), sigma)

    with_table(path, fill)


def predict(
    sky: SkyImage,
    uvw: NDArray[np.floating],
    direction: NDArray[np.floating],
    diameters: tuple[float, float],
    telescope: str = "ALMA",
) -> NDArray[np.complex128]:
    r"""$V = \sum A I \exp(2\pi i(u l' + v m' + w(n' - 1)))$ over all pixels, about the direction of a pointing.

    With the rotation R from the frame of the sky into that of the pointing, (l', m', n') = R (l, m, n). So (u, v, w) R
    are coordinates about the centre of the sky, where the sum over x and that over y part. The exponential of
    w(n - 1) is summed as a series until its terms are below 1e-9.

    Args:
        sky: what is observed.
        uvw: (row, 3), metres, about the pointing.
        direction: right ascension and declination of the pointing, ICRS, radians.
        diameters: of the two dishes, metres.
        telescope: whose primary beams these are.

    Returns:
        (channel, row), Jy.
    """
    ny, nx = sky.pixels.shape[1:]
    l, m = -(np.arange(nx) - nx // 2) * sky.cell * arcsecond, (np.arange(ny) - ny // 2) * sky.cell * arcsecond  # noqa: E741
    n_minus_one = np.sqrt(1 - l**2 - m[:, None] ** 2) - 1
    rotation = _axes(direction) @ _axes(np.radians(sky.centre)).T
    there = np.einsum("ij,j...->i...", rotation, np.stack(np.broadcast_arrays(l, m[:, None], n_minus_one + 1)))
    distance = np.hypot(there[0], there[1])
    visibilities = np.zeros((len(sky.pixels), len(uvw)), complex)
    for channel, frequency in enumerate(sky.frequencies):
        seen, lit = np.zeros((ny, nx)), np.nonzero(sky.pixels[channel])
        seen[lit] = sky.pixels[channel][lit] * _power(telescope, diameters, distance[lit], frequency)
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        if not rows.size:
            continue
        patch = np.ix_(rows, columns)
        wavelengths = uvw * frequency / speed_of_light
        u, v, w = rotation.T @ wavelengths.T
        along_x, along_y = np.exp(2j * np.pi * np.outer(u, l[columns])), np.exp(2j * np.pi * np.outer(v, m[rows]))
        largest = 2 * np.pi * np.abs(w).max() * np.abs(n_minus_one[patch]).max()
        term = 0
        while term == 0 or largest**term / math.factorial(term) > 1e-9:
            moment = np.einsum("ky,ky->k", along_y, along_x @ (seen[patch] * n_minus_one[patch] ** term).T)
            visibilities[channel] += (2j * np.pi * w) ** term / math.factorial(term) * moment
            term += 1
        visibilities[channel] *= np.exp(2j * np.pi * (w - wavelengths[:, 2]))
    return visibilities


def _power(
    telescope: str, diameters: tuple[float, float], distance: NDArray[np.float64], frequency: float
) -> NDArray[np.float64]:
    """The primary beam of a pair of dishes: the product of their voltage patterns, as far as both reach."""
    beams = [antenna_beam(telescope, diameter) for diameter in diameters]
    first, second = (beam.voltage(distance, frequency) for beam in beams)
    reached = np.all([beam.power(distance, frequency) > 0 for beam in beams], axis=0)
    return np.where(reached, first * second, 0.0)


def hexagon(rings: int, dish_diameter: float, frequency: float = 230e9) -> tuple[tuple[float, float], ...]:
    """Return the pointings of a hexagonal mosaic, arcsec east and north, at the Nyquist spacing lambda / (sqrt(3) D).

    Args:
        rings: around the pointing in the middle: 0, 1, 2 give 1, 7, 19 pointings.
        dish_diameter: metres.
        frequency: Hz.
    """
    step = speed_of_light / frequency / dish_diameter / math.sqrt(3) / arcsecond
    around = range(-rings, rings + 1)
    steps = [(i, j) for j in around for i in around if abs(i + j) <= rings]
    return tuple(((i + j / 2) * step, j * math.sqrt(3) / 2 * step) for i, j in steps)


def _axes(direction: NDArray[np.floating]) -> NDArray[np.float64]:
    """Unit vectors to East, to North and in a direction (right ascension and declination, radians), (3, 3)."""
    (sin_a, sin_d), (cos_a, cos_d) = np.sin(direction), np.cos(direction)
    east, north = (-sin_a, cos_a, 0), (-sin_d * cos_a, -sin_d * sin_a, cos_d)
    return np.array([east, north, (cos_d * cos_a, cos_d * sin_a, sin_d)])
