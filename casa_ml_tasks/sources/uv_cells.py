r"""The cells of the uv plane that an array has measured: products $a^T H b$ of images with known transforms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

NEGLIGIBLE = 1e-4  # of the largest weight; what is left out then is a thousandth of all weights, of either sign


@dataclass(frozen=True)
class UvCells:
    r"""Cells of twice the field in the half plane of non-negative u.

    Attributes:
        rows, columns: of the cells in a transfer function, (cell,).
        u, v: spatial frequencies along x and y of columns and rows, radians a pixel, (nx + 1,) and (2 ny,).
        weights: w with $a^T H b = \sum w \Re(\bar A B)$, (cell,); they count the opposites of the cells, too.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, transfer: NDArray[np.floating]) -> UvCells:
        """Return the cells where weights are not negligible.

        Args:
            transfer: of H, (2 ny, nx + 1).
        """
        ny, nx = transfer.shape[0] // 2, transfer.shape[1] - 1
        size = np.abs(transfer)
        rows, columns = np.nonzero(size > NEGLIGIBLE * size.max())
        u = np.pi * np.arange(nx + 1) / nx
        v = 2 * np.pi * np.asarray(np.fft.fftfreq(2 * ny), float)
        return cls(rows, columns, u, v, _weights(transfer, rows, columns))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the field, (ny, nx)."""
        return len(self.v) // 2, len(self.u) - 1

    def weights_of(self, transfer: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the weights of another transfer function, (2 ny, nx + 1), in these cells."""
        return _weights(transfer, self.rows, self.columns)

    def chosen(self, index: NDArray[np.bool_]) -> UvCells:
        """Return some of the cells."""
        return UvCells(self.rows[index], self.columns[index], self.u, self.v, self.weights[index])

    def gaussian(self, x: float, y: float, covariance: NDArray[np.float64]) -> NDArray[np.complex128]:
        """Return the transform of a Gaussian of flux 1, (cell,).

        Args:
            x, y: of the centre, pixels.
            covariance: xx, xy, yy, pixels^2.
        """
        xx, xy, yy = covariance
        along_x = np.exp(-1j * self.u * x)[self.columns]
        along_y = np.exp(-1j * self.v * y)[self.rows]
        u, v = self.u[self.columns], self.v[self.rows]
        return along_x * along_y * np.exp(-(xx * u**2 + 2 * xy * u * v + yy * v**2) / 2)

    def transforms(self, images: NDArray[np.float64], where: tuple[slice, slice]) -> NDArray[np.complex128]:
        """Return the transforms of parts of images, (image, cell).

        Args:
            images: (image, y, x).
            where: their rows and columns in the field.
        """
        rows, row_of_cell = self._used_rows
        u, v = self.u[: self.columns.max() + 1], self.v[rows]
        along_x = np.exp(-1j * np.arange(where[1].start, where[1].stop)[:, None] * u)
        along_y = np.exp(-1j * v[:, None] * np.arange(where[0].start, where[0].stop))
        return (along_y @ (images @ along_x))[:, row_of_cell, self.columns]

    @cached_property
    def _used_rows(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The rows of all cells, each once, and which of these a cell is in."""
        return np.unique(self.rows, return_inverse=True)

    def monomials(self) -> NDArray[np.float64]:
        r"""Return u, v, $-u^2/2$, $-uv$, $-v^2/2$ and 1 of each cell, (6, cell).

        Times -i, -i, 1, 1, 1, 1, the transform and the flux (but for the last) they are the derivatives of a
        Gaussian's transform to x, y, the covariance's xx, xy and yy, and the flux.
        """
        u, v = self.u[self.columns], self.v[self.rows]
        return np.stack([u, v, -(u**2) / 2, -u * v, -(v**2) / 2, np.ones(len(u))])


def _weights(transfer: NDArray[np.floating], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.float64]:
    ny, nx = transfer.shape[0] // 2, transfer.shape[1] - 1
    twice = np.where((columns == 0) | (columns == nx), 1.0, 2.0)
    return transfer[rows, columns] * twice / (4 * ny * nx)
