"""The likelihood of a single-dish map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse.linalg import eigsh

from casa_ml_tasks.kernels.dish_beam import FAINTEST, DishBeam
from casa_ml_tasks.kernels.dish_modes import DishModes, MapGrid, MapPrecision
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood

EXPONENT = 2.0
FLOOR = 1e-2


@dataclass(frozen=True)
class SingleDish:
    r"""A map $d = S I + n$ with $S I = B * I$ at the map's pixels, for any number of channels.

    Attributes:
        pixels: d, (..., ny, nx) of the map, Jy/beam; 0 where a pixel does not count.
        precision: $C^{-1}$, the inverse covariance of n, of a channel whose level is 1.
        transforms: of the beams at the modes, (..., mode), pixels of the image.
        level: factor of the noise of each channel, (...); infinite for a channel without data.
        shape: (ny, nx) of the image.
        transfer: of the convolution that is $S^T C^{-1} S$ far from the map's edge, (..., 2 ny, nx + 1), with peak 1.
        variance: of the flux of a point source there, in a channel whose level is 1, (...), Jy^2.
    """

    pixels: NDArray[np.floating]
    precision: MapPrecision
    transforms: NDArray[np.complexfloating]
    level: NDArray[np.floating]
    shape: tuple[int, int]
    transfer: NDArray[np.floating]
    variance: NDArray[np.floating]

    @classmethod
    def of(
        cls,
        pixels: NDArray[np.floating],
        grid: MapGrid,
        beams: Sequence[DishBeam],
        noise: NDArray[np.floating] | float,
        shape: tuple[int, int],
    ) -> SingleDish:
        """Return the map, ready for an image.

        Pixels beyond the image do not count. The edge of the map is that of the pixels that all channels with data
        have in common, and the noise of the channels differs by factors.

        Args:
            pixels: (..., ny, nx) of the map, Jy/beam; NaN where there is none.
            grid: where they lie on the image.
            beams: of each channel.
            noise: r.m.s. of each pixel, Jy/beam; in any shape that goes with that of the pixels.
            shape: (ny, nx) of the image.

        Raises:
            ValueError: no pixel counts, or the map covers too many beams.
        """
        leading = pixels.shape[:-2]
        planes = pixels.reshape(-1, *grid.shape)
        noises = np.broadcast_to(noise, pixels.shape).reshape(planes.shape)
        valid = np.isfinite(planes) & np.isfinite(noises) & (noises > 0) & grid.inside(shape)
        observed = valid.any(axis=(1, 2))
        counted = valid[observed].all(axis=0) & observed.any()
        modes = DishModes.of(beams, grid, counted, shape)
        squares = np.mean(noises**2, axis=(1, 2), where=counted)
        level = np.sqrt(np.where(observed, squares, np.inf))
        relative = np.mean((noises / level[:, None, None])[observed] ** 2, axis=0, where=counted)
        transforms = np.stack([modes.transform(beam) for beam in beams])
        precision = precision_of(modes, transforms[observed], grid, counted, relative)
        transfer, variance = _far_from_the_edge(precision, beams, shape)
        return cls(
            np.where(counted & observed[:, None, None], planes, 0).reshape(pixels.shape),
            precision,
            transforms.reshape(*leading, -1),
            level.reshape(leading),
            shape,
            transfer.reshape(*leading, *transfer.shape[1:]),
            variance.reshape(leading),
        )

    def sigma(self, scale: float = 1.0) -> NDArray[np.float64]:
        r"""Return the error of a point source's flux far from the map's edge, (..., 1, 1), or a number, Jy.

        Args:
            scale: of the map's weight, $1/\sigma^2$.
        """
        sigma = self.level * np.sqrt(self.variance / scale)
        return sigma[..., None, None] if sigma.ndim else sigma

    def normal(self, precision: DTypeLike = float) -> SingleDishNormalOperator:
        r"""Return $S^T C^{-1} S$ times the variance of a point source."""
        modes, shape = self.precision.modes, self.shape
        pairs = [modes.waves(axis, np.arange(count)) for axis, count in enumerate(shape)]
        for (waves, _), seen in zip(pairs, modes.image, strict=True):
            waves[:, : seen.start], waves[:, seen.stop :] = 0, 0
        matrix = self.precision.of_modes()
        factors = self.transforms * (modes.scale * np.sqrt(self.variance)[..., None] / modes.area)
        kind = np.result_type(precision, np.complex64)
        return SingleDishNormalOperator(
            jnp.asarray(self.transfer.astype(precision)),
            tuple(jnp.asarray(waves.astype(kind)) for waves, _ in pairs),
            tuple(jnp.asarray(which) for _, which in pairs),
            jnp.asarray(factors.astype(kind)),
            jnp.asarray(matrix.astype(precision)),
            jnp.asarray(_largest_eigenvalue(matrix, factors / modes.scale) * modes.area, precision),
        )

    def predicted(self, image: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return S of an image, (..., ny, nx) of the map, Jy/beam; 0 where a pixel does not count.

        Args:
            image: (..., ny, nx), Jy/pixel.
        """
        modes = self.precision.modes
        seen = MapGrid(tuple(s.stop - s.start for s in modes.image), tuple(s.start for s in modes.image), (1, 1))
        amplitudes = self._through_beam(modes.analysed(image[..., *modes.image], seen)) / modes.area
        return modes.synthesised(amplitudes, self.precision.grid) * self.precision.counted

    def adjoint(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the adjoint of `predicted`, (..., ny, nx) of the image.

        Args:
            pixels: (..., ny, nx) of the map.
        """
        modes = self.precision.modes
        seen = MapGrid(tuple(s.stop - s.start for s in modes.image), tuple(s.start for s in modes.image), (1, 1))
        counted = pixels * self.precision.counted
        amplitudes = self._through_beam(modes.analysed(counted, self.precision.grid), back=True) / modes.area
        image = np.zeros((*pixels.shape[:-2], *self.shape))
        image[..., *modes.image] = modes.synthesised(amplitudes, seen)
        return image

    def residual(self, image: NDArray[np.floating]) -> NDArray[np.float64]:
        r"""Return $S^T C^{-1} (d - S I)$ times the variance of a point source, (..., ny, nx), Jy/beam.

        Args:
            image: (..., ny, nx), Jy/pixel.
        """
        left = self.precision.of_pixels(self.pixels - self.predicted(image))
        return self.adjoint(left) * np.asarray(self.variance)[..., None, None]

    def half_chi_squared(self, image: NDArray[np.floating]) -> float:
        r"""Return $\frac12 (d - S I)^T C^{-1} (d - S I)$ of an image, (..., ny, nx), Jy/pixel."""
        left = self.pixels - self.predicted(image)
        return float(np.sum(left * self.precision.of_pixels(left) / (2 * self.level[..., None, None] ** 2)))

    def likelihood(
        self, image: NDArray[np.floating], scale: float = 1.0, precision: DTypeLike = float
    ) -> QuadraticLikelihood:
        """Return the likelihood of images, which adds to that of the visibilities.

        Args:
            image: around which it is exact in single precision, (..., ny, nx), Jy/pixel.
            scale: of the map's weight; 1 is what its noise justifies.
            precision: of the arrays.
        """
        residual, model = (jnp.asarray(each.astype(precision)) for each in (self.residual(image), image))
        return QuadraticLikelihood(self.normal(precision), residual, model, jnp.asarray(self.sigma(scale)))

    def _through_beam(self, amplitudes: NDArray[np.floating], back: bool = False) -> NDArray[np.float64]:
        """Return amplitudes of cosines and sines after the beam, or after its adjoint."""
        cosines, sines = np.split(amplitudes, 2, axis=-1)
        seen = (np.conj(self.transforms) if back else self.transforms) * (cosines - 1j * sines)
        return np.concatenate([seen.real, -seen.imag], axis=-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SingleDishNormalOperator:
    r"""$S^T C^{-1} S = F^T b^H M b F$: the modes F of an image, the beam b, and what the map knows of each mode, M.

    Thin matrices take an image to its few modes: a pixel costs as many products as there are modes along an axis.

    Attributes:
        transfer: (..., 2 ny, nx + 1), of the convolution that it is far from the map's edge.
        waves: $\exp(-2\pi i v y)$ (wave, ny) and $\exp(-2\pi i u x)$ (wave, nx), 0 where the map sees nothing.
        numbers: which of the waves along y and x each mode has, (mode,) each.
        factors: b, with the modes' normalisation, (..., mode).
        matrix: M, of the cosines and sines, (2 mode, 2 mode).
        norm: the largest eigenvalue, or more.
    """

    transfer: jax.Array
    waves: tuple[jax.Array, jax.Array]
    numbers: tuple[jax.Array, jax.Array]
    factors: jax.Array
    matrix: jax.Array
    norm: jax.Array

    @jax.jit
    def __call__(self, image: jax.Array) -> jax.Array:
        """Return the dirty image of an image, (..., ny, nx), Jy/pixel to Jy/beam."""
        (rows, columns), (row, column) = self.waves, self.numbers
        modes = self.factors * (rows @ (image @ columns.T))[..., row, column]
        cosines, sines = jnp.split(jnp.concatenate([modes.real, -modes.imag], -1) @ self.matrix, 2, -1)
        plane = jnp.zeros((*image.shape[:-2], len(rows), len(columns)), rows.dtype)
        plane = plane.at[..., row, column].set(self.factors * (cosines + 1j * sines))
        return ((rows.T @ plane) @ columns).real

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue."""
        return self.norm


def precision_of(
    modes: DishModes,
    transforms: NDArray[np.complexfloating],
    grid: MapGrid,
    counted: NDArray[np.bool_],
    variance: NDArray[np.floating],
) -> MapPrecision:
    r"""Return $C^{-1}$ of noise with the spectrum that the module states.

    Args:
        modes, grid: of the map.
        transforms: of the beams at the modes, (channel, mode).
        counted: pixels that count, (ny, nx) of the map.
        variance: of the noise in each pixel before the beam has smoothed it, of mean 1, (ny, nx).
    """
    power = np.mean(np.abs(transforms) ** 2, axis=0) ** (EXPONENT / 2)
    power = power / np.sum(modes.scale**2 * power)
    share = abs(grid.step[0] * grid.step[1]) / modes.area
    uneven = np.where(counted, variance - 1, 0.0)
    root = np.tile(np.sqrt(power), 2)[:, None] * np.eye(2 * len(power))
    if np.any(uneven):
        varying = np.eye(len(root)) + share * modes.gram(uneven, grid)
        root = root @ np.linalg.cholesky(varying + FLOOR**2 * np.eye(len(root)))
    return MapPrecision(modes, grid, counted, root, float(FLOOR**2 * power.max() / share))


def _far_from_the_edge(
    precision: MapPrecision, beams: Sequence[DishBeam], shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return the transfer functions of $S^T C^{-1} S$ without an edge, of peak 1, and the variance of a point."""
    modes, grid = precision.modes, precision.grid
    v, u = np.fft.fftfreq(2 * shape[0]), np.fft.rfftfreq(2 * shape[1])
    sizes = np.abs([beam.transform(v, u) for beam in beams])
    known = sizes**2 / (sizes**EXPONENT / sizes.max() ** EXPONENT + FLOOR**2) * (sizes > FAINTEST * sizes.max())
    peaks = np.fft.irfft2(known, s=(2 * shape[0], 2 * shape[1]))[:, 0, 0]
    power = precision.white * abs(grid.step[0] * grid.step[1]) / FLOOR**2
    return known / peaks[:, None, None], power / peaks


def _largest_eigenvalue(matrix: NDArray[np.floating], factors: NDArray[np.complexfloating]) -> float:
    """Return an upper bound on the largest eigenvalue of b^H M b over the channels, exact to a per cent."""
    bound = np.max(np.abs(factors.reshape(-1, factors.shape[-1])), axis=0)
    scaled = np.tile(bound, 2)[:, None] * matrix * np.tile(bound, 2)
    return 1.01 * float(eigsh(scaled, k=1, return_eigenvectors=False, tol=1e-3)[0])
