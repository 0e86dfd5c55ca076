"""From the pixels of an image to the tiles that the network for images was trained on, and back.

The network knows fields of 128 x 128 pixels with about 5.2 pixels a beam. An image is interpolated to that sampling
where its beam is outside the trained range, and cut into overlapping tiles. What comes back is a proposal: residuals
are always made with the exact operator on the pixels of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from casa_ml_tasks.networks.image_network import (
    BEAM_RANGE,
    PATCH,
    PIXELS_PER_BEAM,
    DetectionMaps,
    ImageNetwork,
    first_model,
)

TILE = 128  # pixels of the network in each direction
STRIDE = 96  # pixels between tiles; a quarter of a tile is seen twice
SMALLEST = 32  # pixels of the network; smaller images show too little of the PSF


@dataclass(frozen=True)
class Axis:
    """One axis of an image on the network's sampling.

    Attributes:
        size: of the image, pixels.
        step: of the network's pixels, pixels of the image.
    """

    size: int
    step: float

    @cached_property
    def length(self) -> int:
        """Pixels of the network, at least a tile and whole patches."""
        needed = int(np.ceil((self.size - 1) / self.step)) + 1
        return max(TILE, -(-needed // PATCH) * PATCH)

    @property
    def offset(self) -> float:
        """Place of the network's first pixel, pixels of the image; the image lies in the middle."""
        if self.step == 1:
            return -float((self.length - self.size) // 2)
        return (self.size - 1) / 2 - self.step * (self.length - 1) / 2

    @cached_property
    def starts(self) -> list[int]:
        """First pixels of the tiles."""
        count = 1 + -(-(self.length - TILE) // STRIDE)
        return [int(start) // PATCH * PATCH for start in np.linspace(0, self.length - TILE, count)]

    @cached_property
    def owners(self) -> NDArray[np.intp]:
        """The tile whose middle is nearest to each pixel of the network, (length,); whole patches have one owner."""
        middle = np.arange(self.length) // PATCH * PATCH + PATCH / 2
        return np.abs(middle[:, None] - np.array(self.starts) - TILE / 2).argmin(axis=1)

    def to_image(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """Return pixels of the image for pixels of the network."""
        return self.offset + self.step * places

    def to_network(self, places: NDArray[Any]) -> NDArray[np.float64]:
        """Return pixels of the network for pixels of the image."""
        return (places - self.offset) / self.step


@dataclass(frozen=True)
class Proposal:
    """What the network says of one plane, on the pixels of the image.

    Attributes:
        model: the corrected model, (ny, nx), noise units a pixel, not negative.
        maps: detections of all patches of the network's grid.
        rows, columns: the axes of that grid.
    """

    model: NDArray[np.float32]
    maps: DetectionMaps
    rows: Axis
    columns: Axis


class NetworkView:
    """The network as one image plane sees it: calls take and give the pixels of the image."""

    def __init__(self, network: ImageNetwork, psf: NDArray[np.floating], beam: float):
        """Prepare for one PSF.

        Args:
            network: trained.
            psf: (2 ny, 2 nx), with its peak in the pixel (ny, nx).
            beam: geometric mean of its axes, FWHM, pixels.

        Raises:
            ValueError: the image is smaller than the network can judge.
        """
        ny, nx = psf.shape[0] // 2, psf.shape[1] // 2
        low, high = BEAM_RANGE
        self.step = 1.0 if low <= beam <= high else beam / PIXELS_PER_BEAM
        self.rows, self.columns = Axis(ny, self.step), Axis(nx, self.step)
        if min(ny, nx) / self.step < SMALLEST:
            least = int(np.ceil(SMALLEST * self.step))
            raise ValueError(f"an image of {ny} x {nx} pixels is too small for the network; it needs {least} x {least}")
        self._network = network
        around = self.step * (np.arange(TILE) - TILE // 2)
        inner = _sampled(psf, ny + around, nx + around)
        self._psf = jnp.asarray(inner / psf[ny, nx], jnp.float32)[None]

    def __call__(self, residual: NDArray[np.floating], model: NDArray[np.floating]) -> Proposal:
        """Return the network's next model and where it sees sources.

        Args:
            residual: of the model, (ny, nx), in units of the noise.
            model: (ny, nx), noise units a pixel.
        """
        area = self.step**2
        residuals, models = self._tiles(residual), area * self._tiles(model)
        # One tile at a time: one program serves any image, and batches are no faster on CPUs.
        answers = [
            _propose(self._network, one[None], other[None], self._psf)
            for one, other in zip(residuals, models, strict=True)
        ]
        changes, found = jax.tree.map(lambda *tiles: np.concatenate(tiles), *answers)
        change = self._assembled(changes, 1)
        maps = jax.tree.map(lambda tiles: self._assembled(tiles, PATCH), found)
        rows, columns = np.arange(len(residual)), np.arange(residual.shape[1])
        back = _sampled(change, self.rows.to_network(rows), self.columns.to_network(columns), order=1) / area
        return Proposal(np.maximum(model + back, 0).astype(np.float32), maps, self.rows, self.columns)

    def _tiles(self, image: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the image on the network's sampling, (tile, TILE, TILE)."""
        rows, columns = (axis.to_image(np.arange(axis.length)) for axis in (self.rows, self.columns))
        whole = _sampled(image, rows, columns)
        return np.stack(
            [whole[y : y + TILE, x : x + TILE] for y in self.rows.starts for x in self.columns.starts]
        ).astype(np.float32)

    def _assembled(self, tiles: NDArray[np.floating], patch: int) -> NDArray[np.floating]:
        """Return what the tiles hold of their own pixels or patches, (length / patch in y, in x)."""
        axes = self.rows, self.columns
        owners = [axis.owners[::patch] for axis in axes]
        insides = [
            np.arange(len(owner)) - np.array(axis.starts)[owner] // patch
            for axis, owner in zip(axes, owners, strict=True)
        ]
        number = owners[0][:, None] * len(self.columns.starts) + owners[1]
        return tiles[number, insides[0][:, None], insides[1]]


@eqx.filter_jit
def _propose(
    network: ImageNetwork, residual: jax.Array, model: jax.Array, psf: jax.Array
) -> tuple[jax.Array, DetectionMaps]:
    correction, found = network(residual, model, psf)
    empty = jnp.all(model == 0, axis=(1, 2), keepdims=True)
    new = jnp.where(empty, first_model(correction, residual), jax.nn.relu(model + correction))
    return new - model, found


def _sampled(
    image: NDArray[np.floating], rows: NDArray[np.floating], columns: NDArray[np.floating], order: int = 3
) -> NDArray[np.floating]:
    """Return the image at places, zero outside; exact where all places are pixels."""
    if np.all(rows == np.rint(rows)) and np.all(columns == np.rint(columns)):
        inside = [(along >= 0) & (along < size) for along, size in zip((rows, columns), image.shape, strict=True)]
        taken = [along[kept].astype(int) for along, kept in zip((rows, columns), inside, strict=True)]
        found = np.zeros((len(rows), len(columns)), image.dtype)
        found[np.ix_(*inside)] = image[np.ix_(*taken)]
        return found
    places = np.stack(np.broadcast_arrays(rows[:, None], columns))
    return map_coordinates(image, places, order=order, mode="constant")
