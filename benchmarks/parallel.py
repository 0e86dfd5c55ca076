"""Workers against one process: a cycle, its overhead, memory, and the scaling that follows for more workers.

Two workers have one core each, and are compared with one worker of one core: that needs two free cores. The scaling is
not measured but follows from the times of a part and of a transfer that are, by the model that is printed with it.

python -m benchmarks.parallel
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from math import ceil, log2
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from distributed import Client

from benchmarks.measure import print_table, rmlclean_parameters
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.minor.rml import projected_lbfgs
from casa_ml_tasks.minor.rml.objective import Objective
from casa_ml_tasks.parallel import clusters
from casa_ml_tasks.parallel.mosaic import major_cycle_on_workers
from casa_ml_tasks.parallel.part import ask_part
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.simulation import hexagon, simulate

REPEATS = 5
LARGE = 4096  # pixels a side, of an image whose way to the workers and back is timed
WORKERS = (2, 4, 8, 16, 32, 64, 128)
MOST_VISIBILITIES = 1e9
KINDS = {
    "continuum": {"specmode": "mfs", "weighting": "briggs"},
    "cube": {"specmode": "cubedata", "interpolation": "nearest", "weighting": "briggs"},
    "mosaic": {"gridder": "mosaic", "imager": "native", "weighting": "briggs"},
}
POINTINGS = hexagon(1, 12.0)  # of the mosaic: seven, by dishes of 12 m


@contextmanager
def local_workers(count: int) -> Iterator[Client]:
    """Workers of one core each on this machine."""
    with mock.patch.object(clusters, "available_cores", return_value=count), clusters.opened_workers("") as client:
        yield client


def best(action: Callable[[], object]) -> float:
    """Return the shortest of some wall times, s, after one that is not counted."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def cycle_times(request: Request, folder: Path, count: int) -> tuple[float, float, int, list[float]]:
    """Return the times of reading and of a residual, s; how many visibilities; resident memory, GiB, client first."""
    directory = folder / f"{request.gridding.gridder}{request.grid.specmode}{count}"
    directory.mkdir()
    with local_workers(count) as client:
        client.run(resident_memory)  # imports what a part needs, which is not timed
        start = time.perf_counter()
        with closing(major_cycle_on_workers(request, directory, client)) as major:
            reading = time.perf_counter() - start
            model = np.zeros(major.shape, np.float32)
            model[..., major.shape[-2] // 2, major.shape[-1] // 2] = 1
            seconds = best(lambda: major.residual(model))
            resident = [psutil.Process().memory_info().rss, *client.run(resident_memory).values()]
            return reading, seconds, major.size, [each / 2**30 for each in resident]


def resident_memory() -> int:
    """Return the resident memory of this process, bytes, with all that a worker imports."""
    import casa_ml_tasks.parallel.part  # noqa: F401

    return int(psutil.Process().memory_info().rss)


def way_there_and_back(request: Request, folder: Path, pixels: int) -> float:
    """Return the seconds that an image needs to two workers, and the sum of theirs back."""
    directory = folder / "way"
    directory.mkdir()
    image = np.zeros((1, 1, pixels, pixels), np.float32)
    with local_workers(2) as client, closing(major_cycle_on_workers(request, directory, client)) as major:
        return best(lambda: major.operator.parts.total(ask_part, echo, image))


def echo(operator: object, image: np.ndarray) -> np.ndarray:
    """Return the image, as a part without visibilities would."""
    return image


def iteration_seconds(pixels: int, iterations: int = 6) -> float:
    """Return the seconds of one core in an iteration of the minor cycle, of a field of fifty point sources."""
    generator = np.random.default_rng(1)
    y, x = np.ogrid[-pixels:pixels, -pixels:pixels]
    sky, place = np.zeros((pixels, pixels), np.float32), generator.integers(pixels, size=(2, 50))
    sky[*place] = 1
    with jax.enable_x64(True):
        operator = ConvolutionNormalOperator.from_psf(np.exp(-(x**2 + y**2) / 18), np.float32)
        dirty = operator(jnp.asarray(sky)) + generator.normal(0, 0.01, sky.shape).astype(np.float32)
        likelihood = QuadraticLikelihood(operator, dirty, jnp.zeros_like(dirty), jnp.asarray(0.01))
        objective = Objective(likelihood, jnp.asarray(28.0), jnp.ones(2), ("log_smoothness", "l1"))
        support = jnp.ones(sky.shape, bool)
        state = projected_lbfgs.begin(objective, jnp.zeros((1, *sky.shape), jnp.float32))
        state = jax.block_until_ready(projected_lbfgs.advance(objective, support, state, 2))
        start = time.process_time()
        jax.block_until_ready(projected_lbfgs.advance(objective, support, state, iterations))
        return (time.process_time() - start) / iterations


def simulated_cycle(visibilities: float, workers: int, each: float, fixed: float, transfer: float) -> float:
    """Return the seconds of a cycle: the part's visibilities, its FFTs, the model out and the sum back in trees.

    Args:
        visibilities: of all workers together.
        workers: how many.
        each: seconds for a visibility.
        fixed: seconds for the FFTs of an image.
        transfer: seconds for an image from one process to another.
    """
    return visibilities / workers * each + fixed + (2 * ceil(log2(workers)) + 1) * transfer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imsize", type=int, default=1024, help="pixels a side")
    parser.add_argument("--integrations", type=int, default=800, help="of the simulated observation, each 2e4 samples")
    parser.add_argument("--large", type=int, default=LARGE, help="pixels a side of the image that is timed on its way")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vis = simulate(folder / "observed.ms", antennas=50, channels=16, integrations=options.integrations).path
        each = max(1, options.integrations // len(POINTINGS))
        mosaic = simulate(
            folder / "mosaic.ms", antennas=50, channels=16, integrations=each, pointings=POINTINGS, radius=60
        ).path
        measured = {}
        rows = []
        for kind, changes in KINDS.items():
            imsize = options.imsize // 4 if kind == "cube" else options.imsize
            width = 72 if kind == "mosaic" else 12  # arcsec
            image = {"imsize": imsize, "cell": f"{width / imsize}arcsec", "gridder": "native", "datacolumn": "data"}
            data = str(mosaic if kind == "mosaic" else vis)
            request = Request.from_parameters(**rmlclean_parameters(vis=data, **{**image, **changes}))
            one, two = (cycle_times(request, folder, count) for count in (1, 2))
            measured[kind] = one
            rows.append(
                [kind, f"{one[2] / 1e6:.3g}", f"{imsize}^2"]
                + [f"{each:.3g}" for each in (one[0], two[0], one[0] / two[0], one[1], two[1], one[1] / two[1])]
                + [f"{two[3][0]:.2f}", f"{max(one[3][1:]):.2f}", f"{max(two[3][1:]):.2f}"]
            )
        print_table(
            ["image", "visibilities [1e6]", "pixels", "reading, one worker [s]", "two [s]", "one / two",
             "cycle, one [s]", "two [s]", "one / two", "client [GiB]", "worker of one [GiB]", "of two [GiB]"], rows,
        )  # fmt: skip
        small = Request.from_parameters(
            **rmlclean_parameters(vis=str(vis), imsize=64, cell="0.2arcsec", gridder="native", datacolumn="data")
        )
        overhead = way_there_and_back(small, folder, options.large)
        print(f"\nAn image of {options.large}^2 pixels to two workers, and the sum back: {overhead:.2f} s\n")
        each = iteration_seconds(options.imsize)
        print(
            f"An iteration of the minor cycle: {each:.3g} s of one core for {options.imsize}^2 pixels, "
            f"{1e6 * each / options.imsize**2:.3g} us a pixel\n"
        )
        fixed = cycle_of_nothing(folder, options.imsize)
        print_scaling(measured["continuum"], fixed, overhead / 3)


def cycle_of_nothing(folder: Path, imsize: int) -> float:
    """Return the seconds of a cycle of so few visibilities that the FFTs decide."""
    vis = simulate(folder / "short.ms", channels=1, integrations=1).path
    (folder / "short").mkdir()
    image = {"imsize": imsize, "cell": f"{12 / imsize}arcsec", "gridder": "native", "datacolumn": "data"}
    return cycle_times(Request.from_parameters(**rmlclean_parameters(vis=str(vis), **image)), folder / "short", 1)[1]


def print_scaling(measured: tuple[float, float, int, list[float]], fixed: float, transfer: float) -> None:
    """Print strong and weak scaling, as the model has it with measured times."""
    each = max(measured[1] - fixed, 0.0) / measured[2]
    per_worker = MOST_VISIBILITIES / WORKERS[-1]
    alone, alone_weak = (visibilities * each + fixed for visibilities in (MOST_VISIBILITIES, per_worker))
    print(
        f"Model: parts are equal, every worker has a core, {each * 1e9:.3g} ns a visibility, {fixed:.3g} s for FFTs, "
        f"{transfer:.3g} s for the large image from process to process, ceil(log2 workers) steps out and back and one "
        "to the client, nothing waits for the file system.\n"
    )
    rows = []
    for workers in WORKERS:
        strong = simulated_cycle(MOST_VISIBILITIES, workers, each, fixed, transfer)
        weak = simulated_cycle(per_worker * workers, workers, each, fixed, transfer)
        rows.append([str(workers), f"{strong:.3g}", f"{alone / strong:.3g}", f"{weak:.3g}", f"{alone_weak / weak:.2f}"])
    print_table(
        ["workers", f"cycle of {MOST_VISIBILITIES:.0e} visibilities [s]", "speed-up",
         f"cycle of {per_worker:.1e} a worker [s]", "efficiency"], rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
