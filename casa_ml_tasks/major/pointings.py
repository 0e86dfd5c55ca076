"""Where the antennas of a mosaic look, and with which beams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.antenna_pointings import antenna_pointings
from casa_ml_tasks.data.directions import directions_of
from casa_ml_tasks.data.measurement_set import Rows, open_table
from casa_ml_tasks.data.visibility_store import FIELD_ID, ImageFrame
from casa_ml_tasks.kernels.primary_beams import AiryBeam, VoltagePattern, antenna_beam

ANTENNA1, ANTENNA2 = 0, 1  # in Block.streams
SAME_POINTING = 8  # decimals of a radian: 2 mas
DIAMETERS = 0.05  # of an antenna: directions of the POINTING table are the same within so many wavelengths over it

Direction = tuple[float, float]  # right ascension and declination, radians


class Pointing(NamedTuple):
    """Where the two antennas of a baseline look, and their beams."""

    directions: tuple[Direction, Direction]
    beams: tuple[VoltagePattern, VoltagePattern]


@dataclass
class Pointings:
    """Numbers the pointings in the order in which they are met.

    A field that moves against the image keeps the direction at which it is first met.

    Attributes:
        frame: of the image.
        usepointing: antennas look where the POINTING table says, else at the phase centre of the field.
        known: the pointings.
        groups: number of the field of each; those of one direction in one Measurement Set are the same.
    """

    frame: ImageFrame
    usepointing: bool = False
    known: list[Pointing] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    _numbers: dict[Pointing, int] = field(default_factory=dict)
    _fields: dict[tuple[str, float, float], int] = field(default_factory=dict)
    _directions: dict[tuple[str, int], Direction] = field(default_factory=dict)

    def of(self, block: Rows, vis: str) -> NDArray[np.uint16]:
        """The pointing of each row, (row,)."""
        beams = antenna_beams(vis)
        kinds = list(dict.fromkeys(beams))
        of_antenna = np.array([kinds.index(each) for each in beams])
        ends = of_antenna[block.streams[[ANTENNA1, ANTENNA2]]]
        looks, known = np.zeros_like(ends), [(0.0, 0.0)]
        if self.usepointing:
            looks, known = self._looks(block, vis)
        else:
            ends = np.sort(ends, axis=0)
        keys, first, which = np.unique(
            np.vstack([block.streams[FIELD_ID], ends, looks]), axis=1, return_index=True, return_inverse=True
        )
        numbers = []
        for (field_id, a, b, look_a, look_b), row in zip(keys.T, first, strict=True):
            centre = self._direction(vis, int(field_id), block.time[row])
            pair = (known[look_a], known[look_b]) if self.usepointing else (centre, centre)
            numbers.append(self._number(Pointing(pair, (kinds[a], kinds[b])), (vis, *rounded(centre))))
        return np.array(numbers, np.uint16)[which.ravel()]

    def places(self, vis: str) -> dict[int, Direction]:
        """Return the direction of each field of a Measurement Set that has been met, by FIELD_ID."""
        return {field: rounded(place) for (path, field), place in self._directions.items() if path == vis}

    def _looks(self, block: Rows, vis: str) -> tuple[NDArray[np.int64], list[Direction]]:
        """Return the number of the direction of both antennas of each row, (2, row), and the directions."""
        wavelength_over_diameter = DIAMETERS * 3e8 / (float(block.frequency.mean()) * largest_diameter(vis))
        pairs = [
            antenna_pointings(vis, self.frame.frame).at(block.streams[end], block.time, wavelength_over_diameter)
            for end in (ANTENNA1, ANTENNA2)
        ]
        both = np.concatenate(pairs, axis=1)
        known, which = np.unique(both, axis=1, return_inverse=True)
        return which.reshape(2, -1), [(float(a), float(b)) for a, b in known.T]

    def _direction(self, vis: str, field: int, time: float) -> Direction:
        if (vis, field) not in self._directions:
            longitude, latitude = directions_of(vis).seen_in(field, float(time), self.frame)
            self._directions[vis, field] = longitude, latitude
        return self._directions[vis, field]

    def _number(self, pointing: Pointing, of_field: tuple[str, float, float]) -> int:
        first, second = pointing.directions
        key = Pointing((rounded(first), rounded(second)), pointing.beams)
        if key not in self._numbers:
            self._numbers[key] = len(self.known)
            self.known.append(pointing)
            self.groups.append(self._fields.setdefault(of_field, len(self._fields)))
        return self._numbers[key]


def rounded(direction: Direction) -> Direction:
    """Return the direction that stands for all that are taken for the same."""
    return round(direction[0], SAME_POINTING), round(direction[1], SAME_POINTING)


def antenna_beams(vis: str) -> list[VoltagePattern]:
    """Of the antennas. One without a model is taken for a uniformly lit dish, which CASA's major cycles make good."""
    telescope, diameters = _antennas(vis)

    def beam(diameter: float) -> VoltagePattern:
        try:
            return antenna_beam(telescope, diameter)
        except ValueError:
            return AiryBeam(diameter)

    return [beam(each) for each in diameters]


def check_beams(vis: str) -> None:
    """Check that the beam of every antenna is known.

    Raises:
        ValueError: for the first that is not.
    """
    telescope, diameters = _antennas(vis)
    for diameter in dict.fromkeys(diameters):
        antenna_beam(telescope, diameter)


def largest_diameter(vis: str) -> float:
    """Return the diameter of the largest antenna, metres."""
    return max(_antennas(vis)[1])


def _antennas(vis: str) -> tuple[str, list[float]]:
    with open_table(f"{vis}/OBSERVATION") as tb:
        telescope = str(tb.getcell("TELESCOPE_NAME", 0))
    with open_table(f"{vis}/ANTENNA") as tb:
        return telescope, tb.getcol("DISH_DIAMETER").tolist()


def direction_cosines(direction: tuple[float, float], centre: tuple[float, float]) -> tuple[float, float]:
    """Return l towards East and m towards North of a direction, both as right ascension and declination, radians."""
    (ra, dec), (ra0, dec0) = direction, centre
    return (
        np.cos(dec) * np.sin(ra - ra0),
        np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0),
    )
