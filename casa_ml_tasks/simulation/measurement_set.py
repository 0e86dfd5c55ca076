"""Measurement Sets whose sky, noise and weights are known exactly."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casatools import table
from numpy.typing import NDArray

from casa_ml_tasks.simulation.observation import observe
from casa_ml_tasks.simulation.sources import REFERENCE, Source, correlations_of, direct_sum, seen_from

SOURCES = (
    Source(flux=0.5, east=1.0, north=-0.5),
    Source(flux=1.0, east=-1.2, north=0.8, size=0.3),
)


@dataclass(frozen=True)
class SimulatedMS:
    """The truth behind a Measurement Set.

    Attributes:
        path: of the Measurement Set.
        sources: what the sky consists of.
        sigma: standard deviation that WEIGHT states, of the real and of the imaginary part of one correlation, Jy.
        frequencies: (channel,), Hz.
        rows: how many.
    """

    path: Path
    sources: tuple[Source, ...]
    sigma: float
    frequencies: NDArray[np.float64]
    rows: int


def simulate(
    path: str | Path,
    *,
    antennas: int = 12,
    channels: int = 2,
    integrations: int = 10,
    sigma: float = 0.02,
    noise_scale: float = 1.0,
    sources: tuple[Source, ...] = SOURCES,
    seed: int = 1,
    correlations: str = "XX YY",
    channel_width: float = 1e9,
    radius: float = 150,
    pointings: tuple[tuple[float, float], ...] = ((0.0, 0.0),),
) -> SimulatedMS:
    """Write a Measurement Set with DATA = direct sum + Gaussian noise and WEIGHT = 1/sigma^2.

    Args:
        path: of the new Measurement Set.
        antennas: on a random layout.
        channels: from 230 GHz upwards.
        integrations: of 30 s around transit, for each pointing.
        sigma: nominal noise in Jy, which WEIGHT and SIGMA state.
        noise_scale: true noise over `sigma`.
        sources: what the sky consists of.
        seed: of the antenna layout and of the noise.
        correlations: of linear or of circular feeds.
        channel_width: Hz.
        radius: of the array, metres: half a side of the square in which the antennas are.
        pointings: arcsec east and north of the phase centre, one after the other; of several, what is away from the
            centre of each is fainter by CASA's beam of a 12 m antenna.
    """
    rng = np.random.default_rng(seed)
    names = tuple(correlations.split())
    observe(
        path,
        rng.uniform(-radius, radius, (2, antennas)),
        frequency=REFERENCE,
        channels=channels,
        channel_width=channel_width,
        correlations=names,
        integrations=integrations,
        pointings=pointings,
    )
    frequencies = with_table(f"{path}/SPECTRAL_WINDOW", lambda tool: tool.getcell("CHAN_FREQ", 0))

    def fill(tool: Any) -> int:
        uvw, fields = tool.getcol("UVW"), tool.getcol("FIELD_ID")
        data = np.zeros((len(names), channels, fields.size), complex)
        for field, pointing in enumerate(pointings):
            there = sources if len(pointings) == 1 else seen_from(pointing, sources, frequencies.mean())
            rows = fields == field
            data[..., rows] = correlations_of(uvw[:, rows], frequencies, there, names)
        noise = rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape)
        put_data(tool, data + noise_scale * sigma * noise, sigma)
        return int(fields.size)

    return SimulatedMS(Path(path), sources, sigma, frequencies, with_table(path, fill))


def put_data(tool: Any, data: NDArray[np.complexfloating], sigma: float) -> None:
    """Write DATA, and what `prepare` writes.

    Args:
        tool: the table of a Measurement Set, open for writing.
        data: (correlation, channel, row), Jy.
        sigma: standard deviation of the real and of the imaginary part of one correlation, Jy.
    """
    prepare(tool, sigma)
    tool.putcol("DATA", data)


def prepare(tool: Any, sigma: float) -> None:
    """Write SIGMA, WEIGHT = 1/sigma^2 and no flag, and remove the columns of another sky.

    Args:
        tool: the table of a Measurement Set, open for writing.
        sigma: standard deviation of the real and of the imaginary part of one correlation, Jy.
    """
    tool.removecols([name for name in ("MODEL_DATA", "CORRECTED_DATA", "IMAGING_WEIGHT") if name in tool.colnames()])
    rows = int(tool.nrows())
    correlations, channels = tool.getcell("FLAG", 0).shape
    tool.putcol("FLAG", np.zeros((correlations, channels, rows), bool))
    tool.putcol("FLAG_ROW", np.zeros(rows, bool))
    for column, value in (("SIGMA", sigma), ("WEIGHT", sigma**-2)):
        tool.putcol(column, np.full((correlations, rows), value))


def add_to_channels(observed: SimulatedMS, sources_of: Callable[[int], tuple[Source, ...]]) -> None:
    """Add sources to DATA that differ from channel to channel.

    Args:
        observed: of which DATA are changed.
        sources_of: returns the sources of the channel of a number.
    """

    def change(tool: Any) -> None:
        data, uvw = tool.getcol("DATA"), tool.getcol("UVW")
        for channel in range(observed.frequencies.size):
            data[:, channel] += direct_sum(uvw, observed.frequencies[channel : channel + 1], sources_of(channel))[0]
        tool.putcol("DATA", data)

    with_table(observed.path, change)


def with_table(path: str | Path, change: Callable[[Any], Any]) -> Any:
    """Open the table at `path` for writing, return what `change` returns for it, and close it."""
    tool = table()
    tool.open(str(path), nomodify=False)
    try:
        return change(tool)
    finally:
        tool.done()
