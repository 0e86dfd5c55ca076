"""Several data sets of one sky as one linear operator: mosaics and single-dish maps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray

from casa_ml_tasks.kernels.likelihood import WeightedSum
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.single_dish import SingleDishNormalOperator

PROBES = 41  # along each axis, of the diagonal of a dish's operator


class SkyOperator(Protocol):
    """A normal operator H that need not be a convolution, with what preconditioners ask of it.

    `Mosaic`, `OfOperator`, `OfDish` and `JointData` are such.
    """

    def normal(self, precision: DTypeLike = float) -> NormalOperator:
        """Return H in a precision."""
        ...

    def psf(self) -> NDArray[np.float64]:
        """Return that of the convolution which H is on average, (2 ny, 2 nx), Jy/beam."""
        ...

    def between(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return H between all pairs of some pixels, (pixel, pixel), Jy/beam of 1 Jy."""
        ...

    def sensitivity(self) -> NDArray[np.float64]:
        """Return the diagonal of H, (ny, nx), about 1 where the data see the sky best and 0 where they do not."""
        ...


@dataclass(frozen=True)
class OfOperator:
    r"""Any normal operator, of which a transfer function T and the diagonal D are known: $H \approx \sqrt D T \sqrt D$.

    Only preconditioners take the approximation, which is exact for a convolution.

    Attributes:
        operator: H, in double precision.
        diagonal: D, (ny, nx); None for that of the convolution.
    """

    operator: NormalOperator
    diagonal: NDArray[np.floating] | None = None

    def normal(self, precision: DTypeLike = float) -> NormalOperator:
        """Return H in a precision."""
        return in_precision(self.operator, precision)

    def psf(self) -> NDArray[np.float64]:
        """Return T in the image plane, (2 ny, 2 nx), Jy/beam."""
        return _psf_of(self.operator)

    def between(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the approximation of H between all pairs of some pixels, (pixel, pixel), Jy/beam of 1 Jy."""
        psf = self.psf()
        ny, nx = (n // 2 for n in psf.shape)
        of_lags = psf[np.subtract.outer(y, y) + ny, np.subtract.outer(x, x) + nx] / psf[ny, nx]
        root = np.sqrt(self.sensitivity()[y, x])
        return np.multiply.outer(root, root) * of_lags

    def sensitivity(self) -> NDArray[np.float64]:
        """Return D, (ny, nx)."""
        psf = self.psf()
        ny, nx = (n // 2 for n in psf.shape)
        return np.full((ny, nx), psf[ny, nx]) if self.diagonal is None else np.asarray(self.diagonal, float)


@dataclass(frozen=True)
class OfDish:
    """The normal operator of a single-dish map, of one channel.

    Attributes:
        operator: H, in double precision.
    """

    operator: SingleDishNormalOperator

    def normal(self, precision: DTypeLike = float) -> NormalOperator:
        """Return H in a precision."""
        return in_precision(self.operator, precision)

    def psf(self) -> NDArray[np.float64]:
        """Return that of the convolution which H is far from the map's edge, (2 ny, 2 nx), Jy/beam."""
        return _psf_of(self.operator)

    def between(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return H between all pairs of some pixels, (pixel, pixel), Jy/beam of 1 Jy."""
        seen = self._modes(y, x)
        return np.asarray(seen @ np.asarray(self.operator.matrix) @ seen.T)

    def sensitivity(self) -> NDArray[np.float64]:
        """Return the diagonal of H, (ny, nx), interpolated between some pixels: it is as smooth as the beam."""
        return self._sensitivity

    @cached_property
    def _sensitivity(self) -> NDArray[np.float64]:
        rows, columns = self.operator.waves
        y, x = (np.linspace(0, each.shape[1] - 1, PROBES).round().astype(int) for each in (rows, columns))
        seen = self._modes(np.repeat(y, PROBES), np.tile(x, PROBES))
        diagonal = np.einsum("pm,pm->p", seen @ np.asarray(self.operator.matrix), seen).reshape(PROBES, PROBES)
        along = np.array([np.interp(np.arange(columns.shape[1]), x, each) for each in diagonal])
        whole = np.array([np.interp(np.arange(rows.shape[1]), y, each) for each in along.T]).T
        return np.maximum(whole, 0)

    def _modes(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the cosines and sines of some pixels of 1 Jy, (pixel, 2 mode)."""
        (rows, columns), (row, column) = self.operator.waves, self.operator.numbers
        factors = np.asarray(self.operator.factors).reshape(-1, len(row))[0]
        waves = factors[:, None] * np.asarray(rows)[:, y][row] * np.asarray(columns)[:, x][column]
        return np.concatenate([waves.real, -waves.imag]).T


@dataclass(frozen=True)
class DataSet:
    """One of several data sets of a sky.

    Attributes:
        operator: H.
        sigma: noise of its residual where the diagonal of H is 1, Jy/beam.
        beam_area: solid angle of its beam, pixels.
    """

    operator: SkyOperator
    sigma: float
    beam_area: float


@dataclass(frozen=True)
class JointData:
    r"""$H = \sum_d w_d H_d$ of several data sets: the operator of the sum of their `QuadraticLikelihood`s.

    $w_d = \sigma^2 / \sigma_d^2$ with $\sigma^{-2} = \sum_d \sigma_d^{-2}$.

    Attributes:
        sets: the data sets.
    """

    sets: tuple[DataSet, ...]

    @property
    def sigma(self) -> float:
        """Noise of the residual of all data sets together, Jy/beam."""
        return float(sum(each.sigma**-2 for each in self.sets) ** -0.5)

    @property
    def noise_of_brightness(self) -> float:
        """Noise of emission that is wider than all beams, where every data set sees the sky best, Jy/pixel."""
        return float(sum((each.beam_area / each.sigma) ** 2 for each in self.sets) ** -0.5)

    @property
    def weights(self) -> tuple[float, ...]:
        """Weight w of each data set, which add up to 1."""
        return tuple((self.sigma / each.sigma) ** 2 for each in self.sets)

    def normal(self, precision: DTypeLike = float) -> NormalOperator:
        """Return H in a precision."""
        operators = tuple(each.operator.normal(precision) for each in self.sets)
        return WeightedSum.of(operators, [jnp.asarray(weight) for weight in self.weights])

    def psf(self) -> NDArray[np.float64]:
        """Return that of the convolution which H is on average, over its peak, (2 ny, 2 nx), Jy/beam."""
        mean = self._mean([each.operator.psf() for each in self.sets])
        ny, nx = (n // 2 for n in mean.shape)
        return mean / mean[ny, nx]

    def between(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return H between all pairs of some pixels, (pixel, pixel), Jy/beam of 1 Jy."""
        return self._mean([each.operator.between(y, x) for each in self.sets])

    def sensitivity(self) -> NDArray[np.float64]:
        """Return the diagonal of H, (ny, nx)."""
        return self._mean([each.operator.sensitivity() for each in self.sets])

    def _mean(self, arrays: list[NDArray[np.float64]]) -> NDArray[np.float64]:
        return reduce(add, [weight * each for weight, each in zip(self.weights, arrays, strict=True)])


def in_precision(operator: NormalOperator, precision: DTypeLike) -> NormalOperator:
    """Return an operator with its arrays in a precision of real numbers."""

    def converted(array: jax.Array) -> jax.Array:
        if jnp.iscomplexobj(array):
            return array.astype(np.result_type(precision, np.complex64))
        return array.astype(np.dtype(precision)) if jnp.issubdtype(array.dtype, jnp.floating) else array

    with jax.enable_x64(True):
        return cast(NormalOperator, jax.tree.map(converted, operator))


def _psf_of(operator: NormalOperator) -> NDArray[np.float64]:
    """Return the transfer function of one channel in the image plane, (2 ny, 2 nx), Jy/beam."""
    transfer = np.asarray(operator.transfer, float)
    transfer = transfer.reshape(-1, *transfer.shape[-2:])[0]
    ny, nx = transfer.shape[0] // 2, transfer.shape[1] - 1
    return np.fft.fftshift(np.fft.irfft2(transfer, s=(2 * ny, 2 * nx)))
