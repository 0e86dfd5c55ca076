"""How near the loops over visibilities come to what the processor can do, with its own instructions and with AVX2."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from benchmarks.kernel_comparison import TOLERANCES
from benchmarks.kernel_peers import Problem, plan
from benchmarks.measure import print_table
from benchmarks.stopwatch import interleaved
from benchmarks.uv_coverage import ALMA
from casa_ml_tasks.kernels.fourier_operator import FourierOperator
from casa_ml_tasks.kernels.vector_intrinsics import LANES, Vector

#: Vectors of LANES that are multiplied and added independently: six registers of 512 bits, twelve of 256.
CHAINS = {np.dtype(np.float32): (0,) * 6, np.dtype(np.float64): (0,) * 3}
STEPS = 20_000_000
COPIED = 1 << 25  # numbers of 8 bytes, far beyond the caches

COLUMNS = (
    "instructions", "precision", "kernel", "loop", "visibilities a second [1e6]", "flops a visibility", "of arithmetic",
    "bytes a visibility", "of memory",
)  # fmt: skip


@intrinsic
def _broadcast(typing_context, number, chains):
    """One vector of equal lanes a chain."""
    vectors = types.UniTuple(Vector(number), chains.count)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.VectorType(arguments[0].type, LANES)
        first = builder.insert_element(ir.Constant(lanes, ir.Undefined), arguments[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        vector = builder.shuffle_vector(first, ir.Constant(lanes, ir.Undefined), zeros)
        return context.make_tuple(builder, vectors, [vector] * chains.count)

    return vectors(number, chains), generate


@intrinsic
def _multiply_add(typing_context, vectors, factors, summands):
    """vectors * factors + summands."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parts = zip(*(cgutils.unpack_tuple(builder, argument) for argument in arguments), strict=True)
        fused = ("contract",)
        results = [builder.fadd(builder.fmul(x, a, flags=fused), b, flags=fused) for x, a, b in parts]
        return context.make_tuple(builder, vectors, results)

    return vectors(vectors, factors, summands), generate


