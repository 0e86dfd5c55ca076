r"""A sky in any frame as an image in the SIN frame of the visibilities, and back through the exact adjoint.

A pixel of the sky is a point source at its centre, with known direction cosines l and m. In the SIN image it becomes
the pixels around it, with weights that give the same visibilities for all measured baselines
(`kernels.band_limited`), whatever is on the sky. Flux is conserved without any solid angle. The adjoint interpolates a
dirty image, which is band-limited, at the pixels of the sky. The pointings of a mosaic are boxes of one SIN image, so
that one reprojection serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray

from casa_ml_tasks.kernels.band_limited import tap_count, taps

TOLERANCE = 1e-4  # of visibilities
POWER_ITERATIONS = 30


class Reprojection(Protocol):
    """A linear map of skies, (..., sky's ny, nx), to images in the SIN frame, (..., ny, nx), both in Jy/pixel.

    Every implementation is a JAX pytree.
    """

    @property
    def sky_shape(self) -> tuple[int, int]:
        """(ny, nx) of the sky."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the image."""
        ...

    def __call__(self, sky: jax.Array, /) -> jax.Array:
        """Return the image of a sky, (..., ny, nx)."""
        ...

    def adjoint(self, image: jax.Array, /) -> jax.Array:
        """Return the transpose of the map, of an image; (..., ny, nx) to (..., sky's ny, nx)."""
        ...

    def norm(self) -> jax.Array:
        """Return the largest eigenvalue of the map's adjoint times the map, a scalar."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SlicedSky:
    """The image is a part of the sky: both are SIN about the same centre, with the same pixels.

    Attributes:
        sky_shape, shape: (ny, nx) of the sky and of the image.
        corner: y, x of the image's first pixel on the sky; negative where the image begins before the sky.
    """

    sky_shape: tuple[int, int] = field(metadata={"static": True})
    shape: tuple[int, int] = field(metadata={"static": True})
    corner: tuple[int, int] = field(metadata={"static": True})

    @jax.jit
    def __call__(self, sky: jax.Array) -> jax.Array:
        """Return the image, (..., ny, nx), zero beyond the sky."""
        return _window(sky, self.corner, self.shape)

    @jax.jit
    def adjoint(self, image: jax.Array) -> jax.Array:
        """Return the sky, zero beyond the image."""
        return _window(image, (-self.corner[0], -self.corner[1]), self.sky_shape)

    def norm(self) -> jax.Array:
        """Return 1."""
        return jnp.asarray(1.0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PointwiseSky:
    """Each pixel of the sky is a point source, rendered on the pixels of the image around it.

    Pixels of the sky are sorted into square bins of as many pixels of the image as a source has weights along an
    axis, so that all that are in one bin fall into a square twice as wide: a product of two small matrices. It stores
    4 (weights + 1) numbers for each pixel of the sky.

    Attributes:
        sky_shape, shape: (ny, nx) of the sky and of the image.
        members: flat numbers of the sky's pixels in each bin; the sky's size where there are fewer,
            (bin row, bin column, member).
        place: of each pixel of the sky in `members`, flat; the size of `members` where the image does not see it.
        of_rows, of_columns: weights in the square of the bin, (bin row, bin column, member, 2 weights).
    """

    sky_shape: tuple[int, int] = field(metadata={"static": True})
    shape: tuple[int, int] = field(metadata={"static": True})
    members: jax.Array
    place: jax.Array
    of_rows: jax.Array
    of_columns: jax.Array

    @classmethod
    def at(
        cls,
        positions: NDArray[np.float64],
        shape: tuple[int, int],
        band: float,
        tolerance: float = TOLERANCE,
        precision: DTypeLike = float,
    ) -> PointwiseSky:
        """Return the reprojection.

        Args:
            positions: y and x of the sky's pixels in the image, pixels, (2, sky's ny, nx); NaN where there is no sky.
            shape: (ny, nx) of the image.
            band: highest spatial frequency of what is seen, cycles a pixel of the image: of the longest baseline, with
                w times the distance from the phase centre, and of the primary beam.
            tolerance: relative, of visibilities.
            precision: of the weights.

        Raises:
            ValueError: the image's pixels are too large for the band.
        """
        width = tap_count(band, tolerance)
        # Bins begin a width before the image: a source beside it reaches into it.
        bins = [(n - 1 + width) // width + 1 for n in shape]
        y, x = positions.reshape(2, -1)
        reach = width // 2
        with np.errstate(invalid="ignore"):
            inside = (y > -reach) & (y < shape[0] - 1 + reach) & (x > -reach) & (x < shape[1] - 1 + reach)
        seen = np.flatnonzero(inside)
        (first_y, of_y), (first_x, of_x) = taps(y[seen], band, width), taps(x[seen], band, width)
        (row, down), (column, along) = np.divmod(first_y + width, width), np.divmod(first_x + width, width)
        bin_of = row * bins[1] + column
        order = np.argsort(bin_of, kind="stable")
        counts = np.bincount(bin_of, minlength=bins[0] * bins[1])
        most = max(int(counts.max(initial=0)), 1)
        slot = np.empty(seen.size, np.int64)
        slot[order] = np.arange(seen.size) - np.repeat(np.cumsum(counts) - counts, counts)
        place_of_seen = bin_of * most + slot
        members = np.full(counts.size * most, y.size)
        members[place_of_seen] = seen
        place = np.full(y.size, members.size)
        place[seen] = place_of_seen

        def spread(offset: NDArray[np.int64], weights: NDArray[np.float64]) -> jax.Array:
            wide = np.zeros((members.size, 2 * width), precision)
            wide[place_of_seen[:, None], offset[:, None] + np.arange(width)] = weights
            return jnp.asarray(wide.reshape(*bins, most, 2 * width))

        sky_shape = (positions.shape[1], positions.shape[2])
        members_of = jnp.asarray(members.reshape(*bins, most).astype(np.int32))
        return cls(
            sky_shape, shape, members_of, jnp.asarray(place.astype(np.int32)), spread(down, of_y), spread(along, of_x)
        )

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which pixels of the sky the image sees, (sky's ny, nx)."""
        return (np.asarray(self.place) < self.members.size).reshape(self.sky_shape)

    @jax.jit
    def __call__(self, sky: jax.Array) -> jax.Array:
        """Return the image of a sky; (..., sky's ny, nx) to (..., ny, nx), Jy/pixel."""
        return _one_by_one(self._image, sky)

    @jax.jit
    def adjoint(self, image: jax.Array) -> jax.Array:
        """Return the image at the sky's pixels, 0 where it does not see them; (..., ny, nx) to (..., sky's ny, nx)."""
        return _one_by_one(self._sky, image)

    @jax.jit
    def norm(self) -> jax.Array:
        """Return the largest eigenvalue by POWER_ITERATIONS, which approach it from below, with a margin of 10 %."""
        start = jax.random.normal(jax.random.key(0), self.sky_shape, self.of_rows.dtype)

        def step(_: int, sky: jax.Array) -> jax.Array:
            return self.adjoint(self(sky / jnp.linalg.norm(sky)))

        return 1.1 * jnp.linalg.norm(jax.lax.fori_loop(0, POWER_ITERATIONS, step, start))

    @property
    def _width(self) -> int:
        return self.of_rows.shape[-1] // 2

    def _image(self, sky: jax.Array) -> jax.Array:
        """Squares of neighbouring bins overlap by half: their quarters are added up."""
        flux = jnp.append(sky.ravel(), 0)

        def of_bins(row: tuple[jax.Array, ...]) -> jax.Array:
            members, of_rows, of_columns = row
            return jnp.einsum("bmy,bmx->byx", of_rows * flux[members][..., None], of_columns)

        squares = jax.lax.map(of_bins, (self.members, self.of_rows, self.of_columns))
        (rows, columns), width = squares.shape[:2], self._width
        quarters = squares.reshape(rows, columns, 2, width, 2, width)
        blocks = jnp.zeros((rows + 1, columns + 1, width, width), squares.dtype)
        for down in (0, 1):
            for along in (0, 1):
                part = blocks[down : rows + down, along : columns + along] + quarters[:, :, down, :, along]
                blocks = blocks.at[down : rows + down, along : columns + along].set(part)
        whole = blocks.transpose(0, 2, 1, 3).reshape((rows + 1) * width, (columns + 1) * width)
        return _window(whole, (width, width), self.shape)

    def _sky(self, image: jax.Array) -> jax.Array:
        (rows, columns, _), width = self.members.shape, self._width
        whole = _window(image, (-width, -width), ((rows + 1) * width, (columns + 1) * width))
        blocks = whole.reshape(rows + 1, width, columns + 1, width).transpose(0, 2, 1, 3)

        def of_bins(row: tuple[jax.Array, ...]) -> jax.Array:
            above, below, of_rows, of_columns = row
            strip = jnp.concatenate([above, below], axis=1)
            squares = jnp.concatenate([strip[:-1], strip[1:]], axis=2)
            return jnp.sum(jnp.matmul(of_rows, squares) * of_columns, axis=-1)

        values = jax.lax.map(of_bins, (blocks[:-1], blocks[1:], self.of_rows, self.of_columns))
        return jnp.append(values.ravel(), 0)[self.place].reshape(self.sky_shape)


def _one_by_one(function: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Apply a function to all planes, (..., ny, nx), in turn."""
    found = jax.lax.map(function, images.reshape(-1, *images.shape[-2:]))
    return found.reshape(*images.shape[:-2], *found.shape[-2:])


def _window(image: jax.Array, corner: tuple[int, int], shape: tuple[int, int]) -> jax.Array:
    """Return (..., *shape) of an image from a corner on, 0 beyond its edges."""
    still = [(0, 0, 0)] * (image.ndim - 2)
    edges = [(-start, start + size - n, 0) for start, size, n in zip(corner, shape, image.shape[-2:], strict=True)]
    return jax.lax.pad(image, jnp.zeros((), image.dtype), [*still, *edges])
