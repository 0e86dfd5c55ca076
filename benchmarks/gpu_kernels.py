"""Degridding, gridding and the gradient on a GPU, against cufinufft where that is installed.

Single precision, everything on the GPU, uv points denser towards the centre. The bandwidth is what an operation must
move at least (`least_bytes`) over its time, as a fraction of what a copy on the same GPU reaches.

python -m benchmarks.gpu_kernels
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import print_table
from casa_ml_tasks.kernels.cuda.gpu_operator import GpuFourierOperator, on_gpu
from casa_ml_tasks.kernels.fourier_operator import fourier_operator

CELL = 1e-6  # radians
COLUMNS = ("visibilities", "image", "operation", "[ms]", "cufinufft [ms]", "fraction of the copy's bandwidth")
Operations = dict[str, Callable[[], Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visibilities", type=float, nargs="+", default=[1e6, 1e7])
    parser.add_argument("--imsize", type=int, nargs="+", default=[1024, 4096], help="pixels a side")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    options = parser.parse_args()
    cases = product(map(int, options.visibilities), options.imsize)
    print_table(COLUMNS, (row for case in cases for row in rows(*case, options.tolerance)))
    print(f"\nA copy moves {copy_bandwidth() / 1e9:.0f} GB/s.")


def rows(count: int, size: int, tolerance: float) -> Iterator[list[str]]:
    """Of the table, for `count` visibilities and size^2 pixels, as they are measured."""
    rng = np.random.default_rng(1)
    uvw = np.clip(0.12 * rng.normal(size=(count, 3)), -0.49, 0.49) / CELL
    operator = on_gpu(fourier_operator(uvw, 1.0, (size, size), CELL, tolerance))
    image = operator.upload(rng.normal(size=(size, size)))
    data = operator.upload(rng.normal(size=count) + 1j * rng.normal(size=count))
    weight = operator.upload(rng.uniform(size=count))
    bandwidth = copy_bandwidth()
    ours: Operations = {
        "degrid": lambda: operator.degrid(image),
        "grid": lambda: operator.grid(data),
        "gradient": lambda: operator.gradient(image, data, weight),
    }
    theirs = cufinufft_operations(uvw, image, data, weight, tolerance)
    for name, operation in ours.items():
        elapsed = seconds(operation)
        other = f"{1e3 * seconds(theirs[name]):.2f}" if theirs else "not installed"
        fraction = least_bytes(operator, name) / elapsed / bandwidth
        yield [f"{count:.0e}", f"{size}^2", name, f"{1e3 * elapsed:.2f}", other, f"{fraction:.2f}"]


def least_bytes(operator: GpuFourierOperator, operation: str) -> int:
    """What has to be moved if every array is read or written once by each step that needs it.

    A visibility has a corner (4 bytes), a position (2 reals), and 2 reals of itself, with a weight 3. Between image and
    grid the padded image is written and read once, and the spectrum written twice and read twice, as an FFT of two
    dimensions is two passes. A grid is written and read on the way to visibilities; on the way back it is set to zero,
    added to (a reading and a writing) and read.
    """
    real = operator.uvgrid.precision.itemsize
    height, width = operator.uvgrid.padded
    steps = {"degrid": 1, "grid": 1, "gradient": 2}[operation]
    grids = {"degrid": 2, "grid": 4, "gradient": 6}[operation]
    visibilities = operator.plan.order.size * (4 + real * (5 if operation == "gradient" else 4))
    around_ffts = operator.shape[0] * operator.shape[1] + 2 * height * width + 4 * 2 * height * (width // 2 + 1)
    return visibilities + real * (steps * around_ffts + grids * 2 * operator.uvgrid.size[0] * operator.uvgrid.size[1])


def cufinufft_operations(
    uvw: NDArray[np.floating], image: Any, data: Any, weight: Any, tolerance: float
) -> Operations | None:
    """The same three, with points sorted beforehand (`setpts` is not timed); None if cufinufft is not installed."""
    try:
        import cufinufft
    except ImportError:
        return None
    from pycuda import gpuarray

    v, u = (gpuarray.to_gpu((2 * np.pi * CELL * uvw[:, axis]).astype(np.float32)) for axis in (1, 0))
    gridding, degridding = (cufinufft.Plan(kind, image.shape, eps=tolerance, dtype="complex64") for kind in (1, 2))
    gridding.setpts(v, u)
    degridding.setpts(v, u)
    complex_image, complex_weight = image.astype(np.complex64), weight.astype(np.complex64)

    def gradient() -> Any:
        residual = degridding.execute(complex_image) - data
        weighted = complex_weight * residual
        return gpuarray.sum((residual.conj() * weighted).real).get(), gridding.execute(weighted)

    return {
        "degrid": lambda: degridding.execute(complex_image),
        "grid": lambda: gridding.execute(data),
        "gradient": gradient,
    }


def seconds(operation: Callable[[], Any], repeats: int = 10) -> float:
    """The shortest of some runs, on the GPU's clock."""
    from pycuda import driver

    operation()
    times = []
    for _ in range(repeats):
        start, end = driver.Event(), driver.Event()
        start.record()
        operation()
        end.record()
        end.synchronize()
        times.append(start.time_till(end) / 1e3)
    return min(times)


def copy_bandwidth(size: int = 2**30) -> float:
    """Bytes a second, read and written, of a copy of `size` bytes; wants pycuda's context."""
    from pycuda import driver

    source, target = driver.mem_alloc(size), driver.mem_alloc(size)
    return 2 * size / seconds(lambda: driver.memcpy_dtod(target, source, size))


if __name__ == "__main__":
    main()