@intrinsic
def _sum_of_first_lanes(typing_context, vectors):
    """One number that depends on all chains."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(ir.IntType(32), 0)
        first, *others = (builder.extract_element(v, zero) for v in cgutils.unpack_tuple(builder, arguments[0]))
        for other in others:
            first = builder.fadd(first, other)
        return first

    return vectors.dtype.real(vectors), generate


@numba.njit
def _multiply_add_loop(steps, start, factor, summand, chains):
    vectors = _broadcast(start, chains)
    factors, summands = _broadcast(factor, chains), _broadcast(summand, chains)
    for _ in range(steps):
        vectors = _multiply_add(vectors, factors, summands)
    return _sum_of_first_lanes(vectors)


def flops(operator: FourierOperator) -> dict[str, int]:
    r"""Of one visibility, in vectors of L = LANES: both loops evaluate the kernel, $2L$(degree) for Horner's rule.

    Degridding adds $2LW$ for the rows, $L$ for the columns' taps and $L - 2$ for the sum of what is left; gridding
    $2LW$ and $L$. A kernel wider than a vector's half is visited in several such tiles.
    """
    total = {"degrid": 0, "grid": 0}
    for tile in operator._tiles:
        rows, powers = (len(part) for part in tile.unroll)
        common = 2 * LANES * (powers - 1) + 2 * LANES * rows + LANES
        total["degrid"] += common + LANES - 2
        total["grid"] += common
    return total


def transferred(operator: FourierOperator) -> int:
    """Bytes of one visibility that come from memory or go there: itself and its position, for every tile."""
    real = operator.uvgrid.precision.itemsize
    return len(operator._tiles) * (2 * real + 2 * real)


def _steps(problem: Problem, operator: FourierOperator) -> dict[str, Callable[[], Any]]:
    """Both loops over visibilities, and both ways between image and grid."""
    visibilities, grid = operator.sort(problem.visibilities), operator.uvgrid.from_image(problem.image)
    return {
        "degrid": lambda: operator.degrid_from(grid),
        "grid": lambda: operator.grid_onto(visibilities, grid),
        "from image": lambda: operator.uvgrid.from_image(problem.image),
        "to image": lambda: operator.uvgrid.to_image(grid),
    }


def _bounds(precision: np.dtype, steps: int) -> dict[str, Callable[[], Any]]:
    """`steps` multiply-adds of all chains, and copying COPIED numbers."""
    one, half = precision.type(1), precision.type(0.5)
    source = np.ones(COPIED)
    copy = np.empty_like(source)
    return {
        "arithmetic": lambda: _multiply_add_loop(steps, one, half, half, CHAINS[precision]),
        "memory": lambda: np.copyto(copy, source),
    }


def rows(quick: bool, runs: int) -> Iterator[list[str]]:
    """Rows of the table for the instructions that this process was started with; one thread."""
    instructions = os.environ.get("NUMBA_CPU_NAME") or llvmlite.binding.get_host_cpu_name()
    steps = STEPS // 10 if quick else STEPS
    for precision, tolerance in TOLERANCES.items():
        problem = Problem.of(ALMA, 1e5 if quick else 5e6, 1024, precision)
        operator = plan(problem, tolerance, 1)
        assert isinstance(operator, FourierOperator)
        times = interleaved(_steps(problem, operator) | _bounds(precision, steps), runs)
        arithmetic = 2 * LANES * len(CHAINS[precision]) * steps / times["arithmetic"].best
        memory = 2 * 8 * COPIED / times["memory"].best
        bounds = f"{arithmetic / 1e9:.0f} Gflop/s", "1", f"{memory / 1e9:.1f} GB/s", "1"
        yield [instructions, precision.name, "", "bounds", "", *bounds]
        kernel = operator.uvgrid.kernel
        size = f"{kernel.support} x {kernel.support}, degree {len(kernel.coefficients) - 1}"
        bytes_each = transferred(operator)
        for loop, flops_each in flops(operator).items():
            rate = problem.observation.size / times[loop].best
            counts = str(flops_each), f"{rate * flops_each / arithmetic:.2f}"
            traffic = str(bytes_each), f"{rate * bytes_each / memory:.2f}"
            yield [instructions, precision.name, size, loop, f"{rate / 1e6:.1f}", *counts, *traffic]


def shares(quick: bool, runs: int) -> Iterator[list[str]]:
    """What an application on one thread consists of: the loop over visibilities, and padding, FFT and correction."""
    for precision, tolerance in TOLERANCES.items():
        for count in (1e5,) if quick else (1e6, 5e6):
            problem = Problem.of(ALMA, count, 1024, precision)
            operator = plan(problem, tolerance, 1)
            assert isinstance(operator, FourierOperator)
            times = interleaved(_steps(problem, operator), runs)
            for loop, transform in (("degrid", "from image"), ("grid", "to image")):
                seconds = times[loop].median, times[transform].median
                milliseconds = (f"{1e3 * each:.1f}" for each in seconds)
                yield [precision.name, f"{count / 1e6:g}", loop, *milliseconds, f"{seconds[0] / sum(seconds):.2f}"]


def machine(options: argparse.Namespace) -> None:
    """Print the shares of an application; the rows of this processor; those of a process that may use AVX2 alone."""
    columns = ("precision", "visibilities [1e6]", "direction", "loop [ms]", "FFT and padding [ms]", "share of the loop")
    print("1024^2 pixels, one thread.\n")
    print_table(columns, shares(options.quick, options.runs))
    print()
    print_table(COLUMNS, rows(options.quick, options.runs))
    with tempfile.TemporaryDirectory() as cache:
        environment = {
            **os.environ,
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe,+popcnt",
            "NUMBA_CACHE_DIR": cache,
        }
        command = [sys.executable, "-m", "benchmarks.kernel_machine", "--runs", str(options.runs)]
        subprocess.run([*command, "--quick"] if options.quick else command, check=True, env=environment)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Rows for `python -m benchmarks.kernels machine`.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    for each in rows(chosen.quick, chosen.runs):
        print("| " + " | ".join(each) + " |", flush=True)
