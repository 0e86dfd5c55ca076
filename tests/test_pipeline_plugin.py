"""The stages as the pipeline sees them, with a stand-in that takes the calls of the real one.

Where the pipeline itself is installed, the stand-in is compared with it.
"""

import pickle
import subprocess
import sys
from importlib.util import find_spec
from inspect import signature
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import casa_ml_tasks
import casa_ml_tasks.pipeline
from casa_ml_tasks.data.casa_image import read_valid
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.pipeline.stage import STAGES
from casa_ml_tasks.pipeline.weblog import TEMPLATES, Figure, TargetSection
from casa_ml_tasks.simulation import Source, simulate
from tests.pipeline_signatures import FILE, read_pipeline
from tests.pipeline_stand_in import FACTS, stand_in
from tests.pipeline_targets import heuristics, observing_run, returned, target

BASE = "<%block name='title'/>${next.body()}"  # of the real one, what a page fills


@pytest.fixture
def calls():
    with stand_in() as recorded:
        casa_ml_tasks.pipeline.register()
        yield recorded


@pytest.fixture
def plugin(calls):
    return sys.modules["casa_ml_tasks.pipeline.plugin"]


def ready(task, targets, run, parameters=None):
    """A task whose executor runs what it is given, as the real one does."""
    context = SimpleNamespace(clean_list_pending=targets, stage="7_0", observing_run=run)
    stage = task(inputs=None)
    stage.inputs = task.Inputs(context, parameters=parameters)
    stage._executor = SimpleNamespace(execute=lambda job: job.fn(*getattr(job, "args", ()), **job.kw))
    return stage


def libraries():
    added = {"sciimlist": [], "calimlist": []}
    return added, SimpleNamespace(**{name: SimpleNamespace(add_item=items.append) for name, items in added.items()})


def test_the_package_is_imported_without_the_pipeline():
    code = "import sys, casa_ml_tasks.pipeline; assert 'pipeline' not in sys.modules and 'casatools' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_stage_is_a_command_a_task_and_a_page(calls, plugin):
    commands = sys.modules["pipeline.cli"]
    assert [call["cli_task"] for call in calls.of("set_equivalent_casa_task")] == list(STAGES)
    assert [call["task_cls"] for call in calls.of("add_renderer")] == [task for task, _ in plugin.COMMANDS]
    assert {call["group_by"] for call in calls.of("add_renderer")} == {"ungrouped"}
    assert calls.of("register_mako_templates") == [{"directory": str(TEMPLATES)}]
    assert [call["result_class"] for call in calls.of("register_to_imaging_topic")] == [plugin.ImagingResults]
    for name in STAGES:
        assert getattr(commands, name).__name__ == name


def test_registering_twice_adds_nothing(calls):
    before = {name: len(made) for name, made in calls.by_name.items()}
    casa_ml_tasks.pipeline.register()
    assert {name: len(made) for name, made in calls.by_name.items()} == before


def test_every_stage_has_inputs_of_its_own_by_which_the_pipeline_names_it(plugin):
    inputs = [task.Inputs for task, _ in plugin.COMMANDS]
    assert len(set(inputs)) == len(inputs)


def test_a_stage_images_every_target_and_goes_on_where_one_fails(plugin, calls, monkeypatch):
    def imaged(vis, imagename, **parameters):
        return returned(imagename)

    imaged.__signature__ = signature(casa_ml_tasks.rmlclean)
    monkeypatch.setitem(vars(casa_ml_tasks), "rmlclean", imaged)
    lost = target(heuristics=heuristics(get_scanidlist=([], [])))
    calibrator = target(intent="PHASE", imagename="uid___A1.sSTAGENUMBER.J0538_ph.spw16.mfs", specmode="mfs")
    results = ready(plugin.HifxRmlclean, [lost, target(), calibrator], observing_run()).prepare()
    assert [bool(each.error) for each in results.outcomes] == [True, False, False]
    added, context = libraries()
    results.merge_with_context(context)
    assert [item.imagename.rpartition(".I.")[2] for item in added["sciimlist"]] == [
        "rmlclean.image.pbcor",
        "rmlclean.model",
    ]
    assert [item.sourcetype for item in added["calimlist"]] == ["PHASE", "PHASE"]
    kinds = ("image.pbcor", "model", "pb", "mask")
    assert [call["type"] for call in calls.of("set_miscinfo")] == 2 * [f"rmlclean.{kind}" for kind in kinds]
    plugin.ImagingQuality().handle(context, results)
    plugin.ImagingQuality().handle(context, results)
    scores = results.qa.pool
    assert [score.score for score in scores] == [0.34, *[1.0] * 6]
    assert "no Measurement Set" in scores[0].longmsg
    assert scores[1].applies_to.field == {"Orion"}
    assert "no Measurement Set" in repr(results)


