"""Frequencies in the frame of the image: CASA grids them in LSRK, where observed ones have drifted with the Earth."""

from __future__ import annotations

from typing import Any

import numpy as np
from casatools import measures, quanta
from numpy.typing import NDArray

from casa_ml_tasks.data.measurement_set import open_table

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
    for number in np.unique(field):
        rows = field == number
        first, last = time[rows].min(), time[rows].max()
        samples = np.linspace(first, last, 2 + int((last - first) / INTERVAL))
        factor[rows] = np.interp(time[rows], samples, _factors(vis, frame, samples, phase_centre(vis, int(number))))
    return factor


def phase_centre(vis: str, field: int) -> dict[str, Any]:
    """The direction that a field's visibilities are phased to, as a measure."""
    with open_table(f"{vis}/FIELD") as tb:
        ra, dec = np.atleast_2d(tb.getcell("PHASE_DIR", field).T)[0]
        keywords = tb.getcolkeyword("PHASE_DIR", "MEASINFO")
        if "VarRefCol" in keywords:
            code = int(tb.getcell(keywords["VarRefCol"], field))
            names = dict(zip(keywords["TabRefCodes"].tolist(), keywords["TabRefTypes"], strict=True))
            frame = str(names[code])
        else:
            frame = str(keywords["Ref"])
    me, qa = measures(), quanta()
    try:
        return me.direction(frame, qa.quantity(ra, "rad"), qa.quantity(dec, "rad"))
    finally:
        me.done()
        qa.done()


def _factors(vis: str, frame: str, times: NDArray[np.float64], direction: dict[str, Any]) -> list[float]:
    with open_table(f"{vis}/OBSERVATION") as tb:
        telescope = str(tb.getcell("TELESCOPE_NAME", 0))
    me, qa = measures(), quanta()
    try:
        me.doframe(me.observatory(telescope))
        me.doframe(direction)
        factors = []
        for time in times:
            me.doframe(me.epoch("UTC", qa.quantity(time, "s")))
            factors.append(me.measure(me.frequency(frame, "1GHz"), "LSRK")["m0"]["value"] / 1e9)
        return factors
    finally:
        me.done()
        qa.done()
