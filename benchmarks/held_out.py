r"""rmlclean beside multi-scale CLEAN on real ALMA data: held-out visibilities, residuals, and figures of the images.

No one knows the true sky, but a good image predicts visibilities that it was made without. Cells of the uv plane are
dealt to five folds; each task images the others of a fold, CASA's imager predicts the held-out visibilities V from its
model M, and $\chi^2 = \sum w |V - M|^2 / (2 N s^2)$, with the measured noise scale s, tells how well: 1 is noise alone.

python -m benchmarks.held_out
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from casatasks import tclean
from casatools import table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray
from PIL import Image
from scipy.constants import arcsecond

from benchmarks.measure import print_table, rmlclean_parameters, timed
from benchmarks.real_data_files import RealDataMissing, real_ms
from casa_ml_tasks import rmlclean
from casa_ml_tasks.calibration.survey import survey
from casa_ml_tasks.data.casa_image import Beam, read_beam, read_cell, read_image
from casa_ml_tasks.data.measurement_set import (
    SPEED_OF_LIGHT,
    Block,
    Selection,
    blocks,
    open_table,
)
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import MinorCycle, MinorState
from casa_ml_tasks.kernels.uv_split import folds
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.report.sky_figures import DIVERGING, SEQUENTIAL, asinh_ticks, sky_edges
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks import rml_minor_cycles

FOLDS, SEED = 5, 2  # another seed than the task's own cross-validation, which finds one fold in five empty otherwise
MULTISCALE = {"deconvolver": "multiscale", "scales": [0, 5, 15], "niter": 30000, "nsigma": 3.0}
AUTOMASK = {  # as the ALMA pipeline has it for the 12 m array
    "usemask": "auto-multithresh",
    "sidelobethreshold": 2.0,
    "noisethreshold": 4.25,
    "lownoisethreshold": 1.5,
    "minbeamfrac": 0.3,
}
Task = tuple[Callable[..., Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Observation:
    """A data set, and how to image it.

    Attributes:
        archive: file name of the Measurement Set.
        title: of the figure.
        imaging: tclean's parameters that all tasks share.
        tasks: name to the task and its own parameters; 'tclean' is the one to beat.
        drawn: names of the tasks in the figure; the last one's residual sets the colour scale.
        field_of_view: of one pointing, arcsec; the uv cells that are held out are one over it wide.
        radius: of what is drawn, arcsec; 0 draws everything.
    """

    archive: str
    title: str
    imaging: Mapping[str, Any]
    tasks: Mapping[str, Task]
    drawn: Sequence[str]
    field_of_view: float
    radius: float = 0.0


OBSERVATIONS = {
    "hd142527": Observation(
        archive="HD142527_B9cont.ms.tar.gz",
        title="HD 142527, ALMA Band 9 continuum",
        imaging={"imsize": 256, "cell": "0.05arcsec", "datacolumn": "data", "weighting": "briggs", "robust": 0.5},
        tasks={
            "tclean": (tclean, MULTISCALE | AUTOMASK),
            "rmlclean": (rmlclean, {}),
            "tclean, deep": (tclean, MULTISCALE | AUTOMASK | {"nsigma": 0.0, "threshold": "3.1mJy"}),
            "rmlclean, auto": (rmlclean, {"regstrength": "auto"}),
        },
        drawn=("tclean", "rmlclean, auto", "rmlclean"),
        field_of_view=12.8,
        radius=2.4,
    ),
    "antennae": Observation(
        archive="Antennae_North_CO32_mosaic.ms.tar.gz",
        title="Antennae, ALMA CO(3–2), 23 pointings",
        imaging={
            "imsize": 320,
            "cell": "0.2arcsec",
            "phasecenter": "J2000 12h01m52.96s -18d52m02.5s",
            "datacolumn": "data",
            "gridder": "mosaic",
        },
        tasks={"tclean": (tclean, MULTISCALE | AUTOMASK), "rmlclean": (rmlclean, {})},
        drawn=("tclean", "rmlclean"),
        field_of_view=18.0,
        radius=29.0,
    ),
}


@dataclass(frozen=True)
class Misfit:
    """chi^2 per degree of freedom: of the visibilities held out, the median of these, and of those imaged."""

    held_out: float
    median: float
    imaged: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=OBSERVATIONS, help="one observation")
    parser.add_argument(
        "--tasks", nargs="+", help="those of a table's rows alone; without tclean there is no difference"
    )
    parser.add_argument("--folds", type=int, default=FOLDS, help="how many of the five are held out, one by one")
    parser.add_argument("--figures", type=Path, help="folder for a PNG of each observation")
    options = parser.parse_args()
    for name in [options.only] if options.only else OBSERVATIONS:
        observation = OBSERVATIONS[name]
        if options.tasks:
            chosen = {task: how for task, how in observation.tasks.items() if task in options.tasks}
            observation = replace(observation, tasks=chosen, drawn=tuple(filter(chosen.get, observation.drawn)))
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            try:
                vis = real_ms(observation.archive, work)
            except RealDataMissing as missing:
                raise SystemExit(str(missing)) from missing
            print(f"\n{observation.title}\n", flush=True)
            compare(observation, vis, work, options.folds)
            if options.figures is not None:
                save(draw(observation, work), options.figures / f"{name}.png")
            if name == "hd142527":
                print()
                prediction(vis, observation.imaging, work)


def compare(observation: Observation, vis: str, work: Path, count: int) -> None:
    """Print what each task makes of all visibilities, and how it predicts each fold; leave the images in `work`."""
    rows = []
    for name, (task, options) in observation.tasks.items():
        report, seconds = timed(task, vis=vis, imagename=str(work / file_name(name)), **observation.imaging, **options)
        counts = [str(report[key]) for key in ("nmajordone", "iterdone")]
        rows.append([name, *image_statistics(work / file_name(name)), *counts, f"{seconds:.0f}"])
    columns = ("r.m.s. residual [mJy/beam]", "peak [mJy/beam]", "model flux [Jy]", "major cycles", "iterations", "[s]")
    print_table(("task", *columns), rows)
    print()

    misfits = held_out_misfits(observation, vis, work, count)
    numbers = [f"fold {number + 1}" for number in range(count)]
    means = ("mean", "minus tclean's", "median", "of those imaged")
    rival = misfits.get("tclean")
    print_table(
        ("held-out chi^2", *numbers, *means),
        [prediction_row(name, found, rival) for name, found in misfits.items()],
    )


def file_name(name: str) -> str:
    """A task's name without what CASA would read as an expression of images."""
    return name.replace(", ", "_")


