r"""What a pointing sees of an image: a box of its pixels, times the primary beam, about a phase centre of its own.

A direction of the box has the direction cosines $(l_0 + l', m_0 + m')$ with those of its middle pixel. In the phase
$u l + v m + w(n - 1)$ the middle has a constant part, and of the rest n is nearly linear across the box,
$n - n_0 \approx -(l_0 l' + m_0 m')/n_0$: it turns the baselines to $u - w l_0/n_0$ and $v - w m_0/n_0$. What is left
of the w-term is small, as small as about an image of the box alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Offset = tuple[float, float]


class View(Protocol):
    """A linear map from an image to what a pointing sees, with its adjoint."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of what it sees, pixels."""
        ...

    @property
    def offset(self) -> Offset:
        """Direction cosines l, m of its middle pixel from the image's."""
        ...

    def apply(self, image: Array, channel: int) -> Array:
        """Return what the pointing sees, (height, width), of an image, (ny, nx)."""
        ...

    def add_adjoint(self, seen: Array, total: Array, channel: int) -> None:
        """Add the adjoint of `apply` of (height, width) to an image, (ny, nx), in place."""
        ...


@dataclass(frozen=True)
class WholeImage:
    """The view of a single pointing, whose primary beam stays in the image."""

    shape: tuple[int, int]

    @property
    def offset(self) -> Offset:
        """No offset."""
        return 0.0, 0.0

    def apply(self, image: Array, channel: int) -> Array:
        """Return the image."""
        return image

    def add_adjoint(self, seen: Array, total: Array, channel: int) -> None:
        """Add one image to another in place."""
        total += seen


@dataclass(frozen=True)
class Box:
    """A box of the pixels of an image, times a power beam: it costs what the box does, however large the image.

    Attributes:
        corner: pixel y, x that it begins with.
        shape: (height, width), pixels.
        offset: direction cosines l, m of its middle pixel from the image's.
        beams: the power beam in the box in each channel, (height, width).
    """

    corner: tuple[int, int]
    shape: tuple[int, int]
    offset: Offset
    beams: Sequence[Array]

    @classmethod
    def on_image(
        cls,
        image_shape: tuple[int, int],
        cell: float,
        corner: Sequence[int],
        shape: Sequence[int],
        beams: Sequence[Array],
    ) -> Self:
        """Return a box of an image.

        Args:
            image_shape: (ny, nx) of the image, which has its tangent point in pixel (ny // 2, nx // 2).
            cell: of a pixel, radians.
            corner: pixel y, x that the box begins with.
            shape: (height, width) of the box.
            beams: the power beam in each channel, (height, width).

        Raises:
            ValueError: the box reaches beyond the image.
        """
        (y, x), (height, width), (ny, nx) = corner, shape, image_shape
        if min(y, x) < 0 or y + height > ny or x + width > nx:
            raise ValueError(f"a box of {height} x {width} pixels at {y}, {x} reaches beyond an image of {ny} x {nx}")
        offset = (nx // 2 - x - width // 2) * cell, (y + height // 2 - ny // 2) * cell
        return cls((int(y), int(x)), (int(height), int(width)), offset, beams)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns of the image."""
        (y, x), (height, width) = self.corner, self.shape
        return slice(y, y + height), slice(x, x + width)

    @property
    def half_power(self) -> float:
        """Radius at which the beam in the first channel is at half of its peak, pixels."""
        beam = self.beams[0]
        return float(np.sqrt(np.count_nonzero(beam > 0.5 * beam.max()) / np.pi))

    def apply(self, image: Array, channel: int) -> Array:
        """Return the box of an image, (ny, nx), times the beam, (height, width)."""
        return image[self.slices] * self.beams[channel]

    def add_adjoint(self, seen: Array, total: Array, channel: int) -> None:
        """Add (height, width), times the beam, to the box of an image, (ny, nx), in place."""
        total[self.slices] += seen * self.beams[channel]


def turned_baselines(uvw: NDArray[np.float64], offset: Offset) -> NDArray[np.float64]:
    """Return baselines (n, 3), wavelengths, that have the part of the w-term that is linear about an offset."""
    l, m = offset  # noqa: E741
    n = np.sqrt(1 - l**2 - m**2)
    u, v, w = np.asarray(uvw).T
    return np.stack([u - w * (l / n), v - w * (m / n), w], axis=1)


def phase_of(uvw: NDArray[np.float64], offset: Offset, w_term: bool) -> NDArray[np.complex128]:
    r"""Return $e^{2\pi i(u l + v m + w(n - 1))}$ of an offset, (n,). uvw: (n, 3), wavelengths; w_term: else w is 0."""
    l, m = offset  # noqa: E741
    squared = l**2 + m**2
    n_minus_one = -squared / (1 + np.sqrt(1 - squared)) if w_term else 0.0
    return np.exp(2j * np.pi * (np.asarray(uvw) @ np.array([l, m, n_minus_one])))
