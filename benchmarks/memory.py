"""Peak memory of rmlclean against what casatools itself needs, each in a process of its own.

rmlclean's minor cycle is cut short: its memory is claimed in the first iterations.

python -m benchmarks.memory
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import print_table
from benchmarks.skies import add_options, chosen_skies

IMSIZE = 2048
MINOR_ITERATIONS = 20


def peak_memory(script: str, folder: str) -> float:
    """GiB that a fresh Python needs at most for a script; CASA's scratch files go to the folder."""
    epilogue = "import resource\nprint('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    command = [sys.executable, "-c", f"import os, casa_ml_tasks\nos.chdir({folder!r})\n{script}\n{epilogue}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (kibibytes,) = (line.split()[1] for line in output.splitlines() if line.startswith("peak "))
    return int(kibibytes) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.set_defaults(names=["gaussians"])
    parser.add_argument("--imsize", type=int, default=IMSIZE, help="pixels a side")
    options = parser.parse_args()
    for sky in chosen_skies(options):
        with tempfile.TemporaryDirectory() as folder:
            calls = scripts(sky.imaging, options.imsize, folder)
            needs = {name: peak_memory(script, folder) for name, script in calls.items()}
        smallest, doubled, ours = needs.values()
        print_table(("process", "peak [GiB]"), [[name, f"{peak:.2f}"] for name, peak in needs.items()])
        print(f"\nrmlclean needs {ours - doubled:.2f} GiB beyond CASA's PSF on twice the field, ", end="")
        print(f"{ours - smallest:.2f} GiB beyond tclean's dirty image.")


def scripts(imaging: dict[str, Any], imsize: int, folder: str) -> dict[str, str]:
    """What to run, from the smallest to the largest."""
    half: dict[str, Any] = {**imaging, "imsize": imsize}
    double: dict[str, Any] = {**imaging, "imsize": 2 * imsize, "calcres": False}
    rml: dict[str, Any] = {**half, "cycleniter": MINOR_ITERATIONS, "nmajor": 2}
    calls = {
        f"tclean, dirty image of {imsize}^2": ("casatasks", "tclean", {**half, "niter": 0}),
        f"tclean, PSF of {2 * imsize}^2": ("casatasks", "tclean", {**double, "niter": 0}),
        f"rmlclean, {imsize}^2": ("casa_ml_tasks", "rmlclean", rml),
    }
    return {
        name: f"from {module} import {task}\n{task}(imagename={str(Path(folder) / str(number))!r}, **{parameters!r})"
        for number, (name, (module, task, parameters)) in enumerate(calls.items())
    }


if __name__ == "__main__":
    main()
