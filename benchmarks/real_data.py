r"""Every radio data set that the tests know, with the defaults of each task, beside tclean.

No one knows the true skies. Of the uv cells, one in five is held out; `held-out chi^2` is
$\sum w |V - M|^2 / (2 N s^2)$ of the visibilities V in these cells, the model M of the others and the noise scale s,
the same for all tasks. `residual` is the r.m.s. of the residual image over its thermal noise. `over tclean` is the time
over that of tclean with natural weights. Both ran in one process, one after the other.

python -m benchmarks.real_data --figures FOLDER
"""

from __future__ import annotations

import argparse
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import casalog, importuvfits, tclean

from benchmarks.held_out import Misfit, flag, fold_numbers, misfit, predict
from benchmarks.measure import print_table, timed
from benchmarks.real_data_files import RealDataMissing, real_data_file, real_ms
from casa_ml_tasks import jointdeconv, resolveimage, rmlclean
from casa_ml_tasks.calibration.survey import survey
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import Selection, blocks

HELD_OUT = 0  # the fold
CLEAN = {"niter": 20000, "nsigma": 3.0}
TASKS: Mapping[str, tuple[Callable[..., Any], Mapping[str, Any]]] = {
    "tclean, natural": (tclean, CLEAN),
    "tclean, Briggs": (tclean, CLEAN | {"weighting": "briggs", "robust": 0.5}),
    "rmlclean": (rmlclean, {}),
    "resolveimage": (resolveimage, {}),
    "jointdeconv": (jointdeconv, {}),
}


@dataclass(frozen=True)
class Observation:
    """A data set, and the image that all tasks make.

    Attributes:
        archive: file name.
        field_of_view: of one pointing, arcsec; the uv cells that are held out are one over it wide.
        imaging: tclean's parameters that all tasks share.
    """

    archive: str
    field_of_view: float
    imaging: Mapping[str, Any]


def _square(imsize: int, cell: float, **more: Any) -> dict[str, Any]:
    return {"imsize": imsize, "cell": f"{cell}arcsec", "datacolumn": "data", **more}


OBSERVATIONS = {
    "hd142527": Observation("HD142527_B9cont.ms.tar.gz", 12.8, _square(256, 0.05)),
    "hd142527 CO": Observation("HD142527_CO65_1ch.ms.tar.gz", 12.8, _square(256, 0.05)),
    "ngc5921": Observation("NGC5921_cal.ms.tar.gz", 3600.0, _square(256, 15.0)),
    "3c273 VLA": Observation("3C273XC1.fits", 64.0, _square(256, 0.25)),
    "3c273 VLBA": Observation("3C273_VLBA_43GHz_2016-12.UVP", 0.0256, _square(512, 5e-5)),
    "m87 VLBA": Observation("M87_VLBA_8GHz_MOJAVE_2006-06-15.uvfits", 0.1024, _square(512, 2e-4)),
    "m87 EHT 5 April": Observation("SR1_M87_2017_095_hi_hops_netcal_StokesI.uvfits", 2.56e-4, _square(128, 2e-6)),
    "m87 EHT 11 April": Observation("SR1_M87_2017_101_hi_hops_netcal_StokesI.uvfits", 2.56e-4, _square(128, 2e-6)),
    "m87 EHT ALMArot": Observation("SR2_M87_2017_101_lo_hops_ALMArot.uvfits", 2.56e-4, _square(128, 2e-6)),
    "m87 EHT selfcal": Observation("SR2_M87_2017_101_lo_hops_zbl-dtcal+selfcal.uvfits", 2.56e-4, _square(128, 2e-6)),
    "antennae": Observation(
        "Antennae_North_CO32_mosaic.ms.tar.gz",
        18.0,
        _square(320, 0.2, phasecenter="J2000 12h01m52.96s -18d52m02.5s", gridder="mosaic"),
    ),
    "lupus": Observation("Lupus3MMS_ACA7m_CO10_11ptg.tar.gz", 90.0, _square(200, 2.0, gridder="mosaic")),
}
COLUMNS = (
    *("data", "task", "[s]", "over tclean", "noise scale", "residual", "flux [Jy]", "held-out chi^2", "warnings"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=OBSERVATIONS, default=list(OBSERVATIONS), help="some of the data")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="some of the tasks")
    parser.add_argument("--figures", type=Path, help="folder for the reports of our tasks")
    options = parser.parse_args()
    print_table(COLUMNS, [])
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            for row in rows(name, options.tasks, Path(folder)):
                print("| " + " | ".join(row) + " |", flush=True)
            if options.figures is not None:
                for report in Path(folder).glob("*.report"):
                    shutil.copytree(report, options.figures / name / report.stem, dirs_exist_ok=True)


