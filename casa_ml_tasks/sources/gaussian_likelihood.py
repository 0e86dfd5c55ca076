r"""The likelihood of Gaussian sources, given a dirty image: exact, and without Fourier transforms of images.

With $\chi^2(m) = (m^T H m - 2 m^T d) / \sigma^2$, the first term is a sum over uv cells, where transforms of Gaussians
are known, the second one over the pixels around each source. Sources that reach beyond the image are cut there, in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.sources.gaussian_pixels import TAPS, Patch, patch, sharpened, sharpened_adjoint
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.uv_cells import UvCells

CUT = 5.0  # sigma; a source that is nearer to the edge of the image is transformed as its pixels are
PARAMETERS = 6  # x, y, covariance xx, xy and yy, flux


class Normal(NamedTuple):
    """The normal equations of all parameters at some sources.

    Attributes:
        chi2: without its constant.
        gradient: half the slope of -chi2, (parameter,).
        matrix: of Gauss and Newton, (parameter, parameter), the inverse of the parameters' covariance.
        noise: covariance of the gradient over noise, (parameter, parameter).
    """

    chi2: float
    gradient: NDArray[np.float64]
    matrix: NDArray[np.float64]
    noise: NDArray[np.float64]


@dataclass(frozen=True)
class GaussianLikelihood:
    """A dirty image and its noise, for parameters (source, PARAMETERS).

    Attributes:
        cells: of the uv plane.
        weights: of H in these cells, (cell,).
        noise_weights: of the covariance of the dirty image's noise, in units of its variance, (cell,).
        data: the dirty image, filtered for products with widened Gaussians, (ny + 2 TAPS, nx + 2 TAPS), Jy/beam.
        noise: standard deviation of the dirty image's noise, Jy/beam.
    """

    cells: UvCells
    weights: NDArray[np.float64]
    noise_weights: NDArray[np.float64]
    data: NDArray[np.float64]
    noise: float

    @classmethod
    def of(
        cls,
        dirty: NDArray[np.floating],
        operator: ConvolutionNormalOperator,
        noise: float,
        noise_transfer: NDArray[np.floating] | None = None,
    ) -> GaussianLikelihood:
        """Return the likelihood of a dirty image, (ny, nx), Jy/beam.

        Args:
            dirty: (ny, nx), Jy/beam.
            operator: H.
            noise: standard deviation of the dirty image's noise, Jy/beam.
            noise_transfer: power spectrum of the noise, (2 ny, nx + 1), with the mean 1 as PSFs have; that of H, as
                natural weights have it, by default.
        """
        transfer = np.asarray(operator.transfer, float)
        cells = UvCells.of(np.abs(transfer))
        weights = cells.weights(transfer)
        of_noise = weights if noise_transfer is None else cells.weights(np.asarray(noise_transfer, float))
        return cls(cells, weights, of_noise, sharpened_adjoint(np.asarray(dirty)), float(noise))

    def with_dirty(self, dirty: NDArray[np.floating]) -> GaussianLikelihood:
        """Return the likelihood of another dirty image of the same observation, (ny, nx), Jy/beam."""
        return replace(self, data=sharpened_adjoint(np.asarray(dirty)))

    def chi2(self, parameters: NDArray[np.float64]) -> float:
        """Return chi^2 without its constant."""
        spectrum = np.zeros(len(self.weights), complex)
        product = 0.0
        for source, place, cut in self._sources(parameters):
            product += source[5] * np.vdot(place.values, self.data[place.where])
            spectrum += self._cut(source[5] * place.values[None], place)[0] if cut else self._spectrum(source)
        power = spectrum.real**2 + spectrum.imag**2
        return float(self.weights @ power - 2 * product) / self.noise**2

    def fluxes(self, parameters: NDArray[np.float64]) -> tuple[NDArray[np.float64], Normal]:
        """Return the fluxes of least chi^2, (source,), and their normal equations at fluxes of 0."""
        unit = parameters.copy()
        unit[:, 5] = 1
        spectra = np.empty((len(unit), len(self.weights)), complex)
        product = np.empty(len(unit))
        for k, (source, place, cut) in enumerate(self._sources(unit)):
            product[k] = np.vdot(place.values, self.data[place.where])
            spectra[k] = self._cut(place.values[None], place)[0] if cut else self._spectrum(source)
        normal = self._normal(0.0, product, spectra)
        return np.linalg.lstsq(normal.matrix, normal.gradient, rcond=1e-10)[0], normal

    def linearised(self, parameters: NDArray[np.float64]) -> Normal:
        """Return the normal equations of all parameters."""
        columns = np.empty((len(parameters), PARAMETERS, len(self.weights)), complex)
        product = np.empty((len(parameters), PARAMETERS))
        for k, (source, place, cut) in enumerate(self._sources(parameters)):
            derivatives = place.derivatives(source[5])
            product[k] = np.tensordot(derivatives, self.data[place.where], 2)
            columns[k] = self._cut(derivatives, place) if cut else self._columns(source)
        spectrum = np.tensordot(parameters[:, 5], columns[:, 5], 1)
        power = spectrum.real**2 + spectrum.imag**2
        chi2 = float(self.weights @ power - 2 * product[:, 5] @ parameters[:, 5]) / self.noise**2
        columns = columns.reshape(-1, len(self.weights))
        weighted = self.weights * spectrum
        of_model = columns.real @ weighted.real + columns.imag @ weighted.imag
        return self._normal(chi2, product.ravel() - of_model, columns)

    def _normal(self, chi2: float, gradient: NDArray[np.float64], columns: NDArray[np.complex128]) -> Normal:
        parts = columns.view(float)  # real and imaginary parts in turns
        matrix = (parts * np.repeat(self.weights, 2)) @ parts.T / self.noise**2
        noise = matrix
        if self.noise_weights is not self.weights:
            noise = (parts * np.repeat(self.noise_weights, 2)) @ parts.T / self.noise**2
        return Normal(chi2, gradient / self.noise**2, matrix, noise)

    def _sources(self, parameters: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.float64], Patch, bool]]:
        """Yield every source, its pixels, and whether the edge of the image cuts it."""
        ny, nx = self.cells.shape
        for source in parameters:
            x, y, xx, _, yy, _ = source
            reach_x, reach_y = CUT * np.sqrt(xx) + TAPS / 2, CUT * np.sqrt(yy) + TAPS / 2
            cut = x < reach_x or y < reach_y or x > nx - 1 - reach_x or y > ny - 1 - reach_y
            yield source, patch(x, y, source[2:5], self.cells.shape), bool(cut)

    def _spectrum(self, source: NDArray[np.float64]) -> NDArray[np.complex128]:
        x, y, *covariance, flux = source
        gaussian = Gaussians.from_covariances(x, y, np.array([covariance]), flux)
        return gaussian.spectra(self.cells.u, self.cells.v)[0]

    def _columns(self, source: NDArray[np.float64]) -> NDArray[np.complex128]:
        r"""Return the transforms of the derivatives, of which those of $e^{-2\pi i ux}$ and so on are known."""
        unit = source.copy()
        unit[5] = 1
        spectrum = self._spectrum(unit)
        u, v, flux = 2 * np.pi * self.cells.u, 2 * np.pi * self.cells.v, source[5]
        whole = flux * spectrum
        return np.stack(
            [-1j * u * whole, -1j * v * whole, -(u**2) / 2 * whole, -u * v * whole, -(v**2) / 2 * whole, spectrum]
        )

    def _cut(self, widened: NDArray[np.float64], place: Patch) -> NDArray[np.complex128]:
        """Return the transforms of images as the edge cuts them, (image, y, x) to (image, cell)."""
        ny, nx = self.cells.shape
        field = np.zeros((len(widened), ny + 2 * TAPS, nx + 2 * TAPS))
        field[(slice(None), *place.where)] = widened
        return self.cells.transforms(sharpened(field))
