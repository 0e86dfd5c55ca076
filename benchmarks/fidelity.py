"""rmlclean as it comes, against multi-scale CLEAN, on five skies of known truth that lie between the pixels.

python -m benchmarks.fidelity --seeds 1 2 3
python -m benchmarks.fidelity --seeds 1 2 3 --on-grid
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from casatasks import tclean

from benchmarks.measure import geometric_mean, print_table, timed
from benchmarks.skies import MULTISCALE_CLEAN, Sky, add_grid, add_options, chosen_skies
from casa_ml_tasks import rmlclean

COLUMNS = (
    "sky (seed)",
    "error at the beam / CLEAN's",
    "at half the beam / CLEAN's",
    "flux found",
    "CLEAN's",
    "rmlclean [s]",
    "tclean [s]",
    "time ratio",
    "minor iterations",
    "major cycles",
    "prediction error / dirty peak",
)


def compare(sky: Sky, work: Path, regstrength: list[float] | str) -> tuple[list[str], tuple[float, float, float]]:
    """A row of the table, and its three ratios: error at the beam, at half the beam, wall time."""
    rml, clean = work / f"{sky.name}{sky.seed}", work / f"{sky.name}{sky.seed}_clean"
    report, seconds = timed(rmlclean, imagename=str(rml), regstrength=regstrength, **sky.imaging)
    _, clean_seconds = timed(tclean, imagename=str(clean), **sky.imaging, **MULTISCALE_CLEAN)
    ours, theirs = sky.score_of_product(rml, clean), sky.score_of_product(clean, clean)
    ratios = ours.beam / theirs.beam, ours.half_beam / theirs.half_beam, seconds / clean_seconds
    prediction = report["cycles"][1]["prediction_error"] / report["cycles"][0]["peak_residual"]
    row = [f"{sky.name} ({sky.seed})", f"{ratios[0]:.3f}", f"{ratios[1]:.3f}", f"{ours.flux:.3f}", f"{theirs.flux:.3f}"]
    row += [f"{seconds:.1f}", f"{clean_seconds:.1f}", f"{ratios[2]:.2f}"]
    return [*row, str(report["iterdone"]), str(report["nmajordone"]), f"{prediction:.1e}"], ratios


def whole_process(sky: Sky, work: Path) -> Iterator[list[str]]:
    """Wall time of a fresh Python: imports, compilation, the task."""
    calls: dict[str, dict[str, Any]] = {
        "rmlclean": {"imagename": str(work / "fresh"), **sky.imaging},
        "tclean": {"imagename": str(work / "fresh_clean"), **sky.imaging, **MULTISCALE_CLEAN},
    }
    for task, parameters in calls.items():
        module = "casa_ml_tasks" if task == "rmlclean" else "casatasks"
        script = f"import casa_ml_tasks\nfrom {module} import {task}\n{task}(**{parameters!r})"
        command = [sys.executable, "-c", script]
        _, seconds = timed(subprocess.run, args=command, check=True, capture_output=True)
        yield [task, sky.name, f"{seconds:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    add_grid(parser)
    parser.add_argument("--auto", action="store_true", help="with regstrength='auto', cross-validation")
    options = parser.parse_args()
    ratios: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        skies = list(chosen_skies(options))

        def rows() -> Iterator[list[str]]:
            for sky in skies:
                row, ratio = compare(sky, Path(folder), "auto" if options.auto else [])
                ratios.append(ratio)
                yield row

        print_table(COLUMNS, rows())
        beam, half_beam, seconds = (geometric_mean(column) for column in zip(*ratios, strict=True))
        print(f"\nGeometric means: {beam:.3f} at the beam, {half_beam:.3f} at half the beam, {seconds:.2f} in time.\n")
        print_table(("whole process", "sky", "[s]"), whole_process(skies[0], Path(folder)))


if __name__ == "__main__":
    main()
