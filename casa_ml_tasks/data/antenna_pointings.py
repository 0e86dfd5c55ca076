"""Where each antenna of a Measurement Set looked, from its POINTING table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from casa_ml_tasks.data.measurement_set import open_table

#: Frames of the table and of images that convert into each other without time or place, by their names in astropy.
FRAMES = {"J2000": "fk5", "ICRS": "icrs", "GALACTIC": "galactic", "B1950": "fk4"}


@dataclass(frozen=True)
class AntennaPointings:
    """Directions of antennas at some times, in the frame of an image.

    Attributes:
        times: of each antenna by its number, ascending, (time,), seconds.
        directions: right ascension and declination at these times, (2, time), radians.
    """

    times: dict[int, NDArray[np.float64]]
    directions: dict[int, NDArray[np.float64]]

    def at(self, antenna: NDArray[np.integer], time: NDArray[np.float64], step: float) -> NDArray[np.float64]:
        """Return the direction of antennas, (row,), at times, (row,), that is nearest in time, (2, row), radians.

        Args:
            antenna: numbers.
            time: seconds.
            step: directions are rounded to multiples of it, radians along either axis.

        Raises:
            ValueError: an antenna has no direction.
        """
        found = np.empty((2, antenna.size))
        for number in np.unique(antenna):
            rows = np.flatnonzero(antenna == number)
            if int(number) not in self.times:
                raise ValueError(
                    f"usepointing=True, and the POINTING table has no direction of antenna {number}; use "
                    "usepointing=False"
                )
            times, directions = self.times[int(number)], self.directions[int(number)]
            after = np.clip(np.searchsorted(times, time[rows]), 1, max(times.size - 1, 1))
            nearer = np.abs(times[after - 1] - time[rows]) <= np.abs(times[after % times.size] - time[rows])
            found[:, rows] = directions[:, np.where(nearer, after - 1, after % times.size)]
        declination = np.round(found[1] / step) * step
        step_of_longitude = step / np.maximum(np.cos(declination), 1e-6)
        return np.array([np.round(found[0] / step_of_longitude) * step_of_longitude, declination])


def antenna_pointings(vis: str, frame: str) -> AntennaPointings:
    """Return the directions of the POINTING table, which are remembered until it changes.

    Args:
        vis: the Measurement Set.
        frame: of the image.

    Raises:
        ValueError: the table has no rows, or directions that move against the sky.
    """
    path = f"{os.path.abspath(vis)}/POINTING"
    return _read(path, frame, os.stat(f"{path}/table.dat").st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: str, frame: str, _: int) -> AntennaPointings:
    with open_table(path) as tb:
        if tb.nrows() == 0:
            raise ValueError(f"usepointing=True, and '{path}' has no rows; use usepointing=False")
        antenna, time, directions = tb.getcol("ANTENNA_ID"), tb.getcol("TIME"), tb.getcol("DIRECTION")
        own = str(tb.getcolkeyword("DIRECTION", "MEASINFO").get("Ref", ""))
    if own not in FRAMES or frame not in FRAMES:
        raise ValueError(
            f"usepointing=True needs directions in one of {', '.join(FRAMES)}, and '{path}' has them in "
            f"{own or 'several frames'} for an image in {frame}; use usepointing=False"
        )
    longitude, latitude = directions[:, 0]
    if own != frame:
        seen = SkyCoord(longitude, latitude, unit="rad", frame=FRAMES[own]).transform_to(FRAMES[frame])
        longitude, latitude = seen.spherical.lon.rad, seen.spherical.lat.rad
    times, of_antenna = {}, {}
    for number in np.unique(antenna):
        rows = np.flatnonzero(antenna == number)
        rows = rows[np.argsort(time[rows], kind="stable")]
        times[int(number)], of_antenna[int(number)] = time[rows], np.array([longitude[rows], latitude[rows]])
    return AntennaPointings(times, of_antenna)
