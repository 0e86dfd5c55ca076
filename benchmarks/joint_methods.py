"""Three ways to one image of a 12 m mosaic, a 7 m mosaic and a total-power map, each run in a process of its own.

sdintimaging removes `tmp_*` from the working directory and makes links relative to it, so each run has a folder of its
own as working directory. `python -m benchmarks.joint_methods METHOD FOLDER` runs one on the parameters in
FOLDER/parameters.json and writes FOLDER/run.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import casalog, feather, immath, impbcor, imregrid, sdintimaging, tclean
from numpy.typing import NDArray

import casa_ml_tasks
from benchmarks.joint_skies import CELL, CENTRE, IMSIZE, Beam, JointSky
from benchmarks.measure import timed
from casa_ml_tasks.data.casa_image import Beam as CleanBeam
from casa_ml_tasks.data.casa_image import read_beam, read_cell, read_valid

SHARED = {"datacolumn": "data", "imsize": IMSIZE, "cell": f"{CELL}arcsec", "phasecenter": CENTRE}
CLEAN = {
    "gridder": "mosaic",
    "weighting": "briggs",
    "robust": 0.5,
    "scales": [0, 4, 12, 36],
    "niter": 30000,
    "nsigma": 3.0,
    "pbcor": True,
    "usemask": "pb",
    "specmode": "mfs",
    "fullsummary": True,  # for the residual of each cycle
}
FEATHER, SDINT, OURS = METHODS = ("feather", "sdintimaging", "jointdeconv")
GROWTH = 1.2  # of the peak residual over the lowest before it, from which on a run counts as diverged


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        method: one of METHODS.
        folder: with its products.
        seconds: wall time of its tasks.
        cpu_seconds: of all its threads, with the imports; NaN where it was not measured.
        peaks: of the residual inside the mask before each minor cycle and at the end, Jy/beam; empty for jointdeconv.
    """

    method: str
    folder: Path
    seconds: float
    cpu_seconds: float
    peaks: list[float]

    @property
    def converged(self) -> bool:
        """Whether the residual did not grow from one major cycle to the next."""
        return all(peak < GROWTH * min(self.peaks[:number]) for number, peak in enumerate(self.peaks) if number)

    def beam(self) -> Beam:
        """The CLEAN beam of tclean's image."""
        beam = _beam(self.folder / "a.image")
        return beam.major, beam.minor, beam.angle

    def primary_beam(self) -> NDArray[np.float64]:
        """That of tclean's mosaic, (y, x)."""
        return _pixels(self.folder / "a.pb")

    def smoothed_skies(self, sky: JointSky, beam: Beam) -> dict[str, NDArray[np.float64]]:
        """What it found, at the resolution of the beam: (y, x), Jy/pixel, not multiplied with the primary beam.

        CLEAN's restored image, in Jy/beam, is divided by the area of its own beam, which is nearly this one.
        """
        if self.method == OURS:
            return {"model": sky.scoring.smooth(_middle(self.folder / "ours.model")[0, 0], CELL, beam)}
        if self.method == FEATHER:
            return {"image": _pixels(self.folder / "a.feather.pbcor") / _beam(self.folder / "a.image").area(CELL)}
        primary_beam = _pixels(self.folder / "b.int.cube.pb")

        def flat(kind: str) -> NDArray[np.float64]:
            pixels = _pixels(self.folder / f"b.joint.multiterm.{kind}.tt0")
            return np.where(primary_beam > 0.05, pixels / np.maximum(primary_beam, 0.05), 0)

        area = _beam(self.folder / "b.joint.multiterm.image.tt0").area(CELL)
        return {"model": sky.scoring.smooth(flat("model"), CELL, beam), "image": flat("image") / area}

    def samples(self, sky: JointSky, beam: Beam) -> NDArray[np.float64]:
        """Those of the posterior, at the resolution of the beam: (sample, y, x), Jy/pixel."""
        drawn = _middle(self.folder / "ours.samples")[:, 0]
        return np.stack([sky.scoring.smooth(each, CELL, beam) for each in drawn])

    def noise(self) -> float:
        """That of the restored image in the middle of the mosaic, Jy/beam."""
        stored: float = json.loads((self.folder / "run.json").read_text())["noise"]
        return stored


