"""The images of several fields side by side in one array, so that the solver sees one model and one residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]


@dataclass(frozen=True)
class FieldLayout:
    """Where the pixels of each field are. One field alone keeps its rows and columns.

    Attributes:
        shapes: (ny, nx) of each field, the main field first.
    """

    shapes: tuple[tuple[int, int], ...]

    def pack(self, images: Sequence[Image]) -> Image:
        """Put images side by side.

        Args:
            images: (channel or term, stokes, ny, nx) of each field.

        Returns:
            (channel or term, stokes, 1, pixels of all fields), or the only image as it is.
        """
        if len(images) == 1:
            return images[0]
        return np.concatenate([image.reshape(*image.shape[:2], 1, -1) for image in images], axis=-1)

    def unpack(self, packed: Image) -> list[Image]:
        """Return the images that `pack` was given."""
        if len(self.shapes) == 1:
            return [packed]
        ends = np.cumsum([ny * nx for ny, nx in self.shapes])[:-1]
        parts = np.split(packed, ends, axis=-1)
        return [part.reshape(*part.shape[:2], *shape) for part, shape in zip(parts, self.shapes, strict=True)]
