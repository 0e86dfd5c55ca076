"""A small ALMA-like Measurement Set whose sky, noise and weights are known exactly."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import imhead
from casatools import measures, quanta, simulator, table
from numpy.typing import NDArray
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.kernels.primary_beams import ALMA_12M


@dataclass(frozen=True)
class Source:
    """A circular Gaussian, or a point where `size` is 0."""

    flux: float  # Jy
    east: float  # arcsec from the phase centre
    north: float  # arcsec from the phase centre
    size: float = 0.0  # standard deviation, arcsec
    polarisation: tuple[float, float, float] = (0.0, 0.0, 0.0)  # Q, U and V over I
    index: float = 0.0  # alpha: the flux goes with frequency^alpha, and is `flux` at REFERENCE


REFERENCE = 230e9  # Hz, of the fluxes

SOURCES = (
    Source(flux=0.5, east=1.0, north=-0.5),
    Source(flux=1.0, east=-1.2, north=0.8, size=0.3),
)


@dataclass(frozen=True)
class SimulatedMS:
    """The truth behind the Measurement Set at `path`."""

    path: Path
    sources: tuple[Source, ...]
    sigma: float  # Jy, of the real and of the imaginary part of one correlation
    frequencies: NDArray[np.float64]  # (channel,), Hz
    rows: int


def direct_sum(uvw: NDArray, frequencies: NDArray, sources: tuple[Source, ...]) -> NDArray:
    r"""$V(u,v) = \sum I \exp(2\pi i(ul+vm))$, term by term, with a Gaussian's envelope $\exp(-2\pi^2s^2(u^2+v^2))$.

    Args:
        uvw: (3, row), metres.
        frequencies: (channel,), Hz.
        sources: what the sky consists of.

    Returns:
        (channel, row), complex, Jy.
    """
    u, v = (np.multiply.outer(frequencies / speed_of_light, axis) for axis in uvw[:2])
    visibility = np.zeros(u.shape, complex)
    for source in sources:
        phase = 2 * np.pi * (u * source.east + v * source.north) * arcsecond
        envelope = np.exp(-2 * (np.pi * source.size * arcsecond) ** 2 * (u**2 + v**2))
        spectrum = (frequencies / REFERENCE)[:, None] ** source.index
        visibility += source.flux * spectrum * envelope * np.exp(1j * phase)
    return visibility


def correlations_of(uvw: NDArray, frequencies: NDArray, sources: tuple[Source, ...], names: tuple[str, ...]) -> NDArray:
    """What perfect feeds measure, (correlation, channel, row), Jy: XX = I + Q, XY = U + iV, RR = I + V, RL = Q + iU."""

    def polarised(which: int) -> NDArray:
        parts = tuple(replace(each, flux=each.flux * each.polarisation[which]) for each in sources)
        return direct_sum(uvw, frequencies, parts)

    i, (q, u, v) = direct_sum(uvw, frequencies, sources), map(polarised, range(3))
    linear = {"XX": i + q, "XY": u + 1j * v, "YX": u - 1j * v, "YY": i - q}
    circular = {"RR": i + v, "RL": q + 1j * u, "LR": q - 1j * u, "LL": i - v}
    return np.stack([(linear | circular)[name] for name in names])


def restored_terms(imagename: str, sources: tuple[Source, ...]) -> NDArray:
    """The first two Taylor terms of the sources, convolved with the CLEAN beam of an image: (2, ny, nx), Jy/beam.

    Args:
        imagename: of products of deconvolver='mtmfs'.
        sources: what the sky consists of.
    """
    head = imhead(f"{imagename}.image.tt0", mode="list")
    nx, ny = head["shape"][:2]
    y, x = np.mgrid[:ny, :nx]
    cell = head["cdelt2"] / arcsecond
    north, east = (y - ny // 2) * cell, (nx // 2 - x) * cell
    angle = np.radians(head["beampa"]["value"])
    axes = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
    widths = np.array([head["beammajor"]["value"], head["beamminor"]["value"]]) / np.sqrt(8 * np.log(2))
    beam = axes.T * widths**2 @ axes
    terms = np.zeros((2, ny, nx))
    for source in sources:
        covariance = beam + source.size**2 * np.eye(2)
        offset = np.stack([east - source.east, north - source.north])
        distance = np.einsum("i...,ij,j...", offset, np.linalg.inv(covariance), offset)
        flux = source.flux * (head["crval4"] / REFERENCE) ** source.index
        peak = flux * np.sqrt(np.linalg.det(beam) / np.linalg.det(covariance))
        terms += np.array([1, source.index])[:, None, None] * peak * np.exp(-distance / 2)
    return terms


def with_table(path, change):
    """What `change` returns for the writable table at `path`, which is closed afterwards."""
    tool = table()
    tool.open(str(path), nomodify=False)
    try:
        return change(tool)
    finally:
        tool.done()


def simulate(
    path: Path,
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
        integrations: of 30 s around transit.
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
    _observe(path, rng.uniform(-radius, radius, (2, antennas)), channels, integrations, names, channel_width, pointings)
    tb = table()
    try:
        tb.open(str(path / "SPECTRAL_WINDOW"))
        frequencies = tb.getcell("CHAN_FREQ", 0)
        tb.close()
        tb.open(str(path), nomodify=False)
        tb.removecols([name for name in ("MODEL_DATA", "CORRECTED_DATA", "IMAGING_WEIGHT") if name in tb.colnames()])
        uvw, fields = tb.getcol("UVW"), tb.getcol("FIELD_ID")
        data = np.zeros((len(names), channels, fields.size), complex)
        for field, pointing in enumerate(pointings):
            there = sources if len(pointings) == 1 else seen_from(pointing, sources, frequencies.mean())
            rows = fields == field
            data[..., rows] = correlations_of(uvw[:, rows], frequencies, there, names)
        noise = rng.normal(size=data.shape) + 1j * rng.normal(size=data.shape)
        tb.putcol("DATA", data + noise_scale * sigma * noise)
        tb.putcol("FLAG", np.zeros(data.shape, bool))
        tb.putcol("FLAG_ROW", np.zeros(data.shape[-1], bool))
        for column, value in (("SIGMA", sigma), ("WEIGHT", sigma**-2)):
            tb.putcol(column, np.full((len(names), data.shape[-1]), value))
    finally:
        tb.done()
    return SimulatedMS(path, sources, sigma, frequencies, data.shape[-1])


def seen_from(pointing: tuple[float, float], sources: tuple[Source, ...], frequency: float) -> tuple[Source, ...]:
    """The sources as a pointing has them, in its own beam."""

    def seen(source: Source) -> Source:
        east, north = source.east - pointing[0], source.north - pointing[1]
        beam = float(ALMA_12M.power(np.hypot(east, north) * arcsecond, frequency))
        return replace(source, east=east, north=north, flux=beam * source.flux)

    return tuple(map(seen, sources))


def add_to_channels(observed: SimulatedMS, sources_of: Callable[[int], tuple[Source, ...]]) -> None:
    """Add to DATA, in every channel, the sources that it has."""

    def change(tool: Any) -> None:
        data, uvw = tool.getcol("DATA"), tool.getcol("UVW")
        for channel in range(observed.frequencies.size):
            data[:, channel] += direct_sum(uvw, observed.frequencies[channel : channel + 1], sources_of(channel))[0]
        tool.putcol("DATA", data)

    with_table(observed.path, change)


def _observe(
    path: Path,
    layout: NDArray,
    channels: int,
    integrations: int,
    correlations: tuple[str, ...],
    channel_width: float,
    pointings: tuple[tuple[float, float], ...],
) -> None:
    """Let the casatools simulator lay out an empty observation; `layout`: (2, antenna), metres East and North."""
    me, qa, sm = measures(), quanta(), simulator()
    duration = 30.0 * integrations
    antennas = layout.shape[1]
    try:
        sm.open(str(path))
        sm.setconfig(
            telescopename="ALMA",
            x=layout[0],
            y=layout[1],
            z=np.zeros(antennas),
            dishdiameter=np.full(antennas, 12.0),
            mount=["alt-az"],
            antname=[f"A{i:02d}" for i in range(antennas)],
            coordsystem="local",
            referencelocation=me.observatory("ALMA"),
        )
        sm.setspwindow(
            spwname="band6",
            freq="230GHz",
            deltafreq=f"{channel_width}Hz",
            freqresolution=f"{channel_width}Hz",
            nchannels=channels,
            stokes=" ".join(correlations),
        )
        sm.setfeed("perfect X Y" if correlations[0] in ("XX", "YY") else "perfect R L", pol=[""])
        for number, (east, north) in enumerate(pointings):
            right_ascension = f"{246.0 + east / 3600 / np.cos(np.radians(24)):.12f}deg"
            towards = me.direction("J2000", right_ascension, f"{-24.0 + north / 3600:.12f}deg")
            sm.setfield(sourcename=f"sky{number}", sourcedirection=towards)
        sm.setlimits(shadowlimit=0.001, elevationlimit="8deg")
        sm.setauto(0)
        sm.settimes(
            integrationtime="30s", usehourangle=True, referencetime=me.epoch("UTC", qa.quantity("2024/03/01/00:00:00"))
        )
        for number in range(len(pointings)):
            start = duration * (number - len(pointings) / 2)
            sm.observe(f"sky{number}", "band6", starttime=f"{start}s", stoptime=f"{start + duration}s")
    finally:
        sm.done()
        me.done()
        qa.done()


def lsrk_over_topocentric(times: NDArray) -> NDArray:
    """LSRK over observed frequencies at the times (UTC, seconds) of this observation, moment by moment."""
    me, qa = measures(), quanta()
    me.doframe(me.observatory("ALMA"))
    me.doframe(me.direction("J2000", "16h24m00s", "-24d00m00s"))
    factors = {}
    for time in np.unique(times):
        me.doframe(me.epoch("UTC", qa.quantity(time, "s")))
        factors[time] = me.measure(me.frequency("TOPO", "1GHz"), "LSRK")["m0"]["value"] / 1e9
    me.done()
    qa.done()
    return np.array([factors[time] for time in times])