def image_statistics(imagename: Path) -> list[str]:
    """R.m.s. residual and peak of the restored image where the primary beam is above 0.2, and flux of the model."""
    residual, image, beam = (read_image(f"{imagename}.{extension}") for extension in ("residual", "image", "pb"))
    inside = beam > 0.2
    flux = read_image(f"{imagename}.model").sum()
    rms = np.sqrt(np.mean(residual[inside] ** 2))
    return [f"{1e3 * rms:.2f}", f"{1e3 * image[inside].max():.0f}", f"{flux:.2f}"]


def prediction_row(name: str, found: Sequence[Misfit], rival: Sequence[Misfit] | None) -> list[str]:
    """The misfits of one task, and the mean of its differences from the rival with the standard error of the folds."""
    held_out, compared = np.array([misfit.held_out for misfit in found]), ""
    if rival is not None and found is not rival:
        difference = held_out - [misfit.held_out for misfit in rival]
        error = difference.std(ddof=1) / np.sqrt(difference.size) if difference.size > 1 else np.nan
        compared = f"{difference.mean():+.3f} ± {error:.3f}"
    median, imaged = (np.mean([getattr(misfit, kind) for misfit in found]) for kind in ("median", "imaged"))
    means = [f"{held_out.mean():.3f}", compared, f"{median:.3f}", f"{imaged:.3f}"]
    return [name, *(f"{value:.3f}" for value in held_out), *means]