def run(method: str, sky: JointSky, folder: Path, reuse: bool, **more: Any) -> Run:
    """Run a method on a sky.

    Args:
        method: one of METHODS.
        sky: that it images.
        folder: its working directory, which is emptied.
        reuse: whether to return what an earlier run left there, if it did.
        more: parameters of jointdeconv.
    """
    found = folder / "run.json"
    if not (reuse and found.is_file()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        parameters = {"vis": sky.vis, "single_dish": sky.total_power, **more}
        (folder / "parameters.json").write_text(json.dumps(parameters))
        command = [sys.executable, "-m", "benchmarks.joint_methods", method, str(folder)]
        search = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")]))
        with (folder / "output.txt").open("w") as output:
            environment = {**os.environ, "PYTHONPATH": search}
            done = subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        if done.returncode:
            raise SystemExit(f"{method} failed on {sky.name}, seed {sky.seed}; see {folder}/output.txt")
    stored = json.loads(found.read_text())
    return Run(method, folder, stored["seconds"], stored.get("cpu_seconds", np.nan), stored["peaks"])


def _tclean_and_feather(vis: list[str], single_dish: str) -> dict[str, Any]:
    found: dict[str, Any] = tclean(
        vis=vis, imagename="a", deconvolver="multiscale", pblimit=0.1, pbmask=0.3, cyclefactor=2, nmajor=6,
        **SHARED, **CLEAN,
    )  # fmt: skip
    imregrid(imagename=single_dish, template="a.image", output="a.tp", axes=[0, 1])
    immath(imagename=["a.tp", "a.pb"], expr="IM0*IM1", outfile="a.tp.pb", imagemd="a.tp")
    feather(imagename="a.feather", highres="a.image", lowres="a.tp.pb", effdishdiam=-1)
    impbcor(imagename="a.feather", pbimage="a.pb", outfile="a.feather.pbcor", cutoff=0.2)
    return found


def _sdintimaging(vis: list[str], single_dish: str) -> dict[str, Any]:
    found: dict[str, Any] | None = sdintimaging(
        usedata="sdint", vis=vis, sdimage=single_dish, sdpsf="", sdgain=1.0, dishdia=12.0, imagename="b",
        deconvolver="mtmfs", nterms=1, nchan=1, start="", width="", reffreq="", outframe="LSRK",
        interpolation="nearest", pblimit=0.2, pbmask=0.45, cyclefactor=3.0, nmajor=5, **SHARED, **CLEAN,
    )  # fmt: skip
    if found is None:
        raise RuntimeError("sdintimaging refused its input; see its log")
    return found


def _jointdeconv(vis: list[str], single_dish: str, **more: Any) -> dict[str, Any]:
    task = casa_ml_tasks.jointdeconv
    found: dict[str, Any] = task(vis=vis, sdimage=single_dish, imagename="ours", **SHARED, **more)
    return found


TASKS: dict[str, tuple[Callable[..., dict[str, Any]], str]] = {
    FEATHER: (_tclean_and_feather, "a.{}"),
    SDINT: (_sdintimaging, "b.joint.multiterm.{}.tt0"),
    OURS: (_jointdeconv, ""),
}
"""What runs, and the name of CLEAN's products."""


def main() -> None:
    """Run one method in the working directory, which is its folder."""
    method, folder = sys.argv[1], Path(sys.argv[2])
    casalog.setlogfile(str(folder / "casa.log"))
    parameters = json.loads((folder / "parameters.json").read_text())
    task, product = TASKS[method]
    found, seconds = timed(task, **parameters)
    kept: dict[str, Any] = {
        "seconds": seconds,
        "cpu_seconds": time.process_time(),
        "peaks": [],
        "noise": found.get("image_noise"),
    }
    if product:
        (minor,) = (plane for channel in found["summaryminor"][0].values() for plane in channel.values())
        mask = folder / ("a.mask" if method == FEATHER else "b.joint.multiterm.mask")
        inside = _pixels(mask) > 0
        last = np.abs(_pixels(folder / product.format("residual"))[inside]).max()
        kept["peaks"] = [*map(float, minor["startPeakRes"]), float(last)]
    (folder / "run.json").write_text(json.dumps(kept))


def _pixels(path: Path) -> NDArray[np.float64]:
    """(y, x), 0 where masked."""
    return np.nan_to_num(read_valid(path).astype(float))[0, 0]


def _middle(path: Path) -> NDArray[np.float64]:
    """(sample or channel, stokes, IMSIZE, IMSIZE): the pixels about the centre of an image that may be larger."""
    assert abs(read_cell(path) - CELL) < 1e-6 * CELL
    pixels = np.nan_to_num(read_valid(path).astype(float))
    y, x = (count // 2 - IMSIZE // 2 for count in pixels.shape[-2:])
    return pixels[..., y : y + IMSIZE, x : x + IMSIZE]


def _beam(path: Path) -> CleanBeam:
    beam = read_beam(path)
    assert beam is not None
    return beam


if __name__ == "__main__":
    main()
