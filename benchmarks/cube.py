"""A cube by rmlclean and by tclean: wall time, and what each leaves of a known sky.

Both tasks get the same LSRK channels, natural weights and five pixels to the beam; tclean cleans with scales to three
times the noise. The flux is that in the middle, where the sources are.

python -m benchmarks.cube
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import tclean

from benchmarks.measure import print_table, timed
from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.simulation import SimulatedMS, simulate

CLEAN = {"deconvolver": "multiscale", "scales": [0, 4, 12], "niter": 100000, "nsigma": 3.0, "nmajor": 12}

AROUND = 50  # pixels from the centre that the sources fill


def compare(observed: SimulatedMS, imaging: dict[str, Any], folder: Path) -> Iterator[list[str]]:
    """A row for every task: seconds, flux and residual."""
    tasks: dict[str, tuple[Any, dict[str, Any]]] = {
        "rmlclean": (rmlclean, {}),
        "rmlclean, native": (rmlclean, {"gridder": "native", "specmode": "cubedata"}),
        "tclean": (tclean, CLEAN),
    }
    truth = sum(source.flux for source in observed.sources)
    middle = imaging["imsize"] // 2
    around = slice(middle - AROUND, middle + AROUND)
    for name, (task, options) in tasks.items():
        imagename = str(folder / name.replace(", ", "_"))
        _, seconds = timed(task, vis=str(observed.path), imagename=imagename, **(imaging | options))
        flux = read_image(f"{imagename}.model")[1:, 0, around, around].sum(axis=(1, 2)) / truth
        noise = 1 / np.sqrt(read_image(f"{imagename}.sumwt").ravel()[1:])
        residual = read_image(f"{imagename}.residual")[1:].std(axis=(1, 2, 3)) / noise
        yield [name, f"{seconds:.1f}", f"{flux.mean():.3f}", f"{flux.std():.3f}", f"{np.median(residual):.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        observed = simulate(
            Path(folder) / "cube.ms", antennas=30, channels=options.channels, integrations=20, radius=450, sigma=0.6
        )
        imaging = {"specmode": "cube", "imsize": options.size, "cell": "0.06arcsec", "datacolumn": "data"}
        samples = observed.rows * options.channels
        print(f"{options.channels} channels of {options.size}^2 pixels, {samples} visibilities.\n")
        columns = ("task", "[s]", "flux found, mean", "scatter of the channels", "r.m.s. residual / noise")
        print_table(columns, compare(observed, imaging, Path(folder)))


if __name__ == "__main__":
    main()
