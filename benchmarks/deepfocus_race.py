"""From a Measurement Set to a cube: rmlclean with a network's first steps, rmlclean, and tclean."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import tclean
from numpy.typing import NDArray

from benchmarks.measure import print_table
from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import Beam, read_beams, read_image
from casa_ml_tasks.simulation import SimulatedMS, Source, simulate

SIZE, CELL, CHANNELS = 256, 0.05, 16  # pixels, arcsec
RUNS = 2  # of each; the first pays for compilation
SOURCES = (
    Source(flux=0.06, east=1.03, north=-0.52),
    Source(flux=0.25, east=-1.21, north=0.84, size=0.3),
    Source(flux=0.10, east=2.52, north=2.11, size=0.15),
    Source(flux=0.40, east=-2.13, north=-2.34, size=0.6),
    Source(flux=0.02, east=0.21, north=2.93),
)
CLEAN = {"niter": 100000, "nsigma": 3.0, "nmajor": 20}
TASKS: Mapping[str, tuple[Any, dict[str, Any]]] = {
    "rmlclean, minorcycle='deepfocus'": (rmlclean, {"minorcycle": "deepfocus"}),
    "rmlclean": (rmlclean, {}),
    "tclean, hogbom to 3 sigma": (tclean, CLEAN),
    "tclean, multiscale to 3 sigma": (tclean, CLEAN | {"deconvolver": "multiscale", "scales": [0, 5, 15]}),
}
COLUMNS = ("task", "CPU s", "major cycles", "minor iterations", "residual, sigma", "peak, sigma", "error at the beam")


def race(integrations: int) -> None:
    """Print the table of an observation of so many integrations."""
    with tempfile.TemporaryDirectory() as folder:
        observed = simulate(
            Path(folder) / "cube.ms",
            antennas=36,
            channels=CHANNELS,
            integrations=integrations,
            radius=450,
            sigma=0.15,
            sources=SOURCES,
            channel_width=1e7,
        )
        print(f"{CHANNELS} channels of {SIZE}^2 pixels, {observed.rows * CHANNELS} visibilities.\n")
        print_table(COLUMNS, rows(observed, Path(folder)))


def rows(observed: SimulatedMS, folder: Path) -> Iterator[list[str]]:
    """Yield a row for every task."""
    imaging = {"specmode": "cubedata", "imsize": SIZE, "cell": f"{CELL}arcsec", "datacolumn": "data"}
    for number, (name, (task, options)) in enumerate(TASKS.items()):
        for run in range(RUNS):
            imagename = str(folder / f"{number}.{run}")
            begun = time.process_time()
            result = task(vis=str(observed.path), imagename=imagename, **imaging, **options)
            seconds = time.process_time() - begun
        noise = 1 / np.sqrt(read_image(f"{imagename}.sumwt"))
        residual = read_image(f"{imagename}.residual")
        found = read_image(f"{imagename}.image") - residual
        beams = read_beams(f"{imagename}.psf")
        truth = np.stack([restored_sky(SOURCES, beam, SIZE, CELL) for beam in beams if beam is not None])[:, None]
        yield [
            name,
            f"{seconds:.1f}",
            str(result["nmajordone"]),
            str(result["iterdone"]),
            f"{np.median(residual.std(axis=(2, 3)) / noise[..., 0, 0]):.3f}",
            f"{np.abs(residual / noise).max():.2f}",
            f"{np.sqrt(np.mean((found - truth) ** 2) / np.mean(truth**2)):.3f}",
        ]


def restored_sky(sources: Sequence[Source], beam: Beam, size: int, cell: float) -> NDArray[np.float64]:
    """Return sources convolved with a CLEAN beam, (size, size), Jy/beam. cell: arcsec."""
    y, x = (np.mgrid[:size, :size] - size // 2) * cell
    angle = np.radians(beam.angle)
    axes = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
    shape = axes.T * (np.array([beam.major, beam.minor]) ** 2 / (8 * np.log(2))) @ axes
    sky = np.zeros((size, size))
    for source in sources:
        covariance = shape + source.size**2 * np.eye(2)
        offset = np.stack([-x - source.east, y - source.north])
        distance = np.einsum("i...,ij,j...", offset, np.linalg.inv(covariance), offset)
        sky += source.flux * np.sqrt(np.linalg.det(shape) / np.linalg.det(covariance)) * np.exp(-distance / 2)
    return sky
