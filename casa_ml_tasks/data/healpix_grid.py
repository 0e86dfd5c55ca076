"""Pixels of HEALPix in rows and columns, so that an array has neighbours on the sky beside each other.

Each of the 12 base pixels is a square of nside x nside pixels, x to the North-East and y to the North-West. A square
goes on in the squares around it: shifted, and beyond a polar one, towards the pole, turned about the pole. Around the
eight points at which three squares meet there is no fourth: two pixels that meet there across the far edge are then
not beside each other in the array.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
BITS = 29  # of the largest order


class Tile(NamedTuple):
    """Where a base pixel lies in the rows and columns of another.

    Attributes:
        face: number of the base pixel, 0 to 11.
        turns: quarter turns of what is in it, -1, 0, 1 or 2.
        at: y and x of its first corner; of a turned one y = x of the pole that it is turned about.
    """

    face: int
    turns: int
    at: tuple[int, int]

    def outward(self, y: Integers, x: Integers) -> tuple[Integers, Integers]:
        """Return y and x in the other base pixel of y and x in this one."""
        dy, dx = self.at
        return (y + dy, x + dx) if self.turns == 0 else _turned(y, x, self.turns, dy)

    def inward(self, y: Integers, x: Integers) -> tuple[Integers, Integers]:
        """Return y and x in this base pixel of y and x in the other."""
        dy, dx = self.at
        return (y - dy, x - dx) if self.turns == 0 else _turned(y, x, -self.turns, dy)


def numbers_at(y: Integers, x: Integers, nside: int, centre: int) -> Integers:
    """Return the numbers of the pixels in rows and columns, in NESTED order; -1 where there is none.

    Args:
        y, x: from the pixel in the centre, of any shape.
        nside, centre: as in `rows_and_columns`.
    """
    of_centre, y_centre, x_centre = (int(each) for each in _in_base_pixel(np.int64(centre), nside))
    y, x = y + y_centre, x + x_centre
    found = np.full(y.shape, -1)
    for tile in _around(of_centre, nside):
        row, column = tile.inward(y, x)
        here = (row >= 0) & (row < nside) & (column >= 0) & (column < nside)
        found[here] = tile.face * nside**2 + _interleaved(row[here], column[here])
    return found


def rows_and_columns(numbers: Integers, nside: int, centre: int) -> tuple[Integers, Integers]:
    """Return y and x of pixels, from those of a pixel in the centre, (pixel,) each.

    Args:
        numbers: of the pixels, in NESTED order, (pixel,).
        nside: pixels along the edge of a base pixel.
        centre: number of the pixel with y = x = 0.

    Raises:
        ValueError: a pixel is in none of the base pixels around that of the centre.
    """
    of_centre, y_centre, x_centre = (int(each) for each in _in_base_pixel(np.int64(centre), nside))
    face, own_y, own_x = _in_base_pixel(numbers, nside)
    y, x, found = np.zeros_like(own_y), np.zeros_like(own_x), np.zeros(numbers.shape, bool)
    for tile in _around(of_centre, nside):
        here = face == tile.face
        y[here], x[here] = tile.outward(own_y[here], own_x[here])
        found |= here
    if not found.all():
        raise ValueError("pixels lie beyond the base pixels around the centre")
    return y - y_centre, x - x_centre


def _in_base_pixel(numbers: Integers | np.int64, nside: int) -> tuple[Integers, Integers, Integers]:
    """Return the base pixel and y and x in it, of NESTED numbers: their bits are those of y and x in turn."""
    face, within = np.divmod(numbers, nside**2)
    y, x = (sum((within >> (2 * bit + first) & 1) << bit for bit in range(BITS)) for first in (1, 0))
    return face, np.asarray(y), np.asarray(x)


def _interleaved(y: Integers, x: Integers) -> Integers:
    """Return numbers within a base pixel, whose bits are those of y and x in turn."""
    bits = [(each >> bit & 1) << (2 * bit + first) for first, each in ((1, y), (0, x)) for bit in range(BITS)]
    return np.sum(bits, axis=0, dtype=np.int64)


def _around(face: int, nside: int) -> list[Tile]:
    """Return a base pixel and those around it.

    In units of half their diagonals, base pixels are at (2 c + 1, 1), (2 c, 0) and (2 c + 1, -1) East and North, c
    from 0 to 3 (Calabretta & Roukema 2007, MNRAS 381, 865): what a step leads to, but for steps towards a pole.
    """
    row, column = divmod(face, 4)
    tiles = []
    for dy, dx in product((-1, 0, 1), repeat=2):
        poleward = dy + dx if min(dy, dx) >= 0 and row == 0 else -dy - dx if max(dy, dx) <= 0 and row == 2 else 0
        north, east = 1 - row + dx + dy, 2 * column + (row != 1) + dx - dy
        if poleward:
            eastward = 2 if poleward == 2 else 1 if dx > dy else -1
            pole = nside if row == 0 else 0
            turns = eastward if row == 0 else -eastward
            tiles.append(Tile(4 * row + (column + eastward) % 4, turns, (pole, pole)))
        elif abs(north) <= 1 and (row == 1 or dx != -dy or dx == 0):
            tiles.append(Tile(4 * (1 - north) + (east - abs(north)) // 2 % 4, 0, (dy * nside, dx * nside)))
    return tiles


def _turned(y: Integers, x: Integers, turns: int, pole: int) -> tuple[Integers, Integers]:
    """Return where pixels are after quarter turns about a pole, at the corner y = x = pole of its base pixel."""
    if turns == 1:
        return x, 2 * pole - 1 - y
    if turns == -1:
        return 2 * pole - 1 - x, y
    return 2 * pole - 1 - y, 2 * pole - 1 - x