def held_out_misfits(observation: Observation, vis: str, work: Path, count: int) -> dict[str, list[Misfit]]:
    """For every task the misfit of each fold, from images made without it."""
    selection = Selection(vis)
    noise_scale = survey([selection]).noise_scale
    read = list(blocks(selection))
    fold_of = [fold_numbers(block, observation.field_of_view) for block in read]
    misfits: dict[str, list[Misfit]] = {name: [] for name in observation.tasks}
    for number in range(count):
        held_out = [fold == number for fold in fold_of]
        training = shutil.copytree(vis, work / f"without{number}.ms")
        flag(training, read, held_out)
        for name, (task, options) in observation.tasks.items():
            imagename = f"{work / file_name(name)}{number}"
            task(vis=str(training), imagename=imagename, **observation.imaging, **options)
            predict(vis, imagename, observation.imaging)
            misfits[name].append(misfit(vis, read, held_out, noise_scale))
    return misfits


def fold_numbers(block: Block, field_of_view: float) -> NDArray[np.uint8]:
    """The fold of each visibility, (channel, row); FOLDS for the core, which is never held out."""
    wavelengths = block.uvw[:2, None] * (block.frequency[:, None] / SPEED_OF_LIGHT)
    return folds(wavelengths.reshape(2, -1).T, field_of_view * arcsecond, FOLDS, seed=SEED).reshape(
        wavelengths.shape[1:]
    )


def flag(vis: Path, read: Sequence[Block], held_out: Sequence[NDArray[np.bool_]]) -> None:
    """Flag the held-out visibilities of each block, (channel, row)."""
    main = table()
    main.open(str(vis), nomodify=False)
    try:
        for block, held in zip(read, held_out, strict=True):
            with closing(main.selectrows(block.row)) as part:
                flags = part.getcol("FLAG")
                flags[:, block.channel] |= held
                part.putcol("FLAG", flags)
    finally:
        main.close()


def predict(vis: str, imagename: str, imaging: Mapping[str, Any]) -> None:
    """Write the visibilities of the model `imagename` into MODEL_DATA, by CASA's imager for any task's model."""
    only_predict = {"niter": 0, "calcres": False, "calcpsf": False, "restoration": False, "savemodel": "modelcolumn"}
    tclean(vis=vis, imagename=imagename, **{**imaging, "weighting": "natural", **only_predict})


def misfit(vis: str, read: Sequence[Block], held_out: Sequence[NDArray[np.bool_]], noise_scale: float) -> Misfit:
    """chi^2 of DATA minus MODEL_DATA, Stokes I.

    CASA's imager predicts nothing, 0, where a cross-hand is flagged: these visibilities are left out, for every task.
    """
    predicted, imaged = [], []
    with open_table(vis) as main:
        for block, held in zip(read, held_out, strict=True):
            with closing(main.selectrows(block.row)) as part:
                model = part.getcol("MODEL_DATA")[list(block.hands)][:, block.channel].mean(axis=0)
            usable = ~block.flagged & (block.weight > 0).all(axis=0) & (model != 0)
            chi2 = block.weight.sum(axis=0) * np.abs(block.visibility.mean(axis=0) - model) ** 2 / (2 * noise_scale**2)
            predicted.append(chi2[usable & held])
            imaged.append(chi2[usable & ~held])
    found = np.concatenate(predicted)
    return Misfit(float(found.mean()), float(np.median(found) / np.log(2)), float(np.concatenate(imaged).mean()))


