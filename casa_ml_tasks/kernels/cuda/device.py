"""What the GPU's Fourier operator asks of a device, and NVIDIA GPUs through pycuda and VkFFT."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from casa_ml_tasks.kernels.gridding_kernel import kaiser_bessel
from casa_ml_tasks.kernels.uv_grid import UVGrid

#: Memory of the device, with shape and dtype; what it is else is the device's affair.
Buffer = Any


class Device(Protocol):
    """Memory, kernels of `gridding.cu` compiled for one UVGrid, and FFTs of its padded size."""

    def upload(self, array: NDArray[Any] | Buffer, dtype: DTypeLike) -> Buffer:
        """Return a copy on the device; what is there already is returned as it is."""

    def download(self, buffer: Buffer) -> NDArray[Any]:
        """Return a copy in the host's memory."""

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Buffer:
        """Return an array of zeros on the device."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Buffer:
        """Return an array of any values on the device."""

    def launch(self, kernel: str, rows: int, columns: int, block: int, *arguments: Buffer | np.generic) -> None:
        """Start `rows` x `columns` blocks of `block` threads."""

    def rfft2(self, padded: Buffer, spectrum: Buffer) -> None:
        """Write numpy's rfft2 into `spectrum`."""

    def irfft2(self, spectrum: Buffer, padded: Buffer) -> None:
        """Write numpy's irfft2 with norm="forward" into `padded`; the spectrum may be overwritten."""

    def sum(self, buffer: Buffer) -> float:
        """Return the sum of all elements."""


DeviceFactory = Callable[[UVGrid], Device]


def source() -> str:
    """Return the CUDA C of all kernels."""
    return files("casa_ml_tasks.kernels.cuda").joinpath("gridding.cu").read_text()


def definitions(precision: np.dtype, support: int, powers: int) -> list[str]:
    """Return the compiler options that choose the gridding kernel; precision is float32 or float64."""
    real = {"float32": "float", "float64": "double"}[np.dtype(precision).name]
    return [f"-DREAL={real}", f"-DREAL2={real}2", f"-DSUPPORT={support}", f"-DPOWERS={powers}"]


def check_gpu() -> None:
    """Check that a GPU is there with all that compiles and runs the kernels.

    Raises:
        RuntimeError: there is no pycuda, pyvkfft, nvcc or GPU.
    """
    PycudaDevice(UVGrid((2, 2), 1e-5, kaiser_bessel(4, 2.0, 1e-3), np.dtype(np.float32), (0.1, 0.1)))


class PycudaDevice:
    """The GPU that pycuda chooses (CUDA_DEVICE), in the context that other libraries share."""

    def __init__(self, uvgrid: UVGrid):
        """Compile the kernels and plan the FFTs.

        Raises:
            RuntimeError: there is no pycuda, pyvkfft, nvcc or GPU.
        """
        try:
            from pycuda import driver, gpuarray
            from pycuda.compiler import SourceModule
            from pycuda.tools import DeviceMemoryPool
            from pyvkfft.cuda import VkFFTApp
        except (ImportError, OSError) as error:
            raise RuntimeError(f"the GPU needs pycuda and pyvkfft ({error}); pip install casa-ml-tasks[gpu]") from error
        try:
            import pycuda.autoprimaryctx  # noqa: F401
        except (driver.Error, RuntimeError) as error:
            raise RuntimeError(f"pycuda finds no usable GPU ({error}); compute on the CPU instead") from error
        self._gpuarray = gpuarray
        self._allocate = DeviceMemoryPool().allocate  # cudaMalloc waits for the GPU, the pool does not
        coefficients = np.ascontiguousarray(uvgrid.kernel.coefficients, uvgrid.precision)
        powers, support = coefficients.shape
        options = ["-std=c++17", *definitions(uvgrid.precision, support, powers)]
        try:
            self._module = SourceModule(source(), options=options, no_extern_c=True)
        except OSError as error:
            raise RuntimeError(f"the GPU needs CUDA's compiler on the PATH ({error}); install nvcc") from error
        address, _ = self._module.get_global("coefficients")
        driver.memcpy_htod(address, coefficients)
        self._fft = VkFFTApp(uvgrid.padded, uvgrid.precision, inplace=False, norm=0, r2c=True, useLUT=1)

    def upload(self, array: NDArray[Any] | Buffer, dtype: DTypeLike) -> Buffer:
        if isinstance(array, self._gpuarray.GPUArray):
            if array.dtype != dtype or not array.flags.c_contiguous:
                raise ValueError(f"an array of {array.dtype} is on the GPU; give {np.dtype(dtype)}, C-contiguous")
            return array
        return self._gpuarray.to_gpu(np.ascontiguousarray(array, dtype), allocator=self._allocate)

    def download(self, buffer: Buffer) -> NDArray[Any]:
        return buffer.get()

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Buffer:
        return self._gpuarray.zeros(shape, np.dtype(dtype), allocator=self._allocate)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Buffer:
        return self._gpuarray.empty(shape, np.dtype(dtype), allocator=self._allocate)

    def launch(self, kernel: str, rows: int, columns: int, block: int, *arguments: Buffer | np.generic) -> None:
        self._module.get_function(kernel)(*arguments, block=(block, 1, 1), grid=(columns, rows))

    def rfft2(self, padded: Buffer, spectrum: Buffer) -> None:
        self._fft.fft(padded, spectrum)

    def irfft2(self, spectrum: Buffer, padded: Buffer) -> None:
        self._fft.ifft(spectrum, padded)

    def sum(self, buffer: Buffer) -> float:
        return float(self._gpuarray.sum(buffer).get())
