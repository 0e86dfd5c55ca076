"""A stage of the ALMA pipeline without the pipeline: the call of the task, names, scores, and what the weblog shows."""

import pickle
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.pipeline import RECIPE
from casa_ml_tasks.pipeline.quality import DIVERGED, FAILED, UNFINISHED, falling, scores_of
from casa_ml_tasks.pipeline.record import Outcome, images_of, record_of
from casa_ml_tasks.pipeline.stage import RESOLVEIMAGE, RMLCLEAN, STAGES
from casa_ml_tasks.pipeline.target import call_of, identity_of, with_given
from casa_ml_tasks.pipeline.weblog import CAPTIONS, FIGURES, facts_of, section_of
from tests.pipeline_targets import heuristics, observing_run, returned, target

NAME = "uid___A1.s7_0.Orion_sci.spw16.cont.regcal.I.rmlclean"


def call(**changes):
    listed = target(**changes)
    return call_of(listed, identity_of(listed, "rmlclean", "7_0"), observing_run())


def outcome(**changes):
    identity = identity_of(target(), "rmlclean", "7_0")
    return Outcome(identity, record_of(returned(identity.imagename, **changes)))


def score(metric, **changes):
    [found] = [each for each in scores_of(outcome(**changes)) if each.metric == metric]
    return found


def test_a_target_is_imaged_from_the_data_that_tclean_would_image():
    made = call()
    assert made["vis"] == ["a.ms", "b.ms"]
    assert made["spw"] == ["3:230~231GHz"] * 2
    assert (made["scan"], made["antenna"]) == (["7", "7"], ["0,1,2&", "0,1&"])
    assert (made["intent"], made["datacolumn"]) == ("OBSERVE_TARGET#ON_SOURCE", "data")
    assert (made["specmode"], made["pbcor"], made["pblimit"]) == ("mfs", True, 0.2)


@pytest.mark.parametrize("task", [rmlclean, resolveimage], ids=lambda task: task.__name__)
@pytest.mark.parametrize("specmode", ["mfs", "cont", "cube", "repBW"])
def test_every_parameter_of_a_call_is_one_of_the_task(task, specmode):
    made = call(specmode=specmode, deconvolver="mtmfs", nterms=2, uvrange=">12m", restfreq="230.5GHz")
    assert made.keys() <= task._schema_.keys()


def test_a_measurement_set_without_the_source_is_left_out_with_its_antennas():
    made = call(heuristics=heuristics(get_scanidlist=(["9"], [1])))
    assert (made["vis"], made["scan"], made["antenna"]) == (["b.ms"], ["9"], ["0,1&"])


def test_a_target_without_data_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"a\.ms.*Orion \(TARGET\), spw 16, cont"):
        call(heuristics=heuristics(get_scanidlist=([], [])))


@pytest.mark.parametrize(("nbin", "width", "nchan"), [(-1, 1.0, 98), (2, 2.0, 48), (4, 4.0, 23)])
def test_a_cube_leaves_out_a_channel_at_either_edge(nbin, width, nchan):
    made = call(specmode="cube", nbin=nbin)
    assert made["spw"] == ["3", "3"]
    assert float(made["start"].removesuffix("GHz")) == pytest.approx(230 + 1.5e-3)
    assert float(made["width"].removesuffix("MHz")) == width
    assert made["nchan"] == nchan
    assert made["restoringbeam"] == "common"
    assert ("interpolation" in made) == (nbin == 2)


def test_a_cube_that_the_pipeline_has_defined_is_that_one():
    made = call(specmode="cube", start="230.02GHz", width="3MHz", nchan=5)
    assert (made["start"], made["width"], made["nchan"]) == ("230.02GHz", "3MHz", 5)


def test_a_moving_source_is_imaged_in_its_own_frame():
    made = call(specmode="cube", heuristics=heuristics(is_eph_obj=True))
    assert (made["phasecenter"], made["specmode"]) == ("TRACKFIELD", "cubesource")
    assert "outframe" not in made


def test_a_recipe_changes_parameters_of_the_task_but_not_those_of_the_target():
    made = with_given({"niter": -1}, {"regularizer": ["l1"]}, rmlclean._schema_, RMLCLEAN.name)
    assert made == {"niter": -1, "regularizer": ["l1"]}
    for wrong in ("regulariser", "imagename"):
        with pytest.raises(ValueError, match=f"{wrong}.*hifx_rmlclean"):
            with_given({}, {wrong: "x"}, rmlclean._schema_, RMLCLEAN.name)


def test_products_have_names_and_data_types_that_tclean_has_not():
    images = images_of(outcome(), "rmlclean", RMLCLEAN.exported)
    assert [each.imagename for each in images] == [f"{NAME}.image.pbcor", f"{NAME}.model"]
    assert [each.datatype for each in images] == [
        "REGCAL_CONTLINE_SCIENCE.rmlclean.image.pbcor",
        "REGCAL_CONTLINE_SCIENCE.rmlclean.model",
    ]
    assert len({each.datatype for each in images} | {target()["datatype"]}) == 3


def test_every_taylor_term_is_exported():
    identity = identity_of(target(deconvolver="mtmfs", nterms=2), "rmlclean", "7_0")
    kinds = ("image.tt0.pbcor", "image.tt1.pbcor", "model.tt0", "model.tt1")
    record = record_of(returned(NAME, products=[f"{NAME}.{kind}" for kind in kinds]))
    images = images_of(Outcome(identity, record), "rmlclean", RMLCLEAN.exported)
    assert [each.imagename for each in images] == [f"{NAME}.{kind}" for kind in kinds]


