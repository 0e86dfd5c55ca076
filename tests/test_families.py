"""A third task in one file: from the call to products, report and dictionary, without a major cycle and without images.

It samples the flux of a point source at the phase centre from visibilities, as a Monte Carlo task does: the posterior
of a Gaussian likelihood is a Gaussian, whose mean and width are known.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray

from casa_ml_tasks.calibration.survey import Survey, survey
from casa_ml_tasks.data.measurement_set import Selection, blocks
from casa_ml_tasks.data.text_table import read_table, write_table
from casa_ml_tasks.data.workspace import Product
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.engine.protocols import MinorState, StateSchema
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.report.section import Drawing, Section, Table
from casa_ml_tasks.simulation import Source, simulate
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.families import FAMILIES
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.run import run_task

FLUX, SIGMA = 1.0, 0.02
DEFAULTS = {"vis": "", "imagename": "", "samples": 100, "seed": 1, "restart": True}


def point_flux(vis: str) -> tuple[float, float]:
    """Mean and standard deviation of the flux, Jy, from the real parts of all visibilities."""
    sums = np.zeros(2)
    for block in blocks(Selection(vis)):
        weight = np.where(block.flag, 0, block.weight)
        sums += np.sum(weight * block.visibility.real), np.sum(weight)
    return float(sums[0] / sums[1]), float(sums[1] ** -0.5)


@dataclass(frozen=True)
class FluxCall:
    """Its parameters."""

    values: Mapping[str, Any]
    terms: int = 0

    @property
    def parameters(self) -> list[Mapping[str, Any]]:
        return [self.values]

    def renamed(self, imagenames: Sequence[str]) -> FluxCall:
        return replace(self, values={**self.values, "imagename": imagenames[0]})


@dataclass(frozen=True)
class FluxSampler:
    """A task without major cycle and images. fails_after: samples, of the first run."""

    fails_after: int = 10**9
    name = "fluxsample"
    products = (Product("fluxes", is_image=False), Product("notes", is_image=False))
    schemas = (StateSchema("fluxsample", 1, {"fluxes": ("sample",)}),)

    def read(self, arguments: Arguments) -> FluxCall:
        if (samples := arguments.values["samples"]) < 2:
            raise ValueError(f"samples={samples} is too few; use at least 2")
        return FluxCall(arguments.values)

    def check(self, call: FluxCall) -> Survey:
        return survey([Selection(call.values["vis"])])

    def work(self, call: FluxCall, context: Context) -> NDArray[np.floating]:
        parameters = call.values
        mean, deviation = point_flux(parameters["vis"])
        fluxes = np.zeros(0) if context.interrupted is None else context.interrupted.state.latent["fluxes"]
        while len(fluxes) < parameters["samples"]:
            rng = np.random.default_rng([parameters["seed"], len(fluxes)])
            fluxes = np.append(fluxes, rng.normal(mean, deviation))
            context.checkpoint.save(Progress(np.zeros((1, 1, 1, 1)), state=MinorState(latent={"fluxes": fluxes})))
            if len(fluxes) == self.fails_after:
                raise RuntimeError("broken")
        write_table(context.workspace.unfinished("fluxes"), {"flux": fluxes}, ["Samples of the flux, Jy."])
        return fluxes

    def conclude(self, call: FluxCall, context: Context, work: NDArray[np.floating]) -> TaskResult:
        def draw() -> Figure:
            figure = Figure()
            figure.add_subplot().hist(work)
            return figure

        assert context.workspace.product("fluxes").exists()
        row = (f"{work.mean():.4f}", f"{work.std(ddof=1):.4f}")
        section = Section(
            "Flux",
            ["The flux of a point source at the phase centre."],
            [Drawing("fluxes", "Histogram of the samples of the flux.", draw)],
            Table(("mean", "standard deviation"), [row]),
        )
        return TaskResult(
            StopCode.CONVERGED,
            numbers={"flux": float(work.mean()), "seed": call.values["seed"]},
            summary={"samples": str(len(work))},
            sections=[section],
        )


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A point source at the phase centre."""
    path = tmp_path_factory.mktemp("families") / "sky.ms"
    return simulate(path, antennas=8, integrations=3, sigma=SIGMA, sources=(Source(FLUX, 0.0, 0.0),)).path


