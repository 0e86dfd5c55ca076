"""Measurement Sets of any telescope, without data: only their uvw and their beams are of interest."""

import numpy as np
from casatools import measures, quanta, simulator


def observe(
    path: str,
    telescope: str,
    dish_diameter: float,
    frequency: float,
    *,
    extent: float = 150.0,
    declination: str = "-24d00m00s",
) -> None:
    """Write a Measurement Set of one integration at transit and one channel of 1 MHz, without data.

    Args:
        path: of the new Measurement Set.
        telescope: "ALMA", "ACA", "VLA" or "EVLA"; the site is ALMA's or the VLA's.
        dish_diameter: of the four antennas, metres.
        frequency: Hz.
        extent: greatest distance of an antenna from the array's centre along East and North, metres.
        declination: of the field at right ascension 16h24m.
    """
    me, qa, sm = measures(), quanta(), simulator()
    observatory = "VLA" if "VLA" in telescope else "ALMA"
    x, y = np.random.default_rng(1).uniform(-extent, extent, (2, 4))
    try:
        sm.open(path)
        sm.setconfig(
            telescopename=telescope,
            x=x,
            y=y,
            z=np.zeros(4),
            dishdiameter=np.full(4, dish_diameter),
            mount=["alt-az"],
            antname=[f"A{i}" for i in range(4)],
            coordsystem="local",
            referencelocation=me.observatory(observatory),
        )
        sm.setspwindow(
            spwname="spw",
            freq=f"{frequency}Hz",
            deltafreq="1MHz",
            freqresolution="1MHz",
            nchannels=1,
            stokes="XX YY",
        )
        sm.setfeed("perfect X Y", pol=[""])
        sm.setfield(sourcename="sky", sourcedirection=me.direction("J2000", "16h24m00s", declination))
        sm.setauto(0)
        sm.settimes(
            integrationtime="30s", usehourangle=True, referencetime=me.epoch("UTC", qa.quantity("2024/03/01/00:00:00"))
        )
        sm.observe("sky", "spw", starttime="-15s", stoptime="15s")
    finally:
        sm.done()
        me.done()
        qa.done()