def test_the_uncertainty_goes_to_the_archive_with_the_mean():
    products = [f"{NAME}.model", f"{NAME}.uncertainty", f"{NAME}.image.pbcor"]
    images = images_of(outcome(products=products), "resolveimage", RESOLVEIMAGE.exported)
    assert sorted(each.imagename for each in images) == sorted(products)


def test_an_outcome_can_be_pickled():
    assert pickle.loads(pickle.dumps(outcome())) == outcome()


@pytest.mark.parametrize(("ratio", "value"), [(0.5, 1), (1, 1), (10**0.5, 0.5), (10, 0), (1e4, 0)])
def test_a_score_falls_with_the_logarithm_to_zero_at_ten(ratio, value):
    assert falling(ratio) == pytest.approx(value)


def test_a_residual_above_the_noise_costs_score_and_says_why():
    assert score("residual over noise").value == 1
    worse = score("residual over noise", residual_statistics={"image": {"deviation": 2.0, "largest": 11.0}})
    assert worse.value == pytest.approx(0.699, abs=1e-3)
    assert "2.00 times the expected noise of 1 mJy/beam" in worse.reason
    assert "+11.0" in worse.reason


@pytest.mark.parametrize(
    ("stop", "value"),
    [
        (StopCode.CONVERGED, 1),
        (StopCode.THRESHOLD, 1),
        (StopCode.MAJOR_LIMIT, UNFINISHED),
        (StopCode.UNSETTLED, UNFINISHED),
        (StopCode.DIVERGED, DIVERGED),
    ],
)
def test_a_run_that_has_not_converged_costs_score(stop, value):
    found = score("stop code", stopcode=int(stop))
    assert found.value == value
    assert stop.description in found.reason


def test_chains_that_have_not_mixed_are_not_converged():
    posterior = {"problem": "the flux has not mixed", "flux_uncertainty": [[0.02]]}
    found = score("stop code", posterior=posterior)
    assert found.value == UNFINISHED
    assert "the flux has not mixed" in found.reason


def test_errors_of_calibration_cost_score_and_are_named():
    assert score("noise over thermal noise").value == 1
    found = score("noise over thermal noise", image_noise=4e-3, calibration_error={"fraction": 0.05})
    assert found.value == pytest.approx(0.398, abs=1e-3)
    assert re.search("5 % of the amplitude.*from 1 mJy/beam to 4 mJy/beam", found.reason)


def test_errors_of_calibration_of_unknown_share_are_named_without_it():
    found = score("noise over thermal noise", image_noise=4e-3, calibration_error={"fraction": 0.0})
    assert "errors of calibration raise the noise from 1 mJy/beam to 4 mJy/beam" in found.reason


def test_a_noise_that_calibration_hardly_raises_is_thermal():
    found = score("noise over thermal noise", image_noise=1.000001e-3, calibration_error={"fraction": 1e-4})
    assert found.value == 1
    assert "no errors of calibration" in found.reason


def test_a_target_that_failed_has_one_score_with_the_error():
    failed = replace(outcome(), record=None, error="ValueError: cell='1arcsec' undersamples")
    [found] = scores_of(failed)
    assert found.value == FAILED
    assert "undersamples" in found.reason
    assert images_of(failed, "rmlclean", RMLCLEAN.exported) == []


def test_the_flux_has_its_error_where_there_is_one():
    assert ("flux of the model", "1.25 Jy") in facts_of(outcome().record)
    one = outcome(posterior={"problem": "", "flux_uncertainty": [[0.02]]}).record
    assert ("flux of the model", "1.250 ± 0.020 Jy") in facts_of(one)
    cube = outcome(posterior={"problem": "", "flux_uncertainty": [[0.02], [0.03]]}).record
    assert ("flux of the model", "1.25 Jy") in facts_of(cube)


def test_the_weblog_has_the_report_and_its_figures(tmp_path):
    report = tmp_path / f"{NAME}.report"
    report.mkdir()
    for name in ("index.html", "residual.png", "model.png", "visibilities.png"):
        (report / name).write_text(name)
    weblog = tmp_path / "html"
    section = section_of(outcome(report=str(report / "index.html")), weblog, 7)
    assert section.report == f"stage7/{NAME}.report/index.html"
    assert [each.path for each in section.figures] == [
        f"stage7/{NAME}.report/model.png",
        f"stage7/{NAME}.report/residual.png",
    ]
    assert all((weblog / path).is_file() for path in (section.report, *(each.path for each in section.figures)))


def test_the_mean_of_a_posterior_is_called_so(tmp_path):
    (tmp_path / "model.png").touch()
    (tmp_path / "index.html").touch()
    posterior = {"problem": "", "flux_uncertainty": [[0.02]]}
    made = outcome(report=str(tmp_path / "index.html"), posterior=posterior)
    [model] = section_of(made, tmp_path / "html", 7).figures
    assert model.caption.startswith("Posterior mean")


def test_a_lost_report_leaves_the_facts(tmp_path):
    section = section_of(outcome(report=str(tmp_path / "gone" / "index.html")), tmp_path, 7)
    assert section.facts
    assert not section.report


def test_every_figure_has_a_caption():
    assert set(FIGURES) <= CAPTIONS.keys()


def test_the_recipe_images_between_the_list_of_targets_and_tclean_which_empties_it():
    commands = [each.text for each in ElementTree.parse(RECIPE).iter("Command")]
    assert commands.index("hif_makeimlist") < commands.index("hifx_rmlclean")
    assert max(map(commands.index, STAGES)) < commands.index("hif_makeimages") < commands.index("hifa_exportdata")
