r"""The likelihood of a single-dish map: $\chi^2/2$ of its pixels, with the covariance that `map_noise` states.

The beam passes few Fourier modes of the sky, so that every operation goes through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.sparse.linalg import eigsh

from casa_ml_tasks.kernels.dish_beam import FAINTEST, DishBeam
from casa_ml_tasks.kernels.dish_modes import DishModes, MapGrid
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.map_noise import WHITE, MapPrecision, noise_of_map, spectrum_of_noise


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
        correlation: float = 1.0,
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
            correlation: area over which the noise is correlated, over that of the beam; at least 1.

        Raises:
            ValueError: no pixel counts, or the map covers too many beams.
        """
        leading = pixels.shape[:-2]
        planes = pixels.reshape(-1, *grid.shape)
        noises = np.broadcast_to(noise, pixels.shape).reshape(planes.shape)
        valid = np.isfinite(planes) & np.isfinite(noises) & (noises > 0) & grid.inside(shape)
        observed = valid.any(axis=(1, 2))
        counted = valid[observed].all(axis=0) & observed.any()
        distinct = list(dict.fromkeys(beams))
        modes = DishModes.of(distinct, grid, counted, shape)
        level = np.full(len(planes), np.inf)
        level[observed] = np.sqrt(np.mean(noises[observed] ** 2, axis=(1, 2), where=counted))
        ratios = (noises[observed] / level[observed, None, None]) ** 2
        relative = np.mean(np.where(counted, ratios, 1.0), axis=0)
        number = [distinct.index(beam) for beam in beams]
        transforms = np.stack([modes.transform(beam) for beam in distinct])[number]
        precision = noise_of_map(modes, transforms[observed], grid, counted, relative, correlation)
        transfer, variance = _far_from_the_edge(precision, distinct, shape, correlation)
        if len(distinct) > 1:
            transfer, variance = transfer[number], variance[number]
        return cls(
            np.where(counted & observed[:, None, None], planes, 0).reshape(pixels.shape),
            precision,
            transforms.reshape(*leading, -1),
            level.reshape(leading),
            shape,
            np.broadcast_to(transfer, (len(planes), *transfer.shape[1:])).reshape(*leading, *transfer.shape[1:]),
            np.broadcast_to(variance, len(planes)).reshape(leading),
        )

    def __getitem__(self, channels: int | slice | NDArray[np.integer]) -> SingleDish:
        """Return some of the channels, or one of them without an axis of channels."""
        return replace(
            self,
            pixels=self.pixels[channels],
            transforms=self.transforms[channels],
            level=np.asarray(self.level[channels]),
            transfer=self.transfer[channels],
            variance=np.asarray(self.variance[channels]),
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
        (rows, row), (columns, column) = (modes.waves(axis, np.arange(count)) for axis, count in enumerate(shape))
        for waves, seen in zip((rows, columns), modes.image, strict=True):
            waves[:, : seen.start], waves[:, seen.stop :] = 0, 0
        matrix = self.precision.of_modes
        factors = self.transforms * (modes.scale * np.sqrt(self.variance)[..., None] / modes.area)
        kind = np.result_type(precision, np.complex64)
        return SingleDishNormalOperator(
            jnp.asarray(self.transfer.astype(precision)),
            (jnp.asarray(rows.astype(kind)), jnp.asarray(columns.astype(kind))),
            (jnp.asarray(row), jnp.asarray(column)),
            jnp.asarray(factors.astype(kind)),
            jnp.asarray(matrix.astype(precision)),
            jnp.asarray(np.asarray(_largest_eigenvalue(matrix, factors / modes.scale) * modes.area, precision)),
        )

    def predicted(self, image: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return S of an image, (..., ny, nx) of the map, Jy/beam; 0 where a pixel does not count.

        Args:
            image: (..., ny, nx), Jy/pixel.
        """
        modes = self.precision.modes
        amplitudes = self._through_beam(modes.analysed(image[..., *modes.image], modes.image_grid)) / modes.area
        return modes.synthesised(amplitudes, self.precision.grid) * self.precision.counted

    def adjoint(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the adjoint of `predicted`, (..., ny, nx) of the image.

        Args:
            pixels: (..., ny, nx) of the map.
        """
        modes = self.precision.modes
        counted = pixels * self.precision.counted
        amplitudes = self._through_beam(modes.analysed(counted, self.precision.grid), back=True) / modes.area
        image = np.zeros((*pixels.shape[:-2], *self.shape))
        image[..., *modes.image] = modes.synthesised(amplitudes, modes.image_grid)
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


def _far_from_the_edge(
    precision: MapPrecision, beams: Sequence[DishBeam], shape: tuple[int, int], correlation: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return the transfer functions of $S^T C^{-1} S$ without an edge, of peak 1, and the variance of a point."""
    v, u = np.fft.fftfreq(2 * shape[0]), np.fft.rfftfreq(2 * shape[1])
    sizes = np.abs([beam.transform(v, u) for beam in beams])
    relative = sizes / sizes.max()
    noise = spectrum_of_noise(relative, correlation) / correlation
    known = sizes.max() ** 2 * relative**2 / (noise + WHITE) * (relative > FAINTEST)
    peaks = np.fft.irfft2(known, s=(2 * shape[0], 2 * shape[1]))[:, 0, 0]
    power = precision.white * abs(np.prod(precision.grid.step)) / WHITE
    return known / peaks[:, None, None], power / peaks


def _largest_eigenvalue(matrix: NDArray[np.floating], factors: NDArray[np.complexfloating]) -> float:
    """Return an upper bound on the largest eigenvalue of b^H M b over the channels, exact to a per cent."""
    bound = np.max(np.abs(factors.reshape(-1, factors.shape[-1])), axis=0)
    scaled = np.tile(bound, 2)[:, None] * matrix * np.tile(bound, 2)
    return 1.01 * float(eigsh(scaled, k=1, return_eigenvectors=False, tol=1e-3)[0])
