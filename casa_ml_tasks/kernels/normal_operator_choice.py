"""The normal operator by convolution or by degridding and gridding, whichever costs less for these visibilities."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from casa_ml_tasks.kernels.fourier_operator import FourierOperator, fourier_operator
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights

#: Measured by `python -m benchmarks.kernels normal`: two FFTs of twice the field are the cheaper as long as they stay
#: in the cache, and in double precision always; else gridding pays below this many visibilities a pixel.
BREAK_EVEN = 2.0
PIXELS_IN_CACHE = 700**2
GRIDDING_TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-7}


class _WeightedGridding:
    """F^H W F / sum W by one pass over the visibilities."""

    def __init__(self, operator: FourierOperator, weight: NDArray[np.floating]):
        self.shape = operator.shape
        self._operator = operator
        self._weight = weight / weight.sum(dtype=float)
        self._no_data = np.zeros(weight.size, np.result_type(weight.dtype, np.complex64))

    def __call__(self, image: ArrayLike) -> NDArray[np.floating]:
        image = np.asarray(image)
        _, gradient = self._operator.gradient(image, self._no_data, self._weight)
        return gradient.astype(image.dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GriddedNormalOperator:
    """$F^H W F / \\sum W$ with the interface of `NormalOperator`, by degridding and gridding in one pass.

    Attributes:
        largest: an upper bound on the largest eigenvalue.
        gridding: does the work; what JAX compiles holds for this object alone.
    """

    largest: jax.Array
    gridding: _WeightedGridding = field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.gridding.shape

    def __call__(self, image: jax.Array) -> jax.Array:
        """image: (ny, nx), Jy/pixel. Returns the dirty image of it, (ny, nx), Jy/beam."""
        of_image = jax.ShapeDtypeStruct(image.shape, image.dtype)
        return jax.pure_callback(self.gridding, of_image, image, vmap_method="sequential")

    def spectral_norm(self) -> jax.Array:
        """An upper bound on the largest eigenvalue."""
        return self.largest


def normal_operator(
    uvw: NDArray[np.floating],
    wavenumber: ArrayLike,
    weight: NDArray[np.floating],
    shape: tuple[int, int],
    cell: float,
    precision: DTypeLike = np.float32,
) -> NormalOperator | GriddedNormalOperator:
    """$F^H W F / \\sum W$ in the cheaper of its two forms; w is ignored.

    Args:
        uvw: (row, 3), metres, or wavelengths with a wavenumber of 1.
        wavenumber: (channel,), frequency / speed of light, 1/m.
        weight: (row, channel); 0 leaves a visibility out.
        shape: (ny, nx) of the image.
        cell: pixel size, radians.
        precision: of the images that it will be applied to.

    Raises:
        ValueError: as `fourier_operator`.
    """
    dtype, pixels = np.dtype(precision), shape[0] * shape[1]
    psf = psf_of_weights(uvw, wavenumber, weight, shape, cell)
    convolution = NormalOperator.from_psf((psf / weight.sum(dtype=float)).astype(dtype))
    few = np.count_nonzero(weight) < BREAK_EVEN * pixels
    if dtype == np.float64 or pixels <= PIXELS_IN_CACHE or not few:
        return convolution
    operator = fourier_operator(uvw, wavenumber, shape, cell, GRIDDING_TOLERANCE[dtype], dtype, weight != 0)
    gridding = _WeightedGridding(operator, operator.sort(weight.astype(dtype)))
    return GriddedNormalOperator(jnp.asarray(convolution.spectral_norm()), gridding)
