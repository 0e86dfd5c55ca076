r"""The noise of a single-dish map: a power spectrum N(k) proportional to the transform b(k) of the beam.

The covariance of the map is then its beam, as that of a dirty image is its PSF, and $b^2 / N$, which a mode weighs,
falls with the beam. A small share of white noise, `WHITE`, keeps the modes finite that the beam hardly passes.

The other choice is white noise that the beam has smoothed, $N \propto b^2$, which weighs all modes inside the dish
alike. On a simulated mosaic with a map of 26.7 arcsec (errors of the sky between 35 and 27 arcsec, where no
baseline reaches, over the sky; two to four skies a row) with both models of the noise:

| the noise in the map | map | b | b^2 |
| --- | --- | --- | --- |
| $\propto b^2$ | 216 arcsec | 1.6 % | 1.2 % |
| $\propto b^2$ | 120 arcsec, light beyond | 1.3 % | 1.1 % |
| $\propto b^2$, beam 2 % wider than stated | 216 arcsec | 2.7 % | 4.1 % |
| correlated over 0.4 beams, as gridding leaves it | 216 arcsec | 1.9 % | 3.7 % |
| $\propto b$ | 120 arcsec, light beyond | 1.8 % | 2.2 % |

Light inside the mosaic is unbiased with both, its r.m.s. error 0.1 to 0.2 %. $b^2$ gains little where it is right, and
elsewhere trusts modes that the map does not know: in the last row the flux in all of a sky wider than the map is
wrong by 26 % r.m.s. in place of 6 %. So $N \propto b$ it is.

Where the whole beam has smoothed the noise, the lowest frequencies, of which the total flux is, have twice the power
that $N \propto b$ has with the same noise in a pixel. Let the noise be correlated over a times the area of the beam,
which `data.blank_sky` measures: then $N(0)$ is a times as large, and $N \propto \max(a b^a, b)$. So the lowest
frequencies have the noise that was measured, and no frequency is trusted more than with $N \propto b$.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from casa_ml_tasks.kernels.dish_modes import DishModes, MapGrid

WHITE = 1e-4
"""Power of the white noise over that of the correlated noise at the lowest frequencies."""


def spectrum_of_noise(relative: NDArray[np.floating], correlation: float) -> NDArray[np.floating]:
    """Return the power of the noise over that which noise as correlated as the beam has at the lowest frequencies.

    Args:
        relative: modulus of the beam's transform over that at 0.
        correlation: area over which the noise is correlated, over that of the beam; at least 1.
    """
    return np.maximum(correlation * relative**correlation, relative)


@dataclass(frozen=True)
class MapPrecision:
    r"""$C^{-1}$ of a map's noise, $C = U R R^T U^T + \epsilon^2$, with the modes U at the pixels that count.

    By Woodbury's identity, with $K = R^T U^T U R + \epsilon^2$, $C^{-1} = \epsilon^{-2} (1 - U R K^{-1} R^T U^T)$:
    exact for any edge of the map.

    Attributes:
        modes: U.
        grid: of the map.
        counted: which pixels count, (ny, nx) of the map.
        root: R, (2 mode, 2 mode); $R R^T$ is the covariance of the amplitudes of cosines and sines.
        white: $\epsilon^2$.
    """

    modes: DishModes
    grid: MapGrid
    counted: NDArray[np.bool_]
    root: NDArray[np.floating]
    white: float

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        """$U^T U$."""
        return self.modes.gram(self.counted.astype(float), self.grid)

    @cached_property
    def _factor(self) -> tuple[NDArray[np.float64], bool]:
        """The Cholesky factor of K."""
        matrix = self.root.T @ self._gram @ self.root
        return cho_factor(matrix + self.white * np.eye(len(matrix)))

    @cached_property
    def of_modes(self) -> NDArray[np.float64]:
        """$U^T C^{-1} U$, (2 mode, 2 mode)."""
        mixed = self.root.T @ self._gram
        matrix = self._gram - mixed.T @ cho_solve(self._factor, mixed)
        return (matrix + matrix.T) / (2 * self.white)

    def of_pixels(self, pixels: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return $C^{-1}$ times a map, (..., ny, nx)."""
        pixels = self.counted * pixels
        modes = self.modes.analysed(pixels, self.grid) @ self.root
        solved = cho_solve(self._factor, modes.reshape(-1, modes.shape[-1]).T).T.reshape(modes.shape)
        explained = self.modes.synthesised(solved @ self.root.T, self.grid)
        return self.counted * (pixels - explained) / self.white


def noise_of_map(
    modes: DishModes,
    transforms: NDArray[np.complexfloating],
    grid: MapGrid,
    counted: NDArray[np.bool_],
    variance: NDArray[np.floating],
    correlation: float = 1.0,
) -> MapPrecision:
    r"""Return $C^{-1}$ of the noise that the module states.

    Args:
        modes, grid: of the map.
        transforms: of the beams at the modes, (channel, mode).
        counted: pixels that count, (ny, nx) of the map.
        variance: of the noise in each pixel, of mean 1; no feature below the beam's width matters, (ny, nx).
        correlation: area over which the noise is correlated, over that of the beam; at least 1.
    """
    relative = np.mean(np.abs(transforms), axis=0)
    relative = relative / relative.max()
    power = spectrum_of_noise(relative, correlation) / np.sum(modes.scale**2 * relative)
    share = abs(grid.step[0] * grid.step[1]) / modes.area
    uneven = np.where(counted, variance - 1, 0.0)
    root = np.tile(np.sqrt(power), 2)[:, None] * np.eye(2 * len(power))
    if np.any(uneven):
        varying = np.eye(len(root)) + share * modes.gram(uneven, grid)
        root = root @ np.linalg.cholesky(varying + WHITE * np.eye(len(root)))
    return MapPrecision(modes, grid, counted, root, float(WHITE * power.max() / share))
