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
    dish_diameter: float = 12.0,
    frequency: float = 230e9,
    channels: int = 1,
    channel_width: float = 1e6,
    correlations: tuple[str, ...] = ("XX", "YY"),
    integrations: int = 1,
    centre: tuple[float, float] = CENTRE,
    pointings: tuple[tuple[float, float], ...] = ((0.0, 0.0),),
) -> None:
    """Write a Measurement Set without data, observed around transit.

    Args:
        path: of the new Measurement Set.
        layout: (2, antenna), metres East and North of the site, which is the VLA's for "VLA" and "EVLA", else ALMA's.
        telescope: the name that the Measurement Set states.
        dish_diameter: of all antennas, metres.
        frequency: of the first channel, Hz, topocentric.
        channels: how many.
        channel_width: Hz.
        correlations: of linear or of circular feeds.
        integrations: of 30 s, for each pointing.
        centre: right ascension and declination of the phase centre, J2000, degrees.
        pointings: arcsec east and north of the phase centre, one after the other.
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
            z=np.zeros(antennas),
            dishdiameter=np.full(antennas, dish_diameter),
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
            stokes=" ".join(correlations),
        )
        sm.setfeed("perfect X Y" if correlations[0] in ("XX", "YY") else "perfect R L", pol=[""])
        for number, (east, north) in enumerate(pointings):
            right_ascension = f"{centre[0] + east / 3600 / np.cos(np.radians(centre[1])):.12f}deg"
            towards = me.direction("J2000", right_ascension, f"{centre[1] + north / 3600:.12f}deg")
            sm.setfield(sourcename=f"sky{number}", sourcedirection=towards)
        sm.setlimits(shadowlimit=0.001, elevationlimit="8deg")
        sm.setauto(0)
        sm.settimes(
            integrationtime=f"{INTEGRATION}s", usehourangle=True, referencetime=me.epoch("UTC", qa.quantity(DAY))
        )
        for number in range(len(pointings)):
            start = duration * (number - len(pointings) / 2)
            sm.observe(f"sky{number}", "spw", starttime=f"{start}s", stoptime=f"{start + duration}s")
    finally:
        sm.done()
        me.done()
        qa.done()


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
