r"""The cells of the uv plane that an array has measured, for scalar products $a^T H b$ of images with known transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft2

NEGLIGIBLE = 1e-4  # of the largest weight


@dataclass(frozen=True)
class UvCells:
    """Cells of twice the field in the half plane of non-negative u.

    Attributes:
        rows, columns: of the cells in a transfer function, (cell,).
        u, v: spatial frequencies along x and y, cycles a pixel, (cell,).
        factor: of each in a sum over the plane of products of transforms, (cell,): it holds the cells' opposites, too.
        shape: (ny, nx) of the field.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    factor: NDArray[np.float64]
    shape: tuple[int, int]

    @classmethod
    def of(cls, largest: NDArray[np.floating]) -> UvCells:
        """Return the cells where weights are not negligible.

        Args:
            largest: moduli of the transfer function, of many the largest of each cell, (2 ny, nx + 1).
        """
        ny, nx = largest.shape[0] // 2, largest.shape[1] - 1
        rows, columns = np.nonzero(largest > NEGLIGIBLE * largest.max())
        factor = np.where((columns == 0) | (columns == nx), 1.0, 2.0) / (4 * ny * nx)
        v = np.where(rows < ny, rows, rows - 2 * ny) / (2 * ny)
        return cls(rows, columns, columns / (2 * nx), v, factor, (ny, nx))

    def weights(self, transfer: NDArray[np.floating]) -> NDArray[np.float64]:
        r"""Return the weights w of the cells with $a^T H b = \sum w \Re(\bar A B)$, (..., cell).

        Args:
            transfer: of H or of a noise, (..., 2 ny, nx + 1).
        """
        return transfer[..., self.rows, self.columns] * self.factor

    def transforms(self, images: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the transforms of images of the field, (..., ny, nx) to (..., cell)."""
        ny, nx = self.shape
        return rfft2(images, s=(2 * ny, 2 * nx))[..., self.rows, self.columns]
