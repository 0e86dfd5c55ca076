"""Measurement Sets of any telescope, without data: only their uvw and their beams are of interest."""

import numpy as np

from casa_ml_tasks import simulation


def observe(path, telescope, dish_diameter, frequency, *, extent=150.0, declination=-24.0):
    """Write a Measurement Set of four antennas, one integration at transit and one channel of 1 MHz, without data.

    Args:
        path: of the new Measurement Set.
        telescope: "ALMA", "ACA", "VLA" or "EVLA"; the site is ALMA's or the VLA's.
        dish_diameter: of the four antennas, metres.
        frequency: Hz.
        extent: greatest distance of an antenna from the array's centre along East and North, metres.
        declination: of the field at right ascension 16h24m, degrees.
    """
    simulation.observe(
        path,
        np.random.default_rng(1).uniform(-extent, extent, (2, 4)),
        telescope=telescope,
        dish_diameter=dish_diameter,
        frequency=frequency,
        centre=(246.0, declination),
    )
