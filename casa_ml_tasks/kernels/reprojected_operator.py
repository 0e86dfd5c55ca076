"""Normal operator and likelihood of a sky in another frame than the SIN frame of the visibilities."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import NormalOperator, transfer_function
from casa_ml_tasks.kernels.reprojection import Reprojection


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ReprojectedNormalOperator:
    r"""$R^T H R$ of skies, Jy/pixel to Jy/beam: exact, with one reprojection R for all pointings in H.

    Attributes:
        reprojection: R, of skies to images.
        operator: H, of images.
        transfer: of the convolution that is nearest to it, (..., 2 ny, nx + 1) of the sky.
    """

    reprojection: Reprojection
    operator: NormalOperator
    transfer: jax.Array

    @classmethod
    def of(
        cls, reprojection: Reprojection, operator: NormalOperator, jacobian: NDArray[np.floating]
    ) -> ReprojectedNormalOperator:
        """Return the operator.

        Args:
            reprojection: R.
            operator: H.
            jacobian: pixels of the image, y and x, by pixels of the sky, y and x, at the sky's centre, (2, 2).
        """
        psf = np.fft.fftshift(np.fft.irfft2(np.asarray(operator.transfer, float)), axes=(-2, -1))
        planes = [psf_on_sky(each, jacobian, reprojection.sky_shape) for each in psf.reshape(-1, *psf.shape[-2:])]
        on_sky = np.reshape(planes, (*psf.shape[:-2], *planes[0].shape))
        return cls(reprojection, operator, transfer_function(on_sky, operator.transfer.dtype))

    @jax.jit
    def __call__(self, sky: jax.Array) -> jax.Array:
        """Return the dirty image at the sky's pixels; (..., ny, nx), Jy/pixel to Jy/beam."""
        return self.reprojection.adjoint(self.operator(self.reprojection(sky)))

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue: the product of those of H and of $R^T R$."""
        return self.reprojection.norm() * self.operator.spectral_norm()


def reprojected(
    likelihood: QuadraticLikelihood,
    reprojection: Reprojection,
    sky: jax.Array,
    jacobian: NDArray[np.floating],
) -> QuadraticLikelihood:
    """Return the likelihood of a sky whose image has a likelihood.

    Args:
        likelihood: of images, around that of the sky.
        reprojection: R, of skies to images.
        sky: whose image R gives the likelihood's model, (..., ny, nx), Jy/pixel.
        jacobian: as `ReprojectedNormalOperator.of` has it.
    """
    operator = ReprojectedNormalOperator.of(reprojection, likelihood.operator, jacobian)
    return QuadraticLikelihood(operator, reprojection.adjoint(likelihood.residual), sky, likelihood.sigma)


def psf_on_sky(psf: NDArray[np.float64], jacobian: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return a PSF between the pixels of a sky, (2 ny, 2 nx), Jy/beam, peak in the pixel (ny, nx), 0 where unknown.

    Args:
        psf: (2 height, 2 width), peak in the pixel (height, width), Jy/beam.
        jacobian: as `ReprojectedNormalOperator.of` has it.
        shape: (ny, nx) of the sky.
    """
    peak = tuple(n // 2 for n in psf.shape)
    lags = np.indices([2 * n for n in shape]) - np.reshape(shape, (2, 1, 1))
    places = np.tensordot(jacobian, lags, 1) + np.reshape(peak, (2, 1, 1))
    return map_coordinates(psf, places, order=3, mode="constant")
