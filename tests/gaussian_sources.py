"""Small fields of Gaussian sources with random uv coverage, for tests of what finds and fits them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.sources.gaussians import Gaussians


@dataclass(frozen=True)
class Field:
    """An observation with natural weights.

    Attributes:
        transfer: (2 ny, 2 nx), of the PSF with peak 1: the weights on the uv cells of twice the field.
    """

    transfer: NDArray[np.float64]

    @classmethod
    def random(
        cls, shape: tuple[int, int], rng: np.random.Generator, samples: int = 4000, width: float = 0.075
    ) -> Field:
        """Return an observation of Gaussian uv coverage.

        Args:
            shape: (ny, nx).
            rng: of the samples.
            samples: of the uv plane.
            width: standard deviation along u and v, cycles a pixel; 0.075 makes a beam of 5 pixels.
        """
        ny, nx = shape
        uv = rng.normal(scale=width, size=(2, samples))
        uv = uv[:, np.hypot(*uv) < 0.3]
        row, column = np.rint(uv[1] * 2 * ny).astype(int), np.rint(uv[0] * 2 * nx).astype(int)
        weights = np.zeros((2 * ny, 2 * nx))
        np.add.at(weights, (row, column), 1.0)
        np.add.at(weights, (-row, -column), 1.0)
        return cls(weights / weights.mean())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the field."""
        return self.transfer.shape[0] // 2, self.transfer.shape[1] // 2

    def psf(self) -> NDArray[np.float64]:
        """Return the PSF, with its peak in the pixel (ny, nx), (2 ny, 2 nx)."""
        return np.fft.fftshift(np.fft.ifft2(self.transfer).real)

    def operator(self) -> ConvolutionNormalOperator:
        """Return H."""
        return ConvolutionNormalOperator.from_psf(self.psf())

    def dirty(self, image: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the dirty image of an image."""
        ny, nx = self.shape
        return np.fft.ifft2(np.fft.fft2(image, self.transfer.shape) * self.transfer).real[:ny, :nx]

    def noise(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return noise of standard deviation 1 with the covariance H."""
        ny, nx = self.shape
        white = np.fft.fft2(rng.normal(size=self.transfer.shape))
        return np.fft.ifft2(np.sqrt(self.transfer) * white).real[:ny, :nx]


def sampled(sources: Gaussians, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the images of single sources of flux 1, their values at the pixels, (source, ny, nx)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    images = []
    for k in range(len(sources)):
        c, s = np.cos(sources.angle[k]), np.sin(sources.angle[k])
        along = (x - sources.x[k]) * c + (y - sources.y[k]) * s
        across = (y - sources.y[k]) * c - (x - sources.x[k]) * s
        image = np.exp(-4 * np.log(2) * ((along / sources.major[k]) ** 2 + (across / sources.minor[k]) ** 2))
        images.append(image * 4 * np.log(2) / np.pi / sources.major[k] / sources.minor[k])
    return np.array(images)
