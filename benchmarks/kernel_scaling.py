"""The fused gradient from 1e5 to 1e8 visibilities, piece by piece so that memory stays bounded."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.kernel_peers import Problem, plan
from benchmarks.measure import print_table
from benchmarks.uv_coverage import ALMA, Observation

TOLERANCE = 1e-5  # of the native major cycle
PIECE = 1 << 24  # visibilities that are planned at once
THREADS = (1, 2)
COUNTS, SIZES = (1e5, 1e6, 1e7, 1e8), (256, 1024, 4096, 8192)  # of visibilities; pixels a side

#: Seconds of plan and gradient, by (visibilities, pixels a side, threads).
Results = dict[tuple[int, int, int], tuple[float, float]]


def measure(visibilities: float, size: int, runs: int) -> Iterator[tuple[tuple[int, int, int], tuple[float, float]]]:
    """Plan and gradient with each number of threads, in turn on every piece; the making of the data is not counted."""
    observation = Observation.of(ALMA, visibilities)
    cell = observation.cell()
    plans, gradients = defaultdict(float), defaultdict(float)
    image = Problem(observation, (size, size), cell, np.dtype(np.float32)).image
    for part in observation.parts(PIECE):
        task = Problem(part, (size, size), cell, np.dtype(np.float32))
        for threads in THREADS:
            begun = time.perf_counter()
            operator = plan(task, TOLERANCE, threads)
            plans[threads] += time.perf_counter() - begun
            data = np.ones(part.size, np.complex64)
            weight = np.ones(part.size, np.float32)
            seconds = []
            for _ in range(runs):
                begun = time.perf_counter()
                operator.gradient(image, data, weight)
                seconds.append(time.perf_counter() - begun)
            gradients[threads] += min(seconds)
    for threads in THREADS:
        yield (observation.size, size, threads), (plans[threads], gradients[threads])


def scaling(options: argparse.Namespace) -> None:
    """Print the times of plan and gradient, and draw those of the gradient."""
    counts, sizes = ((1e4, 1e5), (256, 512)) if options.quick else (COUNTS, SIZES)
    results: Results = {}
    next(measure(1e4, 256, 1))  # compilation

    def rows() -> Iterator[list[str]]:
        for size in sizes:
            for count in counts:
                for case, (plan_time, gradient_time) in measure(count, size, 1 if count > 1e7 else 3):
                    results[case] = plan_time, gradient_time
                    visibilities, _, threads = case
                    yield [
                        f"{size}^2",
                        f"{visibilities / 1e6:.3g}",
                        str(threads),
                        f"{plan_time:.3f}",
                        f"{gradient_time:.3f}",
                        f"{visibilities / gradient_time / threads / 1e6:.1f}",
                    ]

    columns = ("pixels", "visibilities [1e6]", "threads", "plan [s]", "gradient [s]", "visibilities/s/core [1e6]")
    print_table(columns, rows())
    draw(results, options.plot)
    print(f"\nDrawn: {options.plot}")


def draw(results: Results, path: str) -> None:
    """Seconds of a gradient against the number of visibilities; a colour for each size of image."""
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6.5, 4.2), layout="constrained")
        axes = figure.subplots()
        sizes = sorted({size for _, size, _ in results})
        for colour, size in zip(mpl.colormaps["viridis"](np.linspace(0, 0.85, len(sizes))), sizes, strict=True):
            for threads, style in zip(THREADS, ("-", "--"), strict=True):
                points = sorted(
                    (case[0], gradient) for case, (_, gradient) in results.items() if case[1:] == (size, threads)
                )
                label = f"{size}$^2$ pixels" if threads == 1 else None
                axes.loglog(*zip(*points, strict=True), style, marker="o", markersize=3, color=colour, label=label)
        axes.plot([], [], "--", color="0.3", label=f"the same, {THREADS[1]} threads")
        axes.set(xlabel="visibilities", ylabel="one gradient [s]")
        axes.grid(which="major", alpha=0.3)
        axes.legend(frameon=False)
        figure.savefig(path, dpi=100)
