"""Frequencies in the frame of the image: CASA grids them in LSRK, where observed ones have drifted with the Earth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.directions import directions_of, nodes

INTERVAL = 600.0  # seconds: the Earth's rotation changes the velocity by less than 1e-7 of light's in between
UNCHANGED = ("REST", "LSRK")


def lsrk_over_observed(
    vis: str, frame: str, time: NDArray[np.float64], field: NDArray[np.integer]
) -> NDArray[np.float64]:
    """The factor from observed frequencies to LSRK.

    Args:
        vis: the Measurement Set, for the observatory and the directions of its fields.
        frame: of the observed frequencies, for instance TOPO.
        time: (row,), seconds, UTC.
        field: (row,), FIELD_ID.

    Returns:
        (row,), about 1 +- 1e-4.
    """
    factor = np.ones(time.size)
    if frame in UNCHANGED:
        return factor
    directions = directions_of(vis)
    for number in np.unique(field):
        rows = field == number
        at = nodes(time[rows], INTERVAL)
        factor[rows] = np.interp(time[rows], at, directions.lsrk_over_observed(int(number), at, frame))
    return factor