@pytest.fixture(autouse=True)
def folder(observed, tmp_path, monkeypatch):
    shutil.copytree(observed, tmp_path / "sky.ms")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(family=FluxSampler(), **changed):
    return run_task(family, Arguments({**DEFAULTS, "vis": "sky.ms", "imagename": "sky", **changed}, DEFAULTS))


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "sky.ms" and path.suffix != ".log")


def test_a_third_family_runs_from_the_call_to_products_and_report(folder):
    result = call()
    mean, deviation = point_flux("sky.ms")
    assert mean == pytest.approx(FLUX, abs=5 * deviation)
    assert result["flux"] == pytest.approx(mean, abs=5 * deviation / 10)
    assert left(folder) == ["sky.fluxes", "sky.report"]
    assert result["products"] == ["sky.fluxes"]
    assert read_table("sky.fluxes")["flux"].mean() == pytest.approx(result["flux"], rel=1e-5)
    assert (result["stopcode"], result["nmajordone"], result["version"] != "") == (int(StopCode.CONVERGED), 0, True)
    page = (folder / "sky.report" / "index.html").read_text(encoding="utf-8")
    assert result["report"] == "sky.report/index.html"
    assert "imaged with fluxsample" in page
    assert "<h2>Flux</h2>" in page
    assert "Histogram of the samples of the flux." in page
    assert f"<td>{result['flux']:.4f}</td>" in page
    assert "seed 1" in page
    assert "fluxsample(\n    vis=&#39;sky.ms&#39;,\n    imagename=&#39;sky&#39;,\n)" in page
    assert (folder / "sky.report" / "fluxes.png").exists()


def test_bad_input_leaves_nothing(folder):
    with pytest.raises(ValueError, match="samples=1 is too few"):
        call(samples=1)
    assert left(folder) == []


def test_a_failure_leaves_the_unfinished_run_from_which_the_same_call_goes_on(folder, casa_log):
    undisturbed = call(imagename="undisturbed")
    with pytest.raises(RuntimeError, match="broken"):
        call(FluxSampler(fails_after=40))
    assert "sky.work" in left(folder)
    assert "sky.fluxes" not in left(folder)
    assert "'sky.work' holds the unfinished run; the same call goes on from there, or remove it" in casa_log()
    with pytest.raises(RuntimeError, match="broken"):
        call(FluxSampler(fails_after=41))  # one sample further: it went on
    assert "goes on with the unfinished run in 'sky.work'" in casa_log()
    assert call()["flux"] == undisturbed["flux"]
    assert "sky.work" not in left(folder)


def test_a_failure_before_the_first_checkpoint_leaves_nothing(folder, monkeypatch):
    monkeypatch.setattr("tests.test_families.point_flux", lambda vis: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call()
    assert left(folder) == []


def test_a_report_that_fails_costs_no_product(folder, casa_log):
    class Undrawable(FluxSampler):
        def conclude(self, call, context, work):
            result = super().conclude(call, context, work)
            drawing = Drawing("fluxes", "Nothing.", lambda: 1 / 0)
            return replace(result, sections=[Section("Flux", figures=[drawing])])

    result = call(Undrawable())
    assert result["report"] == ""
    assert left(folder) == ["sky.fluxes"]
    assert "the images are complete, but not the report: ZeroDivisionError" in casa_log()


def test_products_of_every_task_count_as_an_earlier_run(folder):
    (folder / "sky.samples").mkdir()  # of resolveimage
    assert call(restart=False)["products"] == ["sky_1.fluxes"]
    assert call()["products"] == ["sky.fluxes"]
    assert "sky.samples" not in left(folder), "it shows another sky"


def test_only_images_get_the_history_of_the_call(folder, monkeypatch):
    """A calibration table is a folder too, and no image."""
    written = []
    monkeypatch.setattr("casa_ml_tasks.data.workspace.write_task_history", lambda images, *_: written.extend(images))

    class Tables(FluxSampler):
        def work(self, call, context):
            context.workspace.unfinished("notes").mkdir()
            return super().work(call, context)

    call(Tables())
    assert written == []
    assert (folder / "sky.notes").is_dir()


def test_every_family_stands_in_the_registry_under_its_name():
    assert {name: family.name for name, family in FAMILIES.items()} == {
        "rmlclean": "rmlclean",
        "resolveimage": "resolveimage",
        "jointdeconv": "jointdeconv",
        "deepfocus": "deepfocus",
    }
