"""The boxes of an image that pointings see, and their primary beams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from casa_ml_tasks.kernels.pointing_view import Box
from casa_ml_tasks.major.pointings import Pointing, direction_cosines
from casa_ml_tasks.major.transform import Transform

FAINTEST = 0.003  # of a primary beam: a pointing sees nothing where it is fainter


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


def boxes_of(
    pointings: Sequence[Pointing],
    centre: tuple[float, float],
    frequencies: NDArray[np.floating],
    image: Transform,
    field: NDArray[np.bool_],
) -> list[Box | None]:
    """Return what each pointing sees of an image, in boxes of one shape; None where it sees nothing.

    Args:
        pointings: directions and antennas.
        centre: right ascension and declination of the image, radians.
        frequencies: of the channels, Hz.
        image: its transform.
        field: where there is an image, (ny, nx).

    Raises:
        ValueError: no pointing sees the image.
    """
    lowest = (float(np.min(frequencies)),)
    seen = {}
    for number, pointing in enumerate(pointings):
        beam = BeamsInBox(pointing, centre, image, (0, 0), image.shape, lowest)[0] > FAINTEST
        beam &= field
        if beam.any():
            seen[number] = beam.any(axis=1), beam.any(axis=0)
    if not seen:
        raise ValueError("no pointing sees the image; check phasecenter, imsize and cell")
    rows, columns = zip(*seen.values(), strict=True)
    (top, height), (left, width) = intervals(np.stack(rows)), intervals(np.stack(columns))
    corners = {number: (int(y), int(x)) for number, y, x in zip(seen, top, left, strict=True)}
    boxes: list[Box | None] = []
    for number, pointing in enumerate(pointings):
        if number not in corners:
            boxes.append(None)
            continue
        place = corners[number], (height, width)
        made = BeamsInBox(pointing, centre, image, *place, tuple(frequencies.tolist()))
        beams = tuple(made) if len(made) == 1 else made
        boxes.append(Box.on_image(image.shape, image.cell, *place, beams))
    return boxes


def intervals(seen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Return where intervals of one length begin that hold what each pointing sees, and the length.

    Args:
        seen: (pointing, n).
    """
    length = seen.shape[1]
    first, last = seen.argmax(axis=1), length - seen[:, ::-1].argmax(axis=1)
    size = min(length, next_fast_len(int((last - first).max()), real=True))
    return np.minimum(first, length - size), size
