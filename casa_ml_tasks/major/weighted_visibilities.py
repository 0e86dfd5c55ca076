"""Visibilities with their weights, and sums of these. Nothing here knows CASA or holds a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.major.transform import Transform

Array = NDArray[np.floating]


@dataclass(frozen=True)
class WeightedVisibilities:
    """Some visibilities of one image channel with their weights.

    Attributes:
        channel: of the image.
        uvw: (n, 3), wavelengths.
        visibility: (n,), Jy.
        weight: (n,), imaging weights.
        natural: (n,), the natural weights that the imaging weights were made from, Jy^-2.
        nominal: (n,), weights that claim the noise of each, errors of calibration included, Jy^-2.
        thermal: (n,), weights that claim the thermal noise alone, Jy^-2.
        pointing: number of the view that they have of the image.
    """

    channel: int
    uvw: NDArray[np.float64]
    visibility: NDArray[np.complexfloating]
    weight: Array
    natural: Array
    nominal: Array
    thermal: Array
    pointing: int = 0


@dataclass
class WeightSums:
    """Sums over the imaging weights g of visibilities; those of several parts add.

    Attributes:
        weights: of g, (channel, pointing).
        squares_of_pointings: of g^2 / w with the natural weights w, (channel, pointing).
        psf: of g times the response on twice the field of a view, (channel, pointing, 2 height, 2 width).
        fold_psf: the same of each fold and of the core, (fold + 1, 2 ny, 2 nx); empty without folds.
    """

    weights: NDArray[np.float64]
    squares_of_pointings: NDArray[np.float64]
    psf: Image
    fold_psf: Image

    @classmethod
    def none(cls, channels: int, shape: tuple[int, int], fold_count: int, pointings: int = 1) -> WeightSums:
        """Return the sums over no visibility. shape: (height, width) of each view."""
        doubled = (2 * shape[0], 2 * shape[1])
        fold_psf = np.zeros((fold_count + 1, *doubled) if fold_count else 0, np.float32)
        psf = np.zeros((channels, pointings, *doubled), np.float32)
        weights, squares = np.zeros((2, channels, pointings))
        return cls(weights, squares, psf, fold_psf)

    @property
    def weight(self) -> NDArray[np.float64]:
        """Of g, (channel,)."""
        return self.weights.sum(axis=1)

    @property
    def squares(self) -> NDArray[np.float64]:
        """Of g^2 / w, (channel,)."""
        return self.squares_of_pointings.sum(axis=1)

    def __add__(self, other: WeightSums) -> WeightSums:
        return WeightSums(
            self.weights + other.weights,
            self.squares_of_pointings + other.squares_of_pointings,
            self.psf + other.psf,
            self.fold_psf + other.fold_psf,
        )

    @classmethod
    def of_channels(cls, parts: Sequence[WeightSums]) -> WeightSums:
        """Return the sums of images whose channels come one part after the other. They have no folds."""
        weights, squares, psf = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("weights", "squares_of_pointings", "psf")
        )
        return cls(weights, squares, psf, parts[0].fold_psf)

    @classmethod
    def of_pointings(
        cls, parts: Sequence[WeightSums], pointings: Sequence[NDArray[np.integer]], count: int
    ) -> WeightSums:
        """Return the sums of parts that have pointings of their own.

        Args:
            parts: the sums.
            pointings: numbers of those of each part, which may be those of another part as well.
            count: of all pointings.
        """
        channels, _, *doubled = parts[0].psf.shape
        height, width = (size // 2 for size in doubled)
        total = cls.none(channels, (height, width), 0, count)
        for part, own in zip(parts, pointings, strict=True):
            total.weights[:, own] += part.weights
            total.squares_of_pointings[:, own] += part.squares_of_pointings
            total.psf[:, own] += part.psf
        return total

    def add(self, part: WeightedVisibilities, transform: Transform, fold: NDArray[np.uint8] | None) -> None:
        """Add some visibilities in place, and those of each fold. transform: of their view."""
        place = part.channel, part.pointing
        self.weights[place] += part.weight.sum(dtype=float)
        self.squares_of_pointings[place] += sum_of_squares(part.weight, part.natural)
        self.psf[place] += transform.psf(part.uvw, part.weight)
        if fold is not None:
            for number in np.unique(fold):
                members = fold == number
                self.fold_psf[number] += transform.psf(part.uvw[members], part.weight[members])


def sum_of_squares(weight: NDArray[np.floating], natural: NDArray[np.floating]) -> float:
    """Return the sum of g^2 / w over visibilities of natural weight w above 0. weight: g, natural: w, (visibility,)."""
    trusted = natural > 0
    squares = np.divide(weight.astype(float) ** 2, natural, where=trusted, out=np.zeros(trusted.size))
    return float(squares.sum())
