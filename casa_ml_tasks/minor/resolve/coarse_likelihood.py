"""A few nodes stand for the sky, so that a computer can invert the matrices of what the data say of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

MOST_NODES = 1500  # whose dense matrices take a second, and a product with one as long as the FFTs beside it
FAINTEST = 0.001  # noise sigma in a cell: fainter emission is held by the prior
#: Of the noise: by how much the flux of a cell may be misplaced. A cell of flux S and size b misplaces S (b / FWHM)^2.
MISPLACED = 6.0
COARSER = 1.3  # that limit is raised by such factors until there are few enough nodes
#: Of the beam's FWHM: the largest cell, in pixels a power of two. Empty sky is stiff as a whole, not in each beam, and
#: cells of 3 would leave no nodes for the brightest sources of an image of more than a hundred beams.
LARGEST_CELL = 10.0


class Nodes(NamedTuple):
    """Pixels that stand for the cells around them, in which planes of the sky have flux.

    Attributes:
        plane, y, x: pixels, (node,).
        flux: Jy, (node,).
    """

    plane: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    flux: NDArray[np.floating]

    def at(self, which: NDArray[np.int64]) -> Nodes:
        """Return some of the nodes; which: their numbers."""
        return Nodes(self.plane[which], self.y[which], self.x[which], self.flux[which])

    def distances(self, y: int, x: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the distances of all pairs of nodes plus y and x, (node, node) both, pixels."""
        return np.subtract.outer(self.y, self.y) + y, np.subtract.outer(self.x, self.x) + x


def coarse_nodes(
    planes: NDArray[np.floating],
    sigma: NDArray[np.floating],
    beam_area: float | NDArray[np.floating],
    most: int = MOST_NODES,
) -> Nodes:
    """Return nodes in the centroids of square cells, which are smaller where the images are brighter.

    Of several data sets each asks for cells as small as its own noise and beam need.

    Args:
        planes: (plane, ny, nx), Jy/pixel, not negative.
        sigma: noise of a point source in each plane, (plane,), Jy; or of every data set and pixel,
            (set, plane, ny, nx), infinite where it sees nothing.
        beam_area: solid angle of the CLEAN beam, pixels, or that of every data set, (set,).
        most: nodes; the cells are larger where there would be more.
    """
    noise = sigma[None, :, None, None] if sigma.ndim == 1 else sigma
    in_noise, misplaced = planes / noise, MISPLACED
    widths = np.array([width_of(each) for each in np.ravel(beam_area)])
    nodes, significance = _nodes(planes, in_noise, widths, misplaced)
    while nodes.flux.size > most and misplaced < in_noise.sum():
        misplaced *= COARSER
        nodes, significance = _nodes(planes, in_noise, widths, misplaced)
    return nodes.at(np.argsort(-significance, kind="stable")[:most])


def agreement(skies: NDArray[np.floating], beam_area: float) -> NDArray[np.float64]:
    r"""Return what part of their mean brightness skies agree on, (plane, ny, nx): $1 / (1 + s^2 / B^2)$.

    With the mean B and the variance s^2 of what a beam resolves, B times that is the harmonic mean where the logarithm
    is normal. Where a sky is darker than others, it hardly moves with the curvature of the mean, which is the square of
    the brightness times as stiff; where it is brighter, its steps are the shorter the less that curvature is.

    Args:
        skies: (sky, plane, ny, nx), Jy/pixel, above zero.
        beam_area: solid angle of the CLEAN beam, pixels.
    """
    deviation = width_of(beam_area) / np.sqrt(8 * np.log(2))
    smooth = gaussian_filter(skies.astype(float), (0, 0, deviation, deviation), mode="wrap")
    return 1 / (1 + smooth.var(axis=0, ddof=1) / smooth.mean(axis=0) ** 2)


def _nodes(
    planes: NDArray[np.floating], in_noise: NDArray[np.floating], widths: NDArray[np.floating], misplaced: float
) -> tuple[Nodes, NDArray[np.floating]]:
    """Return the nodes of all planes, (plane, ny, nx), and their fluxes over the noise, (node,).

    in_noise: planes over the noise of each data set, (set, plane, ny, nx).
    """
    found = [_nodes_of(number, image, in_noise[:, number], widths, misplaced) for number, image in enumerate(planes)]
    plane, y, x, flux, significance = (np.concatenate(each) for each in zip(*found, strict=True))
    return Nodes(plane, y, x, flux), significance


def _nodes_of(
    plane: int,
    image: NDArray[np.floating],
    in_noise: NDArray[np.floating],
    widths: NDArray[np.floating],
    misplaced: float,
) -> tuple[NDArray[Any], ...]:
    """Return the nodes of one plane, (ny, nx), and their fluxes over the noise, as arrays (node,).

    Args:
        plane: its number.
        image: (ny, nx), Jy/pixel.
        in_noise: the image over the noise of each data set, (set, ny, nx).
        widths: FWHM of each beam, (set,), pixels.
        misplaced: the most flux of a cell that may be misplaced, over the noise.
    """
    cell = 1 << max(0, int(np.log2(LARGEST_CELL * widths.max())))
    padding = [(0, -n % cell) for n in image.shape]
    padded, seen = np.pad(image.astype(float), padding), np.pad(in_noise.astype(float), [(0, 0), *padding])
    rows, columns = np.indices(padded.shape)
    none = np.zeros(0)
    found: list[tuple[NDArray[Any], ...]] = [(none.astype(int),) * 3 + (none, none)]
    active = (_sums(seen, cell) > FAINTEST).any(axis=0)
    while active.any():
        flux, significance = _sums(padded, cell), _sums(seen, cell)
        in_beams = (cell / widths)[:, None, None]
        too_large = (significance * in_beams**2 > misplaced) | ((significance > FAINTEST) & (in_beams > LARGEST_CELL))
        divided = active & too_large.any(axis=0) & (cell > 1)
        kept = active & ~divided
        y, x = (np.rint(_sums(padded * at, cell)[kept] / flux[kept]).astype(int) for at in (rows, columns))
        found.append((np.full_like(y, plane), y, x, flux[kept], significance.max(axis=0)[kept]))
        cell = max(1, cell // 2)
        active = divided.repeat(2, 0).repeat(2, 1)
        active = active & (_sums(padded, cell) > 0) if active.any() else active
    return tuple(np.concatenate(each) for each in zip(*found, strict=True))


def width_of(beam_area: float) -> float:
    """Return the FWHM of a round Gaussian beam, pixels. beam_area: its solid angle, pixels."""
    return float(np.sqrt(beam_area * 4 * np.log(2) / np.pi))


def _sums(image: NDArray[np.floating], cell: int) -> NDArray[np.floating]:
    """Return the sums over square cells of so many pixels on a side, (..., ny / cell, nx / cell)."""
    *others, ny, nx = image.shape
    return image.reshape(*others, ny // cell, cell, nx // cell, cell).sum(axis=(-3, -1))
