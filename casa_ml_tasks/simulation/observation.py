"""Observations without data: the casatools simulator lays out antennas, spectral window, fields and times."""

from pathlib import Path

import numpy as np
from casatools import measures, quanta, simulator
from numpy.typing import NDArray

CENTRE = (246.0, -24.0)  # right ascension and declination of the phase centre, J2000, degrees
DAY = "2024/03/01/00:00:00"  # UTC
INTEGRATION = 30.0  # s


def observe(
    path: str | Path,
    layout: NDArray[np.floating],
    *,
    telescope: str = "ALMA",
    dish_diameter: float | NDArray[np.floating] = 12.0,
    frequency: float = 230e9,
    channels: int = 1,
    channel_width: float = 1e6,
    correlations: tuple[str, ...] = ("XX", "YY"),
    integrations: int = 1,
    visits: int = 1,
    centre: tuple[float, float] = CENTRE,
    pointings: tuple[tuple[float, float], ...] = ((0.0, 0.0),),
    frame: str = "J2000",
    spectral_frame: str = "TOPO",
) -> None:
    """Write a Measurement Set without data, observed around transit.

    Args:
        path: of the new Measurement Set.
        layout: (2, antenna) or (3, antenna), metres East and North of the site, and above it; the site is the VLA's for
            "VLA" and "EVLA", else ALMA's.
        telescope: the name that the Measurement Set states.
        dish_diameter: of all antennas, or of each, metres.
        frequency: of the first channel, Hz.
        channels: how many.
        channel_width: Hz.
        correlations: of linear or of circular feeds.
        integrations: of 30 s, for each visit to a pointing.
        visits: how often each pointing is observed.
        centre: right ascension and declination of the phase centre, degrees.
        pointings: arcsec east and north of the phase centre, one after the other.
        frame: of the directions.
        spectral_frame: of the frequencies.
    """
    me, qa, sm = measures(), quanta(), simulator()
    duration = INTEGRATION * integrations
    antennas = layout.shape[1]
    try:
        sm.open(str(path))
        sm.setconfig(
            telescopename=telescope,
            x=layout[0],
            y=layout[1],
            z=layout[2] if len(layout) > 2 else np.zeros(antennas),
            dishdiameter=np.broadcast_to(dish_diameter, antennas),
            mount=["alt-az"],
            antname=[f"A{i:02d}" for i in range(antennas)],
            coordsystem="local",
            referencelocation=me.observatory("VLA" if "VLA" in telescope else "ALMA"),
        )
        sm.setspwindow(
            spwname="spw",
            freq=f"{frequency}Hz",
            deltafreq=f"{channel_width}Hz",
            freqresolution=f"{channel_width}Hz",
            nchannels=channels,
            refcode=spectral_frame,
            stokes=" ".join(correlations),
        )
        sm.setfeed("perfect X Y" if correlations[0] in ("XX", "YY") else "perfect R L", pol=[""])
        for number, (right_ascension, declination) in enumerate(directions_of(centre, pointings)):
            towards = me.direction(frame, f"{right_ascension:.12f}deg", f"{declination:.12f}deg")
            sm.setfield(sourcename=f"sky{number}", sourcedirection=towards)
        sm.setlimits(shadowlimit=0.001, elevationlimit="8deg")
        sm.setauto(0)
        sm.settimes(
            integrationtime=f"{INTEGRATION}s", usehourangle=True, referencetime=me.epoch("UTC", qa.quantity(DAY))
        )
        for scan in range(visits * len(pointings)):
            start = duration * (scan - visits * len(pointings) / 2)
            sm.observe(f"sky{scan % len(pointings)}", "spw", starttime=f"{start}s", stoptime=f"{start + duration}s")
    finally:
        sm.done()
        me.done()
        qa.done()


def directions_of(centre: tuple[float, float], pointings: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Return right ascension and declination of pointings, degrees.

    Args:
        centre: right ascension and declination, degrees.
        pointings: arcsec east and north of it.
    """
    scale = np.cos(np.radians(centre[1]))
    return [(centre[0] + east / 3600 / scale, centre[1] + north / 3600) for east, north in pointings]


def lsrk_over_topocentric(times: NDArray[np.floating]) -> NDArray[np.float64]:
    """LSRK over observed frequencies of ALMA towards `CENTRE`, by CASA's measures for each time.

    Args:
        times: (row,), UTC, seconds, as in the column TIME.

    Returns:
        (row,).
    """
    me, qa = measures(), quanta()
    me.doframe(me.observatory("ALMA"))
    me.doframe(me.direction("J2000", *(f"{degrees}deg" for degrees in CENTRE)))
    factors = {}
    for time in np.unique(times):
        me.doframe(me.epoch("UTC", qa.quantity(time, "s")))
        factors[time] = me.measure(me.frequency("TOPO", "1GHz"), "LSRK")["m0"]["value"] / 1e9
    me.done()
    qa.done()
    return np.array([factors[time] for time in times])
