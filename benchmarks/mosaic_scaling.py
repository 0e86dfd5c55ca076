r"""One native residual of mosaics of more and more pointings: its time, and the memory that it takes.

Each pointing is a box of the image with a plan of its own. `kept` has all plans in memory, as where they fit;
`streamed` reads visibilities from files and plans each pointing anew in every residual, as where they do not. Memory is
what is resident after two residuals, without pages of files, above that before the operator was made. The PSFs for the
minor cycle, 4 bytes a pixel of twice the box, and images are beside it: `streamed` needs no more. Every row is a
process of its own.

python -m benchmarks.mosaic_scaling --figure PLOT.png
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.measure import print_table
from casa_ml_tasks.kernels.pointing_view import Box
from casa_ml_tasks.kernels.primary_beams import ALMA_12M
from casa_ml_tasks.major.mosaic_views import BeamsInBox
from casa_ml_tasks.major.pointings import Pointing
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.major.weighted_visibilities import WeightedVisibilities

COUNTS = (10, 100, 1000)
VISIBILITIES = 5000  # of a pointing
CELL, BOX, STEP = 2.4e-6, 112, 25  # radians; pixels, and pixels from one pointing to the next: Nyquist's at 230 GHz
FREQUENCY, LONGEST = 230e9, 1.5e5  # Hz; wavelengths
COLUMNS = ("pointings", "plans", "made [s]", "residual [s]", "per pointing [ms]", "memory [MB]", "images and PSFs [MB]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS, help="numbers of pointings")
    parser.add_argument("--figure", type=Path, help="where a plot is written")
    options = parser.parse_args()
    measured = []
    print_table(COLUMNS, [])
    for count in options.counts:
        for plans in ("kept", "streamed"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                made, residual, memory, images = pool.apply(measure, (count, plans == "kept"))
            measured.append((count, plans, residual, memory - images))
            row = (f"{made:.2f}", f"{residual:.3f}", f"{1e3 * residual / count:.2f}", f"{memory:.0f}", f"{images:.0f}")
            print("| " + " | ".join((str(count), plans, *row)) + " |", flush=True)
    if options.figure is not None:
        draw(measured, options.figure)


def measure(count: int, keep: bool) -> tuple[float, float, float, float]:
    """Return seconds to make the operator and of the second residual, memory, and that of images and PSFs, MB."""
    side = int(np.ceil(np.sqrt(count)))
    size = BOX + STEP * (side - 1)
    transform = Transform((size, size), CELL)
    corners = [(STEP * (k // side), STEP * (k % side)) for k in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        store = write_visibilities(Path(folder), count)
        measured_before_use(transform)
        before = own_memory()
        start = time.perf_counter()
        views = [view(transform, corner) for corner in corners]
        parts = (part_of(store, k) for k in range(count))
        operator = VisibilityOperator.planned(transform, 1, parts, 0, (), views, np.inf if keep else 0)
        made, sky = time.perf_counter() - start, np.zeros((1, 1, size, size), np.float32)
        sky[0, 0, size // 2, size // 2] = 1.0
        for _ in range(2):
            start = time.perf_counter()
            operator.residual_sums(sky)
            seconds = time.perf_counter() - start
        memory = own_memory() - before
    images = (operator.sums.psf.nbytes + 4 * 8 * size**2) / 1e6
    return made, seconds, memory, images


def own_memory() -> float:
    """Return the resident memory of this process without pages of files, which the system takes back at need, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("RssAnon"))
    return int(kilobytes) * 1024 / 1e6


def measured_before_use(transform: Transform) -> None:
    """Let numba load its programs, which take memory once."""
    view_of_one = view(transform, (0, 0))
    uvw = np.random.default_rng(0).normal(size=(VISIBILITIES, 3)) * [LONGEST / 3, LONGEST / 3, 100]
    ones = np.ones(VISIBILITIES, np.float32)
    part = WeightedVisibilities(0, uvw, ones.astype(np.complex64), ones, ones, ones, ones)
    operator = VisibilityOperator.planned(transform, 1, [part], views=[view_of_one])
    operator.residual_sums(np.zeros((1, 1, *transform.shape), np.float32))


def view(transform: Transform, corner: tuple[int, int]) -> Box:
    """Return the box of a pointing with the beam of two 12 m antennas, made whenever it is asked for."""
    (ny, nx), middle = transform.shape, [first + BOX // 2 for first in corner]
    direction = (nx // 2 - middle[1]) * CELL, (middle[0] - ny // 2) * CELL
    pointing = Pointing((direction, direction), (ALMA_12M, ALMA_12M))
    beams = BeamsInBox(pointing, (0.0, 0.0), transform, corner, (BOX, BOX), (FREQUENCY,))
    return Box.on_image(transform.shape, CELL, corner, (BOX, BOX), beams)


def write_visibilities(folder: Path, count: int) -> tuple[np.memmap, np.memmap, np.memmap]:
    """Write random visibilities of all pointings; return uvw, visibilities and weights, mapped from files."""
    shapes = {"uvw": (np.float64, (3,)), "visibility": (np.complex64, ()), "weight": (np.float32, ())}
    columns = []
    for name, (dtype, row) in shapes.items():
        with open(folder / name, "wb") as file:
            for number in range(count):
                rng = np.random.default_rng(number)
                values = rng.normal(size=(VISIBILITIES, *row)) if name != "weight" else np.ones(VISIBILITIES)
                if name == "uvw":
                    values = np.clip(values, -3, 3) * [LONGEST / 3, LONGEST / 3, LONGEST / 30]
                values.astype(dtype).tofile(file)
        columns.append(np.memmap(folder / name, dtype, "r").reshape(-1, *row))
    return columns[0], columns[1], columns[2]


def part_of(store: tuple[np.memmap, np.memmap, np.memmap], number: int) -> WeightedVisibilities:
    """Return the visibilities of a pointing."""
    uvw, visibility, weight = (column[VISIBILITIES * number : VISIBILITIES * (number + 1)] for column in store)
    return WeightedVisibilities(0, uvw, visibility, weight, weight, weight, weight, number)


def draw(measured: list[tuple[int, str, float, float]], path: Path) -> None:
    """Plot seconds, and memory beyond images and PSFs, over the number of pointings."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for plans in ("kept", "streamed"):
        counts, _, seconds, memory = zip(*(each for each in measured if each[1] == plans), strict=True)
        axes[0].loglog(counts, seconds, "o-", label=plans)
        axes[1].loglog(counts, np.maximum(memory, 1), "o-", label=plans)
    axes[0].set(xlabel="pointings", ylabel="one residual [s]")
    axes[1].set(xlabel="pointings", ylabel="memory beyond images and PSFs [MB]")
    axes[0].legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
