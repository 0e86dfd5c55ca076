"""The native major cycle against CASA's gridders on the same data: seconds, and errors against the direct sum.

Natural weights. `build` is everything up to the first dirty image: ours reads and plans the data and makes the PSF on
twice the field; CASA's sets the weights and makes PSF, primary beam and dirty image, but no PSF on twice the field.
`residual` is one more major cycle, with a model; CASA reads the data again. Neither includes the start of Python.

python -m benchmarks.major_cycle
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import arcsecond

from benchmarks.measure import print_table, rmlclean_parameters
from benchmarks.real_data_files import RealDataMissing, real_ms
from benchmarks.skies import add_options, chosen_skies
from benchmarks.stopwatch import Timing, interleaved
from casa_ml_tasks.data.casa_image import read_cell, read_direction
from casa_ml_tasks.data.visibility_store import ImageFrame, read
from casa_ml_tasks.engine.protocols import Image, MajorCycle
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.selection import DataSelection
from casa_ml_tasks.simulation import simulate

#: Where a real Measurement Set is imaged.
REAL = {
    "HD142527_B9cont.ms.tar.gz": {"imsize": 256, "cell": "0.05arcsec"},
    "NGC5921_cal.ms.tar.gz": {"imsize": 512, "cell": "15arcsec"},
}
LARGE = {"imsize": 1024, "cell": "0.1arcsec"}
ANTENNAS, CHANNELS = 40, 64

#: CASA's gridder: whether ours respects w beside it.
GRIDDERS = {"standard": False, "wproject": True}
DIRECTIONS = 200  # in which an image is compared with the direct sum
COMPONENTS = 10  # pixels of the model that are not zero
FIRST_COLUMNS = ("data", "visibilities [1e6]", "pixels", "gridder")


@dataclass(frozen=True)
class Run:
    """Both major cycles on the same data.

    Attributes:
        visibilities: number of samples of Stokes I.
        build, residual: times of ours and of CASA's.
        dirty, after: images before and after a model is subtracted: ours, CASA's, (ny, nx), Jy/beam.
        directions: y and x of the pixels that are compared with the direct sum.
        true: dirty and residual there by the direct sum.
    """

    visibilities: int
    build: dict[str, Timing]
    residual: dict[str, Timing]
    dirty: tuple[Image, Image]
    after: tuple[Image, Image]
    directions: tuple[NDArray[np.integer], NDArray[np.integer]]
    true: tuple[NDArray[np.float64], NDArray[np.float64]]


def measure(imaging: dict[str, Any], gridder: str, runs: int, folder: Path) -> Run:
    """Build both, give both the same model, and sum directly."""
    cycles: dict[str, MajorCycle] = {}
    dirty: dict[str, Image] = {}
    common = Request.from_parameters(**rmlclean_parameters(**imaging, weighting="natural", wprojplanes=-1))

    makers: dict[str, Callable[[Path], MajorCycle]] = {
        "native": lambda path: NativeMajorCycle(common.changed(gridder="native"), path, GRIDDERS[gridder]),
        "casa": lambda path: CasaMajorCycle(common.changed(gridder=gridder), path),
    }

    def build(name: str) -> None:
        if name in cycles:
            cycles.pop(name).close()
        directory = folder / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        cycles[name] = makers[name](directory)
        dirty[name] = cycles[name].residual(np.zeros(cycles[name].shape, np.float32))

    builds = interleaved({name: partial(build, name) for name in makers}, 1)
    model = components(dirty["native"])
    after: dict[str, Image] = {}

    def subtract(name: str) -> None:
        after[name] = cycles[name].residual(model)

    residuals = interleaved({name: partial(subtract, name) for name in cycles}, runs)
    beam = cycles["native"].product("pb")
    store = read(
        DataSelection.from_parameters(**common).selections, ImageFrame(*read_direction(beam)), folder / "directly"
    )
    ny, nx = model.shape[-2:]
    rng = np.random.default_rng(2)
    directions = rng.integers(ny, size=DIRECTIONS), rng.integers(nx, size=DIRECTIONS)
    true = direct_sums(store, model[0, 0], directions, read_cell(beam) * arcsecond, GRIDDERS[gridder])
    for cycle in cycles.values():
        cycle.close()
    pairs = [tuple(images[name][0, 0] for name in ("native", "casa")) for images in (dirty, after)]
    return Run(store.size, builds, residuals, pairs[0], pairs[1], directions, true)


def components(dirty: Image) -> Image:
    """A few pixels anywhere in the image that together are about as bright as the dirty image, Jy/pixel."""
    rng = np.random.default_rng(1)
    model = np.zeros(dirty.shape, np.float32)
    model.reshape(-1)[rng.integers(model.size, size=COMPONENTS)] = np.abs(dirty).max() * rng.uniform(0.1, 1, COMPONENTS)
    return model


def direct_sums(
    store: Visibilities,
    model: NDArray[np.float32],
    directions: tuple[NDArray[np.integer], NDArray[np.integer]],
    cell: float,
    w_term: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""$\sum_k w_k d_k \exp(-2\pi i(ul + vm + w(n-1))) / \sum_k w_k$ in some directions, and the same of d - F model.

    Args:
        model: (ny, nx), Jy/pixel.
        directions: y and x, (direction,) each.
        cell: radians.
    """
    ny, nx = model.shape
    weight = store.weight.astype(float)

    def phasor(y: int, x: int) -> NDArray[np.complex128]:
        m, l = (y - ny // 2) * cell, -(x - nx // 2) * cell  # noqa: E741
        n_minus_one = -(l**2 + m**2) / (1 + np.sqrt(1 - l**2 - m**2)) if w_term else 0.0
        return np.exp(2j * np.pi * (store.uvw @ np.array([l, m, n_minus_one])))

    difference = store.visibility.astype(complex)
    data = weight * difference
    for y, x in zip(*np.nonzero(model), strict=True):
        difference -= model[y, x] * phasor(y, x)
    difference *= weight
    sums = np.array(
        [
            [np.vdot(wave, values).real for values in (data, difference)]
            for wave in (phasor(y, x) for y, x in zip(*directions, strict=True))
        ]
    )
    dirty, residual = sums.T / weight.sum()
    return dirty, residual


def timing_row(run: Run) -> list[str]:
    """Best seconds of ours and CASA's, and CASA's median over ours."""
    found = []
    for times in (run.residual, run.build):
        ratio = times["casa"].median / times["native"].median
        found += [f"{times['native'].best:.3f}", f"{times['casa'].best:.3f}", f"{ratio:.1f}"]
    return found


def accuracy_rows(run: Run) -> Iterator[list[str]]:
    """Differences over the dirty peak, also in the inner half: ours from CASA's, and each from the direct sum."""
    peak = float(np.abs(run.dirty[0]).max())
    y, x = run.directions
    ny, nx = run.dirty[0].shape
    inner = (np.abs(y - ny // 2) < ny // 4) & (np.abs(x - nx // 2) < nx // 4)
    for title, (native, casa), true in (("dirty", run.dirty, run.true[0]), ("residual", run.after, run.true[1])):
        difference = np.abs(native - casa) / peak
        half = difference[ny // 4 : ny - ny // 4, nx // 4 : nx - nx // 4]
        found = [difference.max(), half.max(), np.sqrt(np.mean(difference**2))]
        for image in (native, casa):
            error = np.abs(image[y, x] - true) / peak
            found += [error.max(), error[inner].max()]
        yield [title, *(f"{value:.1e}" for value in found)]


def observations(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and imaging parameters: simulated skies, real data where they are at hand, a larger simulation."""
    for sky in chosen_skies(options):
        yield sky.name, sky.imaging
    for archive, imaging in {} if options.quick else REAL.items():
        place = folder / archive
        place.mkdir()
        try:
            vis = real_ms(archive, place)
        except RealDataMissing as missing:
            print(f"{archive} is left out: {missing}\n")
            continue
        yield archive.split(".")[0], {"vis": vis, "datacolumn": "data", **imaging}
    integrations = 2 if options.quick else options.integrations
    large = simulate(folder / "large.ms", antennas=ANTENNAS, channels=CHANNELS, integrations=integrations)
    yield f"{ANTENNAS} antennas, {CHANNELS} channels", {"vis": str(large.path), "datacolumn": "data", **LARGE}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.set_defaults(names=["gaussians", "rings"])
    parser.add_argument("--runs", type=int, default=3, help="of each residual, interleaved")
    parser.add_argument(
        "--integrations", type=int, default=60, help="of the larger simulation, 49920 visibilities each"
    )
    parser.add_argument("--quick", action="store_true", help="one sky and a small simulation, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.names = options.names[:1]
    accuracy: list[list[str]] = []

    def rows() -> Iterator[list[str]]:
        with tempfile.TemporaryDirectory() as work:
            for name, imaging in observations(options, Path(work)):
                for gridder in GRIDDERS:
                    with tempfile.TemporaryDirectory() as folder:
                        run = measure(imaging, gridder, options.runs, Path(folder))
                    first = [name, f"{run.visibilities / 1e6:.3g}", f"{imaging['imsize']}^2", gridder]
                    accuracy.extend([*first, *row] for row in accuracy_rows(run))
                    yield [*first, *timing_row(run)]

    columns = ("residual [s]", "CASA's [s]", "CASA's / ours", "build [s]", "CASA's [s]", "CASA's / ours")
    print_table((*FIRST_COLUMNS, *columns), list(rows()))  # at the end: CASA prints its progress
    print()
    beside = (
        "ours - CASA's",
        "inner half",
        "r.m.s.",
        "ours - direct sum",
        "inner half",
        "CASA's - direct sum",
        "inner half",
    )
    print_table((*FIRST_COLUMNS, "image", *beside), accuracy)


if __name__ == "__main__":
    main()
