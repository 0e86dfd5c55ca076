"""`FourierOperator` on a GPU: the same plan, methods and results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.cuda.device import Buffer, Device, DeviceFactory, PycudaDevice
from casa_ml_tasks.kernels.fourier_operator import FourierOperator
from casa_ml_tasks.kernels.uv_grid import UVGrid
from casa_ml_tasks.kernels.uv_plan import UVPlan
from casa_ml_tasks.kernels.w_expansion import ExpandedOperator
from casa_ml_tasks.kernels.w_term import MeasurementOperator

LANES = 32  # of a warp
BLOCK = 128  # threads of the kernels in which threads do not meet
WARPS = {"float32": 4, "float64": 2}  # of a block where they do: WARPS in gridding.cu
ENOUGH_WARPS = 132 * 32  # half of those that an H200 keeps in flight
MOST_BATCHES = 16  # of LANES visibilities for a warp; more would not save many additions to the grid


@dataclass(frozen=True)
class GpuFourierOperator:
    r"""$V_k = \sum_{yx} I_{yx} \exp(2\pi i(u_k l_x + v_k m_y))$ and its adjoint, as `FourierOperator`.

    Every array may be numpy's or on the GPU (pycuda's GPUArray, of the grid's precision). A result is where the image
    or the visibilities that it was made from are, so an iteration that keeps everything on the GPU copies nothing.

    Attributes:
        plan: of the visibilities.
        uvgrid: that they are on.
        threads: of the CPU, for `sort` and `restore`.
        device: with the kernels.
    """

    plan: UVPlan
    uvgrid: UVGrid
    threads: int
    device: Device

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.uvgrid.shape

    def sort(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return values of the caller's order in the plan's, (visibility,), conjugated where it folds."""
        return self.plan.sort(visibilities, self.threads)

    def restore(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return values in the caller's order, (total,), 0 where masked: the inverse of `sort`."""
        return self.plan.restore(visibilities, self.threads)

    def upload(self, values: NDArray[Any]) -> Buffer:
        """Return an image, visibilities or weights on the GPU, real or complex, for calls that use them again."""
        return self.device.upload(values, self._complex if np.iscomplexobj(values) else self.uvgrid.precision)

    def degrid(self, image: NDArray[np.floating] | Buffer) -> NDArray[np.complexfloating] | Buffer:
        """Return the visibilities of an image, (visibility,), Jy. image: (ny, nx), Jy/pixel."""
        return self._beside(image, self.degrid_from(self._from_image(image)))

    def grid(self, visibilities: NDArray[np.complexfloating] | Buffer) -> NDArray[np.floating] | Buffer:
        r"""Return the adjoint, $\sum_k \mathrm{Re}\,V_k \exp(-2\pi i(u_k l_x + v_k m_y))$, (ny, nx), not normalised."""
        grid = self.device.zeros(self.uvgrid.size, self._complex)
        self.grid_onto(visibilities, grid)
        return self._beside(visibilities, self._to_image(grid))

    def gradient(
        self,
        image: NDArray[np.floating] | Buffer,
        data: NDArray[np.complexfloating] | Buffer,
        weight: NDArray[np.floating] | Buffer,
    ) -> tuple[float, NDArray[np.floating] | Buffer]:
        r"""Return $\chi^2 = \sum_k w_k |V_k - d_k|^2$ and $F^H W (F I - d)$, (ny, nx), in one pass over the data.

        Args:
            image: (ny, nx), Jy/pixel.
            data: d, (visibility,), Jy.
            weight: w, (visibility,), Jy^-2.
        """
        values, weights = self._numbers(data, self._complex), self._numbers(weight, self.uvgrid.precision)
        model = self._from_image(image)
        grid = self.device.zeros(self.uvgrid.size, self._complex)
        blocks, warps, batches = self._shares()
        misfit = self.device.empty((blocks * warps,), np.float64)
        self.device.launch(
            "gradient", 1, blocks, warps * LANES, model, grid, *self._visibilities, batches, values, weights, misfit
        )
        return self.device.sum(misfit), self._beside(image, self._to_image(grid))

    def degrid_from(self, grid: Buffer) -> Buffer:
        """Return visibilities, (visibility,), from a grid, (rows, columns), both on the GPU."""
        visibilities = self.device.empty(self.plan.order.shape, self._complex)
        blocks = -(-self.plan.order.size // BLOCK)
        self.device.launch("degrid", 1, blocks, BLOCK, grid, *self._visibilities, visibilities)
        return visibilities

    def grid_onto(self, visibilities: NDArray[np.complexfloating] | Buffer, grid: Buffer) -> None:
        """Add visibilities, (visibility,), to a grid, (rows, columns), on the GPU."""
        values = self._numbers(visibilities, self._complex)
        blocks, warps, batches = self._shares()
        self.device.launch("grid", 1, blocks, warps * LANES, grid, *self._visibilities, batches, values)

    @cached_property
    def _complex(self) -> np.dtype:
        return np.result_type(self.uvgrid.precision, np.complex64)

    @cached_property
    def _visibilities(self) -> tuple[Any, ...]:
        """Return what every kernel takes: the grid's stride, corners and positions of visibilities, their number."""
        corner = np.repeat(self.plan.cells.astype(np.int32), np.diff(self.plan.starts))
        return (
            np.int32(self.uvgrid.size[1]),
            self.device.upload(corner, np.int32),
            self.device.upload(self.plan.position, self.uvgrid.precision),
            np.int64(self.plan.order.size),
        )

    @cached_property
    def _correction(self) -> tuple[Any, ...]:
        """Return the arguments of `pad` and `crop`: correction along y and x, and both sizes of the image."""
        corrections = (self.device.upload(each.reshape(-1), self.uvgrid.precision) for each in self.uvgrid.correction)
        return (*corrections, *map(np.int32, (*self.shape, *self.uvgrid.padded)))

    def _shares(self) -> tuple[int, int, np.int32]:
        """Return blocks, warps a block, and batches of LANES visibilities a warp."""
        warps, count = WARPS[self.uvgrid.precision.name], self.plan.order.size
        batches = min(max(count // (LANES * ENOUGH_WARPS), 1), MOST_BATCHES)
        return -(-count // (LANES * batches * warps)), warps, np.int32(batches)

    def _from_image(self, image: NDArray[np.floating] | Buffer) -> Buffer:
        """Return the grid to degrid from, (rows, columns)."""
        if image.shape != self.shape:
            raise ValueError(f"image of shape {image.shape} for a plan of images of {self.shape}")
        device, (height, width), (rows, columns) = self.device, self.uvgrid.padded, self.uvgrid.size
        padded = device.empty((height, width), self.uvgrid.precision)
        image = device.upload(image, self.uvgrid.precision)
        device.launch("pad", height, -(-width // BLOCK), BLOCK, image, *self._correction, padded)
        spectrum = device.empty((height, width // 2 + 1), self._complex)
        device.rfft2(padded, spectrum)
        grid = device.empty((rows, columns), self._complex)
        sizes = map(np.int32, (height, width, self.uvgrid.row_of_zero, self.uvgrid.margin, columns))
        device.launch("cut_out", rows, -(-columns // BLOCK), BLOCK, spectrum, *sizes, grid)
        return grid

    def _to_image(self, grid: Buffer) -> Buffer:
        """Return the image of a grid: the adjoint of `_from_image`."""
        device, (height, width), (rows, columns) = self.device, self.uvgrid.padded, self.uvgrid.size
        half = width // 2 + 1
        spectrum = device.empty((height, half), self._complex)
        sizes = map(np.int32, (height, width, self.uvgrid.row_of_zero, self.uvgrid.margin, rows, columns))
        device.launch("fold", height, -(-half // BLOCK), BLOCK, grid, *sizes, spectrum)
        padded = device.empty((height, width), self.uvgrid.precision)
        device.irfft2(spectrum, padded)
        image = device.empty(self.shape, self.uvgrid.precision)
        device.launch("crop", self.shape[0], -(-self.shape[1] // BLOCK), BLOCK, padded, *self._correction, image)
        return image

    def _numbers(self, values: NDArray[Any] | Buffer, dtype: np.dtype) -> Buffer:
        if values.shape != self.plan.order.shape:
            raise ValueError(f"visibilities of shape {values.shape} for a plan of {self.plan.order.shape}; sort them")
        return self.device.upload(values, dtype)

    def _beside(self, source: NDArray[Any] | Buffer, result: Buffer) -> NDArray[Any] | Buffer:
        return self.device.download(result) if isinstance(source, np.ndarray) else result


def on_gpu(operator: FourierOperator, device: DeviceFactory = PycudaDevice) -> GpuFourierOperator:
    """Return the same operator on a GPU.

    Args:
        operator: as `fourier_operator` plans it.
        device: what makes the device for its grid.

    Raises:
        RuntimeError: there is no pycuda, pyvkfft, nvcc or GPU.
        ValueError: the grid has more cells or rows than the kernels count to.
    """
    rows, columns = operator.uvgrid.size
    if rows * columns >= 2**31 or max(rows, operator.uvgrid.padded[0]) >= 2**16:
        raise ValueError(f"a uv grid of {rows} x {columns} cells is beyond the GPU kernels; compute it on the CPU")
    return GpuFourierOperator(operator.plan, operator.uvgrid, operator.threads, device(operator.uvgrid))


def moved_to_gpu(operator: MeasurementOperator, device: DeviceFactory = PycudaDevice) -> MeasurementOperator:
    """Return the operator on a GPU, with its w-term; planes of w, where w is large, stay on the CPU.

    Arguments and errors are those of `on_gpu`.
    """
    if isinstance(operator, FourierOperator):
        return on_gpu(operator, device)
    if isinstance(operator, ExpandedOperator) and isinstance(operator.flat, FourierOperator):
        return replace(operator, flat=on_gpu(operator.flat, device))
    return operator
