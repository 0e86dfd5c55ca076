"""What the figures of sources need, as arrays and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from casa_ml_tasks.report.imaging_content import ImagingContent

Array = NDArray[np.floating]
FWHM = np.sqrt(8 * np.log(2))  # standard deviations
BOX = 2.0  # standard deviations of a source, half the side of its box
NEAR = 0.5  # beams, between a source and the true one that it is


@dataclass(frozen=True)
class SourceContent:
    """The sources of a dirty image or cube.

    Attributes:
        dirty, residual: of all channels together, (ny, nx), Jy/beam.
        noise: of this image, Jy/beam.
        probability: that the centre of a source is there, (ny, nx).
        cell: size of a pixel, arcsec.
        beam: major and minor axis, arcsec, and position angle, degrees.
        sources, lines, channels: the catalogue's tables.
        field_flags: what makes the field doubtful.
        truth: true sources with their pixels x and y; None where they are not known.
    """

    dirty: Array
    residual: Array
    noise: float
    probability: Array
    cell: float
    beam: tuple[float, float, float]
    sources: Table
    lines: Table
    channels: Table
    field_flags: Sequence[str]
    truth: Table | None = None

    @property
    def image(self) -> ImagingContent:
        """The same for figures of the sky."""
        empty = np.zeros_like(self.dirty)
        return ImagingContent(
            self.dirty, empty, self.dirty, self.residual, self.cell, self.beam, None, self.noise, cycles=()
        )

    @cached_property
    def matches(self) -> Matches | None:
        """The sources and the true ones, one to one; None without a truth."""
        if self.truth is None:
            return None
        near = NEAR * np.sqrt(self.beam[0] * self.beam[1]) / self.cell
        return matched(self.sources, self.truth, float(near))


@dataclass(frozen=True)
class Matches:
    """Pairs of a source and a true one.

    Attributes:
        found, true: numbers of the rows of each pair.
        missed: rows of true sources without a partner.
        unknown: rows of sources without a partner.
    """

    found: NDArray[np.intp]
    true: NDArray[np.intp]
    missed: NDArray[np.intp]
    unknown: NDArray[np.intp]


def matched(sources: Table, truth: Table, near: float) -> Matches:
    """Return the pairs that make the most matches, and then the nearest: one to one.

    Args:
        sources, truth: with pixels x and y.
        near: largest distance within a pair, pixels.
    """
    x, y = (np.asarray(sources[axis], float)[:, None] - np.asarray(truth[axis], float) for axis in "xy")
    distance = np.hypot(x, y)
    found, true = linear_sum_assignment(np.where(distance <= near, distance, 1e3 * max(near, 1.0)))
    pairs = distance[found, true] <= near
    found, true = found[pairs], true[pairs]
    return Matches(
        found,
        true,
        np.setdiff1d(np.arange(len(truth)), true),
        np.setdiff1d(np.arange(len(sources)), found),
    )


def half_boxes(table: Table) -> tuple[Array, Array]:
    """Return half the width and half the height of the boxes around the 2-sigma ellipses, (source,), arcsec."""
    major, minor = (BOX / FWHM * np.asarray(table[name], float) for name in ("major", "minor"))
    angle = np.radians(np.asarray(table["pa"], float))
    east = np.hypot(major * np.sin(angle), minor * np.cos(angle))
    north = np.hypot(major * np.cos(angle), minor * np.sin(angle))
    return east, north