def test_nothing_to_image_is_said_and_is_no_failure(plugin):
    results = ready(plugin.HifxResolveimage, [], observing_run()).prepare()
    plugin.ImagingQuality().handle(None, results)
    [score] = results.qa.pool
    assert (score.score, score.shortmsg) == (None, "Nothing to image")


def test_results_can_be_pickled(plugin):
    results = plugin.ImagingResults(STAGES["hifx_rmlclean"], [])
    assert pickle.loads(pickle.dumps(results)).stage == results.stage


def test_a_stage_images_a_measurement_set_and_shows_it(plugin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulate("a.ms", antennas=8, integrations=4, sources=(Source(flux=0.5, east=1.0, north=-0.6),))
    listed = target(
        vis=["a.ms"],
        field="0",
        antenna=None,
        phasecenter="",
        heuristics=heuristics(get_scanidlist=(["1"], [0]), calc_ms_frame_ranges=(["0"], *range(6))),
    )
    results = ready(plugin.HifxRmlclean, [listed], observing_run(intent=""), {"niter": 0}).prepare()
    [outcome] = results.outcomes
    assert outcome.error == ""
    assert outcome.record.stop == StopCode.ITERATION_LIMIT
    assert np.nanmax(read_valid(f"{outcome.identity.imagename}.image")) == pytest.approx(0.5, rel=0.03)
    added, context = libraries()
    results.merge_with_context(context)
    assert [(tmp_path / item.imagename).is_dir() for item in added["sciimlist"]] == [True, True]
    results.stage_number = 7
    page = {}
    plugin.ImagingRenderer().update_mako_context(page, SimpleNamespace(report_dir=str(tmp_path / "html")), [results])
    [section] = page["sections"]
    assert [figure.path.rpartition("/")[2] for figure in section.figures] == [
        *("restored.png", "model.png", "residual.png", "histogram.png"),
    ]


def test_the_page_shows_images_and_errors_as_text(monkeypatch, tmp_path):
    lookup = pytest.importorskip("mako.lookup", reason="mako, which the pipeline brings, is not installed")
    figures = [Figure(f"stage7/{name}.png", f"{name} <1>") for name in ("restored", "model", "residual", "histogram")]
    good = TargetSection("Orion", [("flux", "1 Jy")], figures, "stage7/index.html", "")
    failed = TargetSection("Rho <Oph>", (), (), "", "ValueError: 'x' & y")
    (tmp_path / "t2-4m_details-base.mako").write_text(BASE)
    names = ["pipeline", "infrastructure", "renderer", "htmlrenderer"]
    for count in range(1, len(names) + 1):  # imported by the template for its base
        monkeypatch.setitem(sys.modules, ".".join(names[:count]), ModuleType(names[count - 1]))
    for count in range(1, len(names)):
        parent, child = (sys.modules[".".join(names[:each])] for each in (count, count + 1))
        monkeypatch.setattr(parent, names[count], child, raising=False)
    template = lookup.TemplateLookup([str(TEMPLATES), str(tmp_path)]).get_template("hifx_imaging.mako")
    html = template.render(sections=[good, failed], task="rmlclean", version="1", description="Images")
    assert all(f'src="{figure.path}"' in html for figure in figures)
    assert 'href="stage7/index.html"' in html
    assert "Rho &lt;Oph&gt;" in html
    assert "ValueError: &#39;x&#39; &amp; y" in html
    assert html.count("<div") == html.count("</div>")


def test_the_templates_and_recipes_are_in_the_package():
    assert (TEMPLATES / "hifx_imaging.mako").is_file()
    assert casa_ml_tasks.pipeline.RECIPE.is_file()


@pytest.mark.skipif(find_spec("pipeline") is None, reason="the ALMA pipeline is not installed")
def test_the_stand_in_has_the_signatures_of_the_pipeline():
    assert read_pipeline() == FACTS, f"write {FILE.name} anew with python -m tests.pipeline_signatures"