def rows(name: str, tasks: Sequence[str], work: Path) -> list[list[str]]:
    """A row of the table for each task."""
    observation = OBSERVATIONS[name]
    measurement_sets = imported(observation.archive, work)
    noise_scale = survey([Selection(vis) for vis in measurement_sets]).noise_scale
    held = HeldOut.of(measurement_sets, observation.field_of_view, work)
    seconds, noise, found = {}, float("nan"), []
    for task in tasks:
        call, options = TASKS[task]
        imagename = work / task.replace(", ", "_")
        shared = {**observation.imaging, **options}
        log = work / f"{imagename.name}.log"
        casalog.setlogfile(str(log))
        try:
            result, seconds[task] = timed(call, vis=measurement_sets, imagename=str(imagename), **shared)
        except (RuntimeError, ValueError) as error:
            found.append([name, task, f"{type(error).__name__}: {error}"])
            continue
        warnings = warnings_of(log)
        noise = result.get("thermal_noise", noise)
        chi2 = held.chi2(call, imagename, observation.imaging, shared, noise_scale)
        found.append(
            [
                name,
                task,
                f"{seconds[task]:.0f}",
                f"{seconds[task] / seconds.get('tclean, natural', np.nan):.1f}",
                f"{result['noise_scale']:.3g}" if "noise_scale" in result else "",
                f"{residual_rms(imagename) / result['thermal_noise']:.2f}" if "thermal_noise" in result else "",
                f"{read_image(f'{imagename}.model').sum():.4g}",
                f"{chi2.held_out:.4g}",
                "; ".join(warnings),
            ]
        )
    return found


@dataclass(frozen=True)
class HeldOut:
    """Visibilities that are predicted from the others.

    Attributes:
        measurement_sets, training: paths of all, and of copies in which those held out are flagged.
        read, held: blocks of each Measurement Set, and which of their visibilities are held out.
    """

    measurement_sets: list[str]
    training: list[str]
    read: list[list[Any]]
    held: list[list[Any]]

    @classmethod
    def of(cls, measurement_sets: list[str], field_of_view: float, work: Path) -> HeldOut:
        """Make the copies."""
        read = [list(blocks(Selection(vis))) for vis in measurement_sets]
        held = [[fold_numbers(block, field_of_view) == HELD_OUT for block in each] for each in read]
        training = []
        for number, (vis, some, out) in enumerate(zip(measurement_sets, read, held, strict=True)):
            copy = shutil.copytree(vis, work / f"without{number}.ms")
            flag(copy, some, out)
            training.append(str(copy))
        return cls(measurement_sets, training, read, held)

    def chi2(
        self,
        task: Callable[..., Any],
        imagename: Path,
        imaging: Mapping[str, Any],
        parameters: Mapping[str, Any],
        noise_scale: float,
    ) -> Misfit:
        """Of what the task's image of the others predicts: CASA's imager for all, but for the sky of jointdeconv."""
        name, predicts = f"{imagename}_training", task is jointdeconv
        task(vis=self.training, imagename=name, **parameters, **({"savemodel": "modelcolumn"} if predicts else {}))
        misfits, counts = [], []
        sets = self.training if predicts else self.measurement_sets
        for vis, read, held in zip(sets, self.read, self.held, strict=True):
            if not predicts:
                predict(vis, name, imaging)
            misfits.append(misfit(vis, read, held, noise_scale))
            counts.append(sum(int(np.count_nonzero(each)) for each in held))
        return Misfit(*np.average([tuple(vars(each).values()) for each in misfits], axis=0, weights=counts))


def imported(archive: str, work: Path) -> list[str]:
    """The Measurement Sets of an archive; one unless it is a tar of UVFITS files."""
    if not archive.startswith("Lupus"):
        return [real_ms(archive, work)]
    with tarfile.open(real_data_file(archive)) as tar:
        tar.extractall(work, filter="data")
    paths = sorted(work.rglob("*.fits"))
    for path in paths:
        importuvfits(fitsfile=str(path), vis=str(path.with_suffix(".ms")))
    return [str(path.with_suffix(".ms")) for path in paths]


def residual_rms(imagename: Path) -> float:
    """Of the residual image where the primary beam is above 0.2, Jy/beam."""
    residual, beam = (read_image(f"{imagename}.{extension}") for extension in ("residual", "pb"))
    return float(np.sqrt(np.mean(residual[beam > 0.2] ** 2)))


def warnings_of(log: Path) -> list[str]:
    """The first words of each warning in a CASA log of one run, but for those about the measures data."""
    lines = [line.split("\t")[-1] for line in log.read_text().splitlines() if "\tWARN\t" in line]
    return [re.sub(r"\s+", " ", " ".join(line.split()[:9])) for line in lines if "CORRECTED_DATA" not in line]


if __name__ == "__main__":
    try:
        main()
    except RealDataMissing as missing:
        raise SystemExit(str(missing)) from missing
