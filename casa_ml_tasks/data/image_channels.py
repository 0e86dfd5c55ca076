"""The channels of an image cube, and which of them holds a channel of the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Of a channel of the data: edges that lie so near to each other are the same.
SLACK = 0.03
#: Of a channel of the image: frequencies so near to an edge lie on it but for rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class ImageChannels:
    """Neighbouring channels, in the order of the image.

    Attributes:
        edges: (channel + 1,), Hz, rising or falling.
    """

    edges: tuple[float, ...]

    def of(self, frequency: NDArray[np.float64]) -> NDArray[np.int64]:
        """The channel of each frequency (n,), Hz, and -1 where none has it; on an edge the later one, as in CASA."""
        edges, rising = self._rising()
        width = abs(self.edges[-1] - self.edges[0]) / self.count
        found = np.searchsorted(edges, rising * frequency + ROUNDING * width, side="right") - 1
        return np.where(found < self.count, found, -1)

    def hold(self, frequency: NDArray[np.float64], width: NDArray[np.float64]) -> bool:
        """Whether every channel of the data that the image sees lies in one of the image, filled by whole ones.

        Nothing is left to interpolate then. A channel of the data is seen where more than `SLACK` of it is.

        Args:
            frequency: (n,), centres of channels of the data, Hz.
            width: (n,), Hz, positive.
        """
        edges, rising = self._rising()
        centre = rising * frequency
        seen = (centre + (0.5 - SLACK) * width > edges[0]) & (centre - (0.5 - SLACK) * width < edges[-1])
        channel = np.clip(np.searchsorted(edges, centre, side="right") - 1, 0, self.count - 1)
        beside = np.array([centre - edges[channel], edges[channel + 1] - centre]) / width - 0.5  # channels of the data
        whole = (beside > -SLACK) & (np.abs(beside - np.rint(beside)) < SLACK)
        return bool(whole[:, seen].all())

    def part(self, channels: slice) -> ImageChannels:
        """Return some neighbouring channels, numbered from 0."""
        return ImageChannels(self.edges[channels.start : channels.stop + 1])

    @property
    def count(self) -> int:
        """How many."""
        return len(self.edges) - 1

    def _rising(self) -> tuple[NDArray[np.float64], int]:
        """The edges, negative where they fall, and the sign."""
        sign = 1 if self.edges[-1] > self.edges[0] else -1
        return sign * np.array(self.edges), sign


@dataclass(frozen=True)
class ChannelsOfWidth:
    """Channels of one width without end: they tell frequencies apart where no image says which it has.

    Attributes:
        width: Hz, positive.
    """

    width: float

    def of(self, frequency: NDArray[np.float64]) -> NDArray[np.int64]:
        """The channel of each frequency (n,), Hz, numbered from frequency zero."""
        return np.floor(frequency / self.width).astype(np.int64)
