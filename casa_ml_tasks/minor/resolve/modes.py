"""The Fourier modes of an image, by their spatial frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Bins of the power spectrum to a factor of two in frequency; between bins the logarithm of the amplitude is linear.
BINS_PER_OCTAVE = 6
RINGS_PER_BIN = 4  # in which all modes have one amplitude


def frequencies(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the spatial frequency of each mode, (ny, nx), cycles per pixel. shape: (ny, nx)."""
    return np.hypot(*np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij"))


@dataclass(frozen=True)
class Modes:
    """The Fourier modes of an image, by their spatial frequency.

    Attributes:
        frequency: of the bins of the power spectrum, (bins,), cycles per pixel; the first, zero, is the mean.
        bin: the bin below each mode, (ny, nx).
        fraction: how far each mode is from that bin to the next, in the logarithm of the frequency, (ny, nx).
        ring: number of the ring of each mode, (ny, nx); 0 for the mean.
        count: modes in each ring, (rings,).
    """

    frequency: NDArray[np.float64]
    bin: NDArray[np.int64]
    fraction: NDArray[np.float64]
    ring: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Modes:
        """Return the modes of an image. shape: (ny, nx)."""
        frequency = frequencies(shape)
        lowest, highest = frequency[frequency > 0].min(), frequency.max()
        intervals = max(2, round(BINS_PER_OCTAVE * np.log2(highest / lowest)))
        position = np.log(np.maximum(frequency, lowest) / lowest) / np.log(highest / lowest) * intervals
        below = np.minimum(position.astype(int), intervals - 1)
        ring = np.where(frequency > 0, 1 + np.rint(RINGS_PER_BIN * position).astype(int), 0)
        bins = np.concatenate([[0.0], np.geomspace(lowest, highest, intervals + 1)])
        return cls(bins, below + 1, position - below, ring, np.bincount(ring.ravel()))

    def multiplicity(self) -> NDArray[np.float64]:
        """Return how many modes each bin stands for, (bins,)."""
        others = self.ring > 0
        counts = np.bincount(self.bin[others], 1 - self.fraction[others], self.frequency.size).astype(float)
        counts += np.bincount(self.bin[others] + 1, self.fraction[others], self.frequency.size)
        counts[0] = 1
        return counts

    def frequency_of_rings(self) -> NDArray[np.float64]:
        """Return the frequency of each ring, that of the mean, zero, first, (rings,), cycles per pixel."""
        rings = np.geomspace(self.frequency[1], self.frequency[-1], self.count.size - 1)
        return np.concatenate([[0.0], rings])
