"""rmlclean against multi-scale CLEAN on real data: the disk HD 142527 in ALMA Band 9.

python -m benchmarks.hd142527
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pytest
from casatasks import tclean

from benchmarks.measure import print_table, rmlclean_parameters, timed
from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import selections, survey
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Image, MinorCycle, MinorState
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.tasks import cycle_choice
from tests.real_data import real_ms

IMAGING = {"imsize": 256, "cell": "0.05arcsec", "datacolumn": "data", "weighting": "briggs", "robust": 0.5}
MULTISCALE_CLEAN = {"deconvolver": "multiscale", "scales": [0, 5, 15], "niter": 10000, "nsigma": 3.0}


def rms_in_beam(imagename: Path) -> float:
    """R.m.s. of the residual where the primary beam is above 0.2, Jy/beam."""
    residual, beam = (read_image(f"{imagename}.{extension}") for extension in ("residual", "pb"))
    return float(np.sqrt(np.mean(residual[beam > 0.2] ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vis", help="the Measurement Set, where it is unpacked already")
    parser.add_argument("--runs", type=int, default=1, help="of each task, interleaved")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        try:
            vis = options.vis or real_ms("HD142527_B9cont.ms.tar.gz", work)
        except pytest.skip.Exception as missing:
            raise SystemExit(str(missing)) from missing
        compare(vis, work, options.runs)
        print()
        prediction(vis, work)


def compare(vis: str, work: Path, runs: int) -> None:
    """Print residual, cycles and wall time of both, run one after the other; the first run pays for compilation."""
    columns = ("task", "r.m.s. residual in the primary beam [mJy/beam]", "major cycles", "iterations", "[s]")
    rows = []
    for run in range(1, runs + 1):
        for name, task, options in (("rmlclean", rmlclean, {}), ("tclean", tclean, MULTISCALE_CLEAN)):
            imagename = work / f"{name}{run}"
            report, seconds = timed(task, vis=vis, imagename=str(imagename), **IMAGING, **options)
            counts = [str(report[key]) for key in ("nmajordone", "iterdone")]
            rms = f"{1e3 * rms_in_beam(imagename):.4f}"
            rows.append([f"{name}, run {run}", rms, *counts, f"{seconds:.1f}"])
    print_table(columns, rows)


def prediction(vis: str, work: Path) -> None:
    """Print how well the minor cycle foresaw the next major cycle's residual; the second never stops early."""
    parameters = rmlclean_parameters(vis=vis, **IMAGING)
    workspace = Workspace(work / "prediction")
    workspace.begin(resume=False)
    major = CasaMajorCycle(parameters, workspace.directory)
    noise = major.noise()[0] * cycle_choice.noise_scale(parameters, survey(selections(parameters)))
    minor: MinorCycle = cycle_choice.minor_cycle(major, workspace, noise, parameters)
    model = np.zeros(major.shape, np.float32)
    residual = major.residual(model)
    inside, peak = major.primary_beam() > 0.2, float(np.abs(residual).max())

    def errors(predicted: Image, found: Image) -> list[str]:
        difference = np.abs(predicted - found) / peak
        return [f"{difference.max():.1e}", f"{difference[inside].max():.1e}"]

    rows = []
    for cycle in (1, 2):
        model, state = minor.update(residual, model, MinorState())
        residual = major.residual(model)
        assert state.predicted_residual is not None
        rows.append([str(cycle), *errors(state.predicted_residual, residual)])
    major.close()
    print_table(("cycle", "prediction error / dirty peak, whole image", "in the primary beam"), rows)


if __name__ == "__main__":
    main()
