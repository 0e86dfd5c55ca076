r"""The likelihood of Gaussian sources, given a dirty image: exact, and without Fourier transforms of whole images.

With $\chi^2(m) = (m^T H m - 2 m^T d) / \sigma^2$, the first term is a sum over uv cells, where transforms of Gaussians
are known, the second one over the pixels around each source. Sources that reach beyond the image are cut at its edge in
both terms; those alone need transforms of their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.sources.gaussian_pixels import TAPS, Patch, patch, sharpened_adjoint, sharpened_patch
from casa_ml_tasks.sources.uv_cells import UvCells

CUT = 4.5  # sigma; a source that is nearer to the edge of the image is cut there
STRONG = 1e-3  # of the largest weight; the others, a few per cent together, are left out of the matrix
PARAMETERS = 6  # x, y, covariance xx, xy and yy, flux


class Sources(NamedTuple):
    """Sources as the likelihood sees them.

    Attributes:
        parameters: (source, PARAMETERS).
        patches: their pixels.
        cut: whether the edge of the image cuts them, (source,).
        spectra: transforms for flux 1, (source, cell).
        products: of flux 1 with the dirty image, (source,), Jy/beam.
        chi2: without its constant.
    """

    parameters: NDArray[np.float64]
    patches: list[Patch]
    cut: NDArray[np.bool_]
    spectra: NDArray[np.complex128]
    products: NDArray[np.float64]
    chi2: float


class Normal(NamedTuple):
    """Normal equations.

    Attributes:
        gradient: half the slope of -chi2, (parameter,).
        matrix: of Gauss and Newton, (parameter, parameter); its inverse is the parameters' covariance.
        noise: covariance of the gradient over noise, (parameter, parameter); with natural weights that matrix.
    """

    gradient: NDArray[np.float64]
    matrix: NDArray[np.float64]
    noise: NDArray[np.float64]


@dataclass(frozen=True)
class GaussianLikelihood:
    """A dirty image and its noise.

    Attributes:
        cells: of the uv plane, with the weights of H.
        noise_weights: the same of the covariance of the dirty image's noise of variance 1, (cell,).
        data: the dirty image, filtered for products with widened Gaussians, (ny + 2 TAPS, nx + 2 TAPS), Jy/beam.
        noise: standard deviation of the dirty image's noise, Jy/beam.
    """

    cells: UvCells
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
        """Return the likelihood of a dirty image.

        Args:
            dirty: (ny, nx), Jy/beam.
            operator: H.
            noise: standard deviation of the dirty image's noise, Jy/beam.
            noise_transfer: power spectrum of the noise, (2 ny, nx + 1), with the mean 1 as PSFs have; that of H, as
                natural weights have it, by default.
        """
        cells = UvCells.of(np.asarray(operator.transfer, float))
        of_noise = cells.weights if noise_transfer is None else cells.weights_of(np.asarray(noise_transfer, float))
        return cls(cells, of_noise, sharpened_adjoint(np.asarray(dirty)), float(noise))

    def with_dirty(self, dirty: NDArray[np.floating]) -> GaussianLikelihood:
        """Return the likelihood of another dirty image of the same observation, (ny, nx), Jy/beam."""
        return replace(self, data=sharpened_adjoint(np.asarray(dirty)))

    def sources(self, parameters: NDArray[np.float64]) -> Sources:
        """Return the sources of some parameters."""
        patches = [patch(source[0], source[1], source[2:5], self.cells.shape) for source in parameters]
        reach = CUT * np.sqrt(parameters[:, [2, 4]]) + TAPS / 2
        ny, nx = self.cells.shape
        place = parameters[:, :2]
        cut = np.any((place < reach) | (place > np.array([nx - 1, ny - 1]) - reach), axis=1)
        spectra = np.empty((len(parameters), len(self.cells.weights)), complex)
        products = np.empty(len(parameters))
        for k, (source, pixels) in enumerate(zip(parameters, patches, strict=True)):
            products[k] = np.vdot(pixels.values, self.data[pixels.where])
            if cut[k]:
                spectra[k] = self._cut(pixels.values[None], pixels)[0]
            else:
                spectra[k] = self.cells.gaussian(source[0], source[1], source[2:5])
        spectrum = parameters[:, 5] @ spectra
        power = spectrum.real**2 + spectrum.imag**2
        chi2 = float(self.cells.weights @ power - 2 * products @ parameters[:, 5]) / self.noise**2
        return Sources(parameters, patches, cut, spectra, products, chi2)

    def of_fluxes(self, sources: Sources) -> Normal:
        """Return the normal equations of the fluxes at fluxes of 0: their solution has the least chi^2."""
        matrix = _products(sources.spectra, self.cells.weights) / self.noise**2
        noise = matrix
        if self.noise_weights is not self.cells.weights:
            noise = _products(sources.spectra, self.noise_weights) / self.noise**2
        return Normal(sources.products / self.noise**2, matrix, noise)

    def linearised(self, sources: Sources) -> Normal:
        """Return the normal equations of all parameters."""
        strong, monomials, cells = self._strong
        weighted = (sources.parameters[:, 5] @ sources.spectra) * self.cells.weights
        gradient = np.empty((len(sources.patches), PARAMETERS))
        columns = np.empty((len(sources.patches), PARAMETERS, len(cells.weights)), complex)
        for k, (parameters, pixels) in enumerate(zip(sources.parameters, sources.patches, strict=True)):
            derivatives = pixels.derivatives(parameters[5])
            scale = np.append(np.full(5, parameters[5]), 1)
            if sources.cut[k]:
                transforms = self._cut(derivatives, pixels)
                of_model = transforms.real @ weighted.real + transforms.imag @ weighted.imag
                columns[k] = transforms[:, strong]
            else:
                product = sources.spectra[k].conj() * weighted
                of_model = scale * np.concatenate([-monomials[:2] @ product.imag, monomials[2:] @ product.real])
                phase = np.array([-1j, -1j, 1, 1, 1, 1]) * scale
                columns[k] = phase[:, None] * monomials[:, strong] * sources.spectra[k, strong]
            gradient[k] = np.tensordot(derivatives, self.data[pixels.where], 2) - of_model
        matrix = _products(columns, cells.weights) / self.noise**2
        noise = matrix
        if self.noise_weights is not self.cells.weights:
            noise = _products(columns, self.noise_weights[strong]) / self.noise**2
        return Normal(gradient.ravel() / self.noise**2, matrix, noise)

    @cached_property
    def _strong(self) -> tuple[NDArray[np.bool_], NDArray[np.float64], UvCells]:
        """Which cells are strong, the monomials of all cells, and the strong ones."""
        size = np.abs(self.cells.weights)
        strong = size > STRONG * size.max()
        return strong, self.cells.monomials(), self.cells.chosen(strong)

    def _cut(self, widened: NDArray[np.float64], pixels: Patch) -> NDArray[np.complex128]:
        """Return the transforms of images as the edge cuts them, (image, y, x) to (image, cell)."""
        where, images = sharpened_patch(widened, pixels.where, self.cells.shape)
        return self.cells.transforms(images, where)


def _products(columns: NDArray[np.complex128], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the products of all pairs of transforms, (column, column)."""
    parts = columns.reshape(-1, len(weights)).view(float)  # real and imaginary parts in turns
    return (parts * np.repeat(weights, 2)) @ parts.T
