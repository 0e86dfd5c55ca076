"""rmlclean and tclean with parallel=True on the same ranks of mpirun, in turn.

Both make the PSF and the dirty image of the same simulated continuum (`niter=0`), and then an image. tclean stops at
three times the noise or after five major cycles.

mpirun --oversubscribe -n 3 python -m benchmarks.parallel_race
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import print_table
from benchmarks.stopwatch import interleaved
from casa_ml_tasks import rmlclean
from casa_ml_tasks.simulation import simulate

RUNS = 1
SIGMA = 5.0  # Jy, of a visibility: sources of some hundred times the noise of the image
OF_TCLEAN = {"deconvolver": "hogbom", "nsigma": 3.0, "nmajor": 5, "niter": 100_000, "gain": 0.1}


def afresh(task: Callable[..., Any], folder: Path, **parameters: Any) -> None:
    """Run a task in an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    task(imagename=str(folder / "sky"), **parameters)


def main() -> None:
    from casatasks import tclean  # after our package: a rank serves as soon as it imports it

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imsize", type=int, default=1024, help="pixels a side")
    parser.add_argument("--integrations", type=int, default=400, help="of the simulated observation, each 2e4 samples")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        observed = simulate(
            folder / "observed.ms", antennas=50, channels=16, integrations=options.integrations, sigma=SIGMA
        )
        common = {
            "vis": str(observed.path), "imsize": options.imsize, "cell": f"{12 / options.imsize}arcsec",
            "datacolumn": "data", "weighting": "briggs", "parallel": True,
        }  # fmt: skip
        calls = {
            ("dirty", "tclean"): partial(afresh, tclean, folder / "tclean", **common, niter=0),
            ("dirty", "rmlclean"): partial(afresh, rmlclean, folder / "rmlclean", **common, niter=0),
            ("image", "tclean"): partial(afresh, tclean, folder / "tclean", **common, **OF_TCLEAN),
            ("image", "rmlclean"): partial(afresh, rmlclean, folder / "rmlclean", **common),
        }
        times = interleaved(calls, RUNS)
        print_table(
            ["task", "dirty image [s]", "image [s]"],
            [
                [task, *(f"{times[what, task].median:.1f}" for what in ("dirty", "image"))]
                for task in ("tclean", "rmlclean")
            ],
        )


if __name__ == "__main__":
    main()