def draw(observation: Observation, work: Path) -> Figure:
    """A row for each task: restored image and model at one colour scale, and the residual.

    The model is shown as what a beam's solid angle of it emits, so that all panels are in mJy/beam.
    """
    imagenames = [work / file_name(task) for task in observation.drawn]
    cell, beam = read_cell(f"{imagenames[0]}.image"), read_beam(f"{imagenames[0]}.image")
    assert beam is not None, "a restored image has one"
    inside = read_image(f"{imagenames[0]}.pb")[0, 0] > 0.2
    units = {"image": 1e3, "model": 1e3 * beam.area(cell), "residual": 1e3}

    def panel(imagename: Path, kind: str) -> NDArray[np.floating]:
        return np.where(inside, units[kind] * read_image(f"{imagename}.{kind}")[0, 0], np.nan)

    panels = [[panel(imagename, kind) for kind in units] for imagename in imagenames]
    residual = panels[-1][-1]
    noise = 1.4826 * float(np.nanmedian(np.abs(residual - np.nanmedian(residual))))
    brightest = 1.5 * max(float(np.nanmax(image)) for image, _, _ in panels)
    stretch = AsinhNorm(linear_width=5 * noise, vmin=-5 * noise, vmax=brightest)
    sky: dict[str, Any] = {"norm": stretch, "cmap": SEQUENTIAL}
    rest: dict[str, Any] = {"norm": Normalize(-10 * noise, 10 * noise), "cmap": DIVERGING}

    edges = sky_edges(inside.shape, cell)
    radius = observation.radius
    limits = (radius, -radius, -radius, radius) if radius else edges
    figure = Figure(figsize=(8.4, 2.6 * len(panels) + 1.4), dpi=110, layout="constrained")
    axes = figure.subplots(len(panels), 3, sharex=True, sharey=True)
    for line, task, images in zip(axes, observation.drawn, panels, strict=True):
        for each, kind, image in zip(line, units, images, strict=True):
            drawn = each.imshow(image, origin="lower", extent=edges, **(rest if kind == "residual" else sky))
            each.add_patch(beam_ellipse(beam, limits))
            each.set(title=f"{task}: {kind}", xlim=limits[:2], ylim=limits[2:], facecolor="0.9")
    figure.suptitle(observation.title)
    for each in axes[-1]:
        each.set_xlabel("offset East (arcsec)")
    for each in axes[:, 0]:
        each.set_ylabel("offset North (arcsec)")
    scale = figure.colorbar(axes[0, 0].images[0], ax=axes[:, :2], location="bottom", aspect=40, shrink=0.9)
    ticks = asinh_ticks(stretch)
    scale.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    scale.minorticks_off()
    scale.set_label("image and model (mJy/beam)")
    figure.colorbar(drawn, ax=axes[:, 2], location="bottom", aspect=20, shrink=0.9, label="residual (mJy/beam)")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours, a third the size of one with all."""
    path.parent.mkdir(exist_ok=True)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(
        path, optimize=True
    )


def beam_ellipse(beam: Beam, limits: Sequence[float]) -> Ellipse:
    """The CLEAN beam in the South-East corner."""
    east, west, south, _ = limits
    margin = 0.03 * (east - west) + beam.major / 2
    return Ellipse((east - margin, south + margin), beam.minor, beam.major, angle=-beam.angle, fc="white", ec="black")


def prediction(vis: str, imaging: Mapping[str, Any], work: Path) -> None:
    """Print how well the minor cycle foresaw the next major cycle's residual; the second never stops early."""
    workspace = Workspace(work / "prediction", ())
    workspace.begin(resume=False)
    parameters = rmlclean_parameters(vis=vis, imagename=str(workspace.imagename), **imaging)
    request = Request.from_parameters(**parameters)
    major = CasaMajorCycle(request, workspace.directory)
    regularisation = Regularisation.from_parameters(request, **parameters)
    noise = major.noise()[0] * request.noise.scale_or(survey(request.selection.selections).noise_scale)
    minor: MinorCycle = rml_minor_cycles.minor_cycle(major, workspace, noise, [request], regularisation)
    model = np.zeros(major.shape, np.float32)
    residual = major.residual(model)
    inside, peak = major.primary_beam() > 0.2, float(np.abs(residual).max())

    def errors(predicted: NDArray[np.floating], found: NDArray[np.floating]) -> list[str]:
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
