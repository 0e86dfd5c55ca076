"""The Fourier transform between the images, or what a pointing sees of them, and visibilities."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.cuda.device import DeviceFactory
from casa_ml_tasks.kernels.cuda.gpu_operator import moved_to_gpu
from casa_ml_tasks.kernels.fourier_operator import fourier_operator
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.kernels.pointing_view import Offset, View, phase_of, turned_baselines
from casa_ml_tasks.kernels.uv_grid import within_nyquist
from casa_ml_tasks.kernels.w_term import MeasurementOperator, wide_field_operator

TOLERANCE = 1e-5  # relative l2 error of model visibilities

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Transform:
    """The Fourier transform between images and visibilities.

    Attributes:
        shape: (ny, nx) of the images.
        cell: size of a pixel, radians.
        w_term: respect it, where it matters.
        tolerance: relative l2 error of model visibilities.
        device: of the GPU that degrids and grids; None for the CPU. What is planned for a GPU stays in this process.
        offset: direction cosines l, m of the middle of the images from the direction that w is measured along.
    """

    shape: tuple[int, int]
    cell: float
    w_term: bool = True
    tolerance: float = TOLERANCE
    device: DeviceFactory | None = None
    offset: Offset = (0.0, 0.0)

    def of_view(self, view: View) -> Transform:
        """Return the transform between what a view sees of these images and visibilities."""
        return replace(self, shape=view.shape, offset=view.offset)

    def plan(self, uvw: NDArray[np.float64], usable: NDArray[np.bool_] | None = None) -> MeasurementOperator:
        """Return the operator for baselines (n, 3), wavelengths; usable: (n,), all by default.

        Its visibilities are phased to the middle of the images: those of the data are `phase` times them.
        """
        usable = None if usable is None else usable[:, None]
        turned, limits = self.baselines(uvw), (self.shape, self.cell, self.tolerance)
        operator: MeasurementOperator
        if self.w_term:
            operator = wide_field_operator(turned, 1.0, *limits, usable=usable, offset=self.offset)
        else:
            operator = fourier_operator(turned, 1.0, *limits, usable=usable)
        return operator if self.device is None else moved_to_gpu(operator, self.device)

    def baselines(self, uvw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return baselines (n, 3), wavelengths, as the middle of the images sees them."""
        return turned_baselines(uvw, self.offset) if self.w_term and any(self.offset) else uvw

    def phase(self, uvw: NDArray[np.float64]) -> NDArray[np.complex64] | None:
        """Return the phase of the middle of the images, (n,); None where it is 1 for all."""
        return phase_of(uvw, self.offset, self.w_term).astype(np.complex64) if any(self.offset) else None

    def psf(self, uvw: NDArray[np.float64], weight: Array) -> NDArray[np.float64]:
        """Return the PSF on twice the field, (2 ny, 2 nx), times the sum of the weights (n,); without w."""
        return psf_of_weights(self.baselines(uvw), 1.0, weight[:, None], self.shape, self.cell)

    def degrid(self, image: Array, uvw: NDArray[np.float64]) -> NDArray[np.complex64]:
        """Return the visibilities of an image, (n,), Jy; 0 where the baselines lie beyond the grid or are not finite.

        Args:
            image: (ny, nx), Jy/pixel.
            uvw: (n, 3), wavelengths.
        """
        usable = np.isfinite(uvw).all(axis=1) & within_nyquist(self.baselines(uvw), self.cell)
        if not (usable.any() and image.any()):
            return np.zeros(len(uvw), np.complex64)
        operator, phase = self.plan(uvw, usable), self.phase(uvw)
        visibilities = operator.restore(operator.degrid(image)).ravel()
        return visibilities if phase is None else np.where(usable, visibilities * phase, 0)
