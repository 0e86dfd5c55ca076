"""The boxes of an image that pointings see, and their primary beams."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from casa_ml_tasks.data.measurement_set import Rows
from casa_ml_tasks.kernels.pointing_view import Box
from casa_ml_tasks.kernels.primary_beams import VoltagePattern
from casa_ml_tasks.major.pointings import Pointing, Pointings, direction_cosines
from casa_ml_tasks.major.transform import Transform

FAINTEST = 0.003  # of a primary beam: a pointing sees nothing where it is fainter
MOST_PIXELS = 200_000  # halves of pixels: of the radius of a beam


@dataclass(frozen=True)
class BeamsInBox(Sequence[NDArray[np.float32]]):
    r"""The power beams $\sqrt{P_1 P_2}$ of two antennas in a box, (height, width), one for each channel.

    They are made whenever they are asked for: those of a cube of many pointings would fill the memory.

    Attributes:
        pointing: direction and antennas.
        centre: right ascension and declination of the image, radians.
        image: the transform of the image.
        corner: pixel y, x that the box begins with.
        shape: (height, width) of the box.
        frequencies: of the channels, Hz.
    """

    pointing: Pointing
    centre: tuple[float, float]
    image: Transform
    corner: tuple[int, int]
    shape: tuple[int, int]
    frequencies: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.frequencies)

    def __getitem__(self, channel):  # type: ignore[no-untyped-def, override]
        """Return the beam of a channel, (height, width)."""
        (ny, nx), cell = self.image.shape, self.image.cell
        y, x = (np.arange(size) + first for size, first in zip(self.shape, self.corner, strict=True))
        powers = []
        for direction, beam in set(zip(*self.pointing, strict=True)):
            east, north = direction_cosines(direction, self.centre)
            angle = np.hypot((nx // 2 - x) * cell - east, ((y - ny // 2) * cell - north)[:, None])
            powers.append(beam.power(angle, self.frequencies[channel]))
        return np.sqrt(powers[0] * powers[-1]).astype(np.float32)


@dataclass(frozen=True)
class SeenPointings:
    """The pointings that see something of an image.

    Attributes:
        views: what each sees of the image.
        numbers: of the views by the number in `pointings`, -1 where a pointing sees nothing of the image.
        pointings: numbers the pointings of other rows of the same Measurement Sets.
    """

    views: tuple[Box, ...]
    numbers: NDArray[np.int64]
    pointings: Pointings

    @classmethod
    def of(cls, boxes: Sequence[Box | None], seen: Sequence[int] | NDArray[np.integer], pointings: Pointings) -> Self:
        """Return those of some pointings. boxes: of all pointings; seen: numbers of those that are wanted."""
        numbers = np.full(len(boxes), -1)
        numbers[seen] = np.arange(len(seen))
        return cls(tuple(box for number in seen if (box := boxes[number]) is not None), numbers, pointings)

    @property
    def known(self) -> NDArray[np.integer]:
        """The number in `pointings` of each view, (view,)."""
        return np.flatnonzero(self.numbers >= 0)

    def numbers_of(self, rows: Rows, vis: str) -> NDArray[np.int64]:
        """Return the number of the view of each row, (row,); -1 where it sees nothing of the image."""
        pointing = self.pointings.of(rows, vis).astype(int)
        return np.where(pointing < self.numbers.size, self.numbers[np.minimum(pointing, self.numbers.size - 1)], -1)


def boxes_of(
    pointings: Sequence[Pointing],
    centre: tuple[float, float],
    frequencies: NDArray[np.floating],
    image: Transform,
    field: NDArray[np.bool_],
    wanted: Collection[int] | None = None,
) -> list[Box | None]:
    """Return what each pointing sees of an image, in boxes of one shape; None where it sees nothing.

    Args:
        pointings: directions and antennas.
        centre: right ascension and declination of the image, radians.
        frequencies: of the channels, Hz.
        image: its transform.
        field: where there is an image, (ny, nx).
        wanted: numbers of the pointings whose boxes are made; None for all. The shape is the same for any.

    Raises:
        ValueError: no pointing sees the image.
    """
    lowest = float(np.min(frequencies))
    radii: dict[tuple[VoltagePattern, VoltagePattern], float] = {}
    seen: dict[int, tuple[tuple[int, int], tuple[int, int]]] = {}
    for number, pointing in enumerate(pointings):
        if pointing.beams not in radii:
            radii[pointing.beams] = radius_of(pointing, lowest, image.cell)
        if (rows_columns := _seen_in(pointing, radii[pointing.beams], centre, image, field)) is not None:
            seen[number] = rows_columns
    if not seen:
        raise ValueError("no pointing sees the image; check phasecenter, imsize and cell")
    (top, height), (left, width) = (
        _intervals(np.array([each[axis] for each in seen.values()]), field.shape[axis]) for axis in (0, 1)
    )
    corners = {number: (int(y), int(x)) for number, y, x in zip(seen, top, left, strict=True)}
    boxes: list[Box | None] = []
    for number, pointing in enumerate(pointings):
        if number not in corners or (wanted is not None and number not in wanted):
            boxes.append(None)
            continue
        place = corners[number], (height, width)
        made = BeamsInBox(pointing, centre, image, *place, tuple(frequencies.tolist()))
        beams = tuple(made) if len(made) == 1 else made
        boxes.append(Box.on_image(image.shape, image.cell, *place, beams))
    return boxes


def radius_of(pointing: Pointing, frequency: float, cell: float) -> float:
    """Return how far from the axis the power beam of two antennas is brighter than FAINTEST, radians.

    Args:
        pointing: has the antennas.
        frequency: Hz.
        cell: of a pixel, radians, whose half is the resolution.
    """
    angle = cell / 2 * np.arange(MOST_PIXELS)
    first, second = (beam.power(angle, frequency) for beam in pointing.beams)
    return float(angle[np.flatnonzero(np.sqrt(first * second) > FAINTEST).max()])


def _seen_in(
    pointing: Pointing,
    radius: float,
    centre: tuple[float, float],
    image: Transform,
    field: NDArray[np.bool_],
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return first and last row, and column, of the field that a pointing sees; None where it sees nothing."""
    cosines = np.array([direction_cosines(direction, centre) for direction in pointing.directions])
    radius += float(np.hypot(*np.subtract(*cosines))) / 2
    (east, north), (ny, nx), cell = cosines.mean(axis=0), image.shape, image.cell
    middle, reach = (ny // 2 + north / cell, nx // 2 - east / cell), radius / cell
    ranges = [
        np.arange(max(0, int(np.ceil(at - reach))), min(size, int(np.floor(at + reach)) + 1))
        for at, size in zip(middle, (ny, nx), strict=True)
    ]
    if not all(each.size for each in ranges):
        return None
    y, x = ranges
    disc = np.hypot((y - middle[0])[:, None], x - middle[1]) <= reach
    inside = disc & field[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    if not inside.any():
        return None
    rows, columns = y[inside.any(axis=1)], x[inside.any(axis=0)]
    return (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))


def _intervals(ends: NDArray[np.integer], length: int) -> tuple[NDArray[np.int64], int]:
    """Return where intervals of one length begin that hold what each pointing sees, and the length.

    Args:
        ends: first and last pixel, (pointing, 2).
        length: of the image.
    """
    first, last = ends.T
    size = min(length, next_fast_len(int((last - first).max()) + 1, real=True))
    return np.minimum(first, length - size), size
