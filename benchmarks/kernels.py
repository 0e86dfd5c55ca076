"""The (de)gridding kernels: accuracy, speed beside their peers, and what limits them.

python -m benchmarks.kernels accuracy
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from benchmarks import kernel_comparison, kernel_machine, kernel_scaling
from benchmarks.kernel_comparison import DOUBLE, SINGLE
from benchmarks.kernel_peers import Problem, ours, plan
from benchmarks.measure import print_table
from benchmarks.stopwatch import interleaved
from benchmarks.uv_coverage import ALMA
from casa_ml_tasks.kernels.fourier_operator import FourierOperator, fourier_operator
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.kernels.threads import available_cores

TOLERANCE = 1e-5  # of the native major cycle
SIZES, DENSITIES = (512, 1024, 2048), (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # pixels a side; visibilities a pixel
PASSES = ("gradient", "degrid and grid")


def accuracy(options: argparse.Namespace) -> None:
    """Print the errors against the direct sum, beside the tolerances that were asked for."""
    visibilities, size = (1e5, 256) if options.quick else (1e6, 1024)
    requests: dict[np.dtype, range] = {SINGLE: range(-2, -7, -1), DOUBLE: range(-2, -13, -2)}

    def rows() -> Iterator[list[str]]:
        for precision, exponents in requests.items():
            problem = Problem.of(ALMA, visibilities, size, precision)
            for exponent in exponents:
                operator = plan(problem, 10.0**exponent, available_cores())
                assert isinstance(operator, FourierOperator)
                kernel = operator.uvgrid.kernel
                errors = ours(problem, 10.0**exponent, available_cores()).errors()
                share = max(errors.degrid, errors.grid) / 10.0**exponent
                yield [
                    precision.name,
                    f"1e{exponent}",
                    f"{kernel.support} x {kernel.support}",
                    f"{kernel.oversampling}",
                    *(f"{error:.1e}" for error in errors),
                    f"{share:.2f}",
                ]

    columns = ("precision", "tolerance", "kernel [uv cells]", "oversampling", "error of degrid", "error of grid")
    print(f"{visibilities / 1e6:g} million visibilities, {size}^2 pixels.\n")
    print_table((*columns, "adjoint's error", "larger error / tolerance"), rows())


def normal(options: argparse.Namespace) -> None:
    """Print the cost of F^H W F by two FFTs of (2N)^2, as the minor cycle has it, against passes over visibilities."""
    sizes, per_pixel = ((256,), (0.5, 2.0)) if options.quick else (SIZES, DENSITIES)
    threads = available_cores()
    crossings: list[str] = []

    def rows() -> Iterator[list[str]]:
        for size in sizes:
            ratios: dict[str, list[float]] = {}
            for density in per_pixel:
                problem = Problem.of(ALMA, density * size**2, size, SINGLE)
                times = interleaved(_ways_of_normal(problem, threads), options.runs)
                count = problem.observation.size
                row = [f"{size}^2", f"{count / size**2:.2f}", f"{count / 1e6:.3g}"]
                row += [f"{1e3 * time.best:.1f}" for time in times.values()]
                for name in PASSES:
                    ratio = times["normal"].median / times[name].median
                    ratios.setdefault(name, []).append(ratio)
                    row.append(f"{ratio:.2f}")
                yield row
            crossings.extend(f"- {size}^2, {name}: {_crossing(per_pixel, each)}" for name, each in ratios.items())

    columns = ("pixels", "visibilities a pixel", "visibilities [1e6]", "normal [ms]", "in single [ms]", "gradient [ms]")
    print(f"Passes over visibilities in single precision to {TOLERANCE}; {threads} threads everywhere.\n")
    print_table((*columns, "degrid and grid [ms]", "normal / gradient", "normal / (degrid and grid)"), rows())
    print("\nVisibilities a pixel above which the normal operator is cheaper:\n")
    print("\n".join(crossings))


def _ways_of_normal(problem: Problem, threads: int) -> dict[str, Callable[[], Any]]:
    operator = plan(problem, TOLERANCE, threads)
    gradient = ours(problem, TOLERANCE, threads).gradient
    weight = operator.sort(problem.weight)
    psf = _doubled_psf(problem)

    def jitted(dtype: type) -> Callable[[], Any]:
        with jax.enable_x64(dtype is np.float64):
            apply = jax.jit(ConvolutionNormalOperator.__call__)
            transform, image = ConvolutionNormalOperator.from_psf(psf.astype(dtype)), jnp.asarray(problem.image, dtype)

        def run() -> Any:
            with jax.enable_x64(dtype is np.float64):
                return apply(transform, image).block_until_ready()

        return run

    assert gradient is not None
    return {
        "normal": jitted(np.float64),
        "normal in single": jitted(np.float32),
        "gradient": gradient,
        "degrid and grid": lambda: operator.grid(weight * operator.degrid(problem.image)),
    }


def _doubled_psf(problem: Problem) -> NDArray[np.floating]:
    """(2 ny, 2 nx), Jy/beam."""
    ny, nx = problem.shape
    observation = problem.observation
    flat = fourier_operator(observation.uvw, observation.wavenumber, (2 * ny, 2 * nx), problem.cell, TOLERANCE)
    psf = flat.grid(flat.sort(problem.weight).astype(complex))
    return psf / problem.weight.sum(dtype=float)


def _crossing(densities: tuple[float, ...], ratios: list[float]) -> str:
    """Where the ratio falls below 1, between powers of two."""
    logarithms = np.log(ratios)
    if logarithms[0] < 0:
        return f"below {densities[0]}"
    if logarithms[-1] > 0:
        return f"above {densities[-1]}"
    falling = -np.maximum.accumulate(logarithms[::-1])[::-1]
    return f"{np.exp(np.interp(0, falling, np.log(densities))):.2g}"


SECTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    "accuracy": accuracy,
    "peers": kernel_comparison.peers,
    "wterm": kernel_comparison.wterm,
    "machine": kernel_machine.machine,
    "normal": normal,
    "scaling": kernel_scaling.scaling,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=(*SECTIONS, "all"), help="which table")
    parser.add_argument("--quick", action="store_true", help="small problems, to see that it runs")
    parser.add_argument("--runs", type=int, default=5, help="of each program, interleaved")
    parser.add_argument("--plot", default="kernel_scaling.png", help="file that `scaling` draws")
    options = parser.parse_args()
    for name in SECTIONS if options.section == "all" else (options.section,):
        print(f"## {name}\n", flush=True)
        SECTIONS[name](options)
        print(flush=True)


if __name__ == "__main__":
    main()
