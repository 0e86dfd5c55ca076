"""Visibilities planned for one image, and the sums of their weights. Nothing here knows CASA or holds a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.cuda.device import DeviceFactory
from casa_ml_tasks.kernels.cuda.gpu_operator import moved_to_gpu
from casa_ml_tasks.kernels.fourier_operator import fourier_operator
from casa_ml_tasks.kernels.neighbouring_field import rotation_beside, turns_of
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.kernels.uv_annuli import annulus_of, longest_on_grid
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
    """

    shape: tuple[int, int]
    cell: float
    w_term: bool = True
    tolerance: float = TOLERANCE
    device: DeviceFactory | None = None

    def plan(self, uvw: NDArray[np.float64], usable: NDArray[np.bool_] | None = None) -> MeasurementOperator:
        """Return the operator for baselines (n, 3), wavelengths; usable: (n,), all by default."""
        make = wide_field_operator if self.w_term else fourier_operator
        usable = None if usable is None else usable[:, None]
        operator = make(uvw, 1.0, self.shape, self.cell, self.tolerance, usable=usable)
        return operator if self.device is None else moved_to_gpu(operator, self.device)

    def psf(self, uvw: NDArray[np.float64], weight: Array) -> NDArray[np.float64]:
        """Return the PSF on twice the field, (2 ny, 2 nx), times the sum of the weights (n,); without w."""
        return psf_of_weights(uvw, 1.0, weight[:, None], self.shape, self.cell)

    def degrid(self, image: Array, uvw: NDArray[np.float64]) -> NDArray[np.complex64]:
        """Return the visibilities of an image, (n,), Jy; 0 where the baselines lie beyond the grid or are not finite.

        Args:
            image: (ny, nx), Jy/pixel.
            uvw: (n, 3), wavelengths.
        """
        usable = np.isfinite(uvw).all(axis=1) & within_nyquist(uvw, self.cell)
        if not (usable.any() and image.any()):
            return np.zeros(len(uvw), np.complex64)
        operator = self.plan(uvw, usable)
        return operator.restore(operator.degrid(image)).ravel()


@dataclass(frozen=True)
class WeightedVisibilities:
    """Some visibilities of one image channel with their weights.

    Attributes:
        channel: of the image.
        uvw: (n, 3), wavelengths.
        visibility: (n,), Jy.
        weight: (n,), imaging weights.
        natural: (n,), the natural weights that the imaging weights were made from, Jy^-2.
        nominal: (n,), weights that claim the noise of each, errors of calibration included, Jy^-2.
        thermal: (n,), weights that claim the thermal noise alone, Jy^-2.
    """

    channel: int
    uvw: NDArray[np.float64]
    visibility: NDArray[np.complexfloating]
    weight: Array
    natural: Array
    nominal: Array
    thermal: Array


@dataclass(frozen=True)
class PlannedChunk:
    """Some visibilities of one image channel, in the order of their plan; arrays are (visibility,).

    Attributes:
        channel: of the image.
        operator: between an image and these visibilities.
        data: Jy, conjugated where u < 0.
        weight: imaging weights.
        nominal, thermal: as those of `WeightedVisibilities`; the same array where they are equal.
        annulus: of uv distance.
        turns: number in `ROTATIONS`, towards the neighbouring field.
        fold: of cross-validation; None without.
    """

    channel: int
    operator: MeasurementOperator
    data: NDArray[np.complexfloating]
    weight: Array
    nominal: Array
    thermal: Array
    annulus: NDArray[np.uint16]
    turns: NDArray[np.uint8]
    fold: NDArray[np.uint8] | None

    @classmethod
    def of(
        cls,
        part: WeightedVisibilities,
        plan: MeasurementOperator,
        transform: Transform,
        fold: NDArray[np.uint8] | None,
    ) -> PlannedChunk:
        """Sort visibilities, and their folds, into the order of a plan."""
        weight = plan.sort(part.weight)
        nominal = weight if np.array_equal(part.weight, part.nominal) else plan.sort(part.nominal)
        thermal = nominal if np.array_equal(part.nominal, part.thermal) else plan.sort(part.thermal)
        annulus = plan.sort(annulus_of(part.uvw, longest_on_grid(transform.cell)))
        turns = turns_of(plan.sort(rotation_beside(part.uvw, transform.shape, transform.cell)))
        data, sorted_fold = plan.sort(part.visibility), None if fold is None else plan.sort(fold)
        return cls(part.channel, plan, data, weight, nominal, thermal, annulus, turns, sorted_fold)


@dataclass
class WeightSums:
    """Sums over the imaging weights g of visibilities; those of several parts add.

    Attributes:
        weight: of g, (channel,).
        squares: of g^2 / w with the natural weights w, (channel,).
        psf: of g times the response on twice the field, (channel, 1, 2 ny, 2 nx).
        fold_psf: the same of each fold and of the core, (fold + 1, 2 ny, 2 nx); empty without folds.
    """

    weight: NDArray[np.float64]
    squares: NDArray[np.float64]
    psf: Image
    fold_psf: Image

    @classmethod
    def none(cls, channels: int, shape: tuple[int, int], fold_count: int) -> WeightSums:
        """Return the sums over no visibility."""
        doubled = (2 * shape[0], 2 * shape[1])
        fold_psf = np.zeros((fold_count + 1, *doubled) if fold_count else 0, np.float32)
        psf = np.zeros((channels, 1, *doubled), np.float32)
        return cls(np.zeros(channels), np.zeros(channels), psf, fold_psf)

    def __add__(self, other: WeightSums) -> WeightSums:
        return WeightSums(
            self.weight + other.weight,
            self.squares + other.squares,
            self.psf + other.psf,
            self.fold_psf + other.fold_psf,
        )

    def add(self, part: WeightedVisibilities, transform: Transform, fold: NDArray[np.uint8] | None) -> None:
        """Add some visibilities in place, and those of each fold."""
        self.weight[part.channel] += part.weight.sum(dtype=float)
        self.squares[part.channel] += sum_of_squares(part.weight, part.natural)
        self.psf[part.channel, 0] += transform.psf(part.uvw, part.weight)
        if fold is not None:
            for number in np.unique(fold):
                members = fold == number
                self.fold_psf[number] += transform.psf(part.uvw[members], part.weight[members])


def sum_of_squares(weight: NDArray[np.floating], natural: NDArray[np.floating]) -> float:
    """Return the sum of g^2 / w over visibilities of natural weight w above 0. weight: g, natural: w, (visibility,)."""
    trusted = natural > 0
    squares = np.divide(weight.astype(float) ** 2, natural, where=trusted, out=np.zeros(trusted.size))
    return float(squares.sum())
