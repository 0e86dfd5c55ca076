"""No parameter of tclean is silent: each acts, or is refused, or is named in a warning, as the XML says."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from casatasks import tclean

from casa_ml_tasks import deepfocus, jointdeconv, resolveimage, rmlclean
from casa_ml_tasks.major.imager import imager_parameters
from casa_ml_tasks.task_definition import DEFINITIONS, read_task
from casa_ml_tasks.tasks import deepfocus_of_visibilities, imaging

REPOSITORY = Path(__file__).resolve().parents[1]
TASKS = {"rmlclean": rmlclean, "resolveimage": resolveimage, "jointdeconv": jointdeconv, "deepfocus": deepfocus}


class ReachedTheData(Exception):
    """A call has passed the checks of its parameters."""


class Acts(str):
    """The test that shows it, 'file::name'."""


class InImager:
    """CASA's imager gets the value, under a name of its own."""

    def __init__(self, value: Any, name: str = "", **others: Any):
        self.value, self.name, self.others = value, name, others


class Refused:
    """The call raises a sentence. word: of the XML about it."""

    def __init__(self, sentence: str, word: str = "refused", **changed: Any):
        self.sentence, self.word, self.changed = sentence, word, changed


class Warned:
    """The log has a sentence. word: of the XML about it."""

    def __init__(self, sentence: str, word: str = "ignored", **changed: Any):
        self.sentence, self.word, self.changed = sentence, word, changed


CLEANS = "minorcycle='clean'"  # that the XML says a parameter is for
AUTOMATIC = {"usemask": "auto-multithresh"}
AW = {"gridder": "awproject"}


def unused(name: str, value: Any, word: str = "ignored") -> Warned:
    return Warned(f"without effect: {name}={value!r} (", word, **{name: value})


#: Of CLEAN alone, with another value than the default.
OF_CLEAN = {
    "robust": 1.0,
    "noise": "2Jy",
    "npixels": 3,
    "niter": 1000,
    "gain": 0.2,
    "threshold": "1mJy",
    "nsigma": 3.0,
    "cycleniter": 9,
    "cyclefactor": 1.5,
    "minpsffraction": 0.1,
    "maxpsffraction": 0.7,
    "deconvolver": "multiscale",
    "scales": [0, 5],
    "smallscalebias": 0.6,
    "fusedthreshold": 0.1,
    "largestscale": 9,
    "pbmask": 0.3,
    "sidelobethreshold": 1.0,
    "noisethreshold": 4.0,
    "lownoisethreshold": 2.0,
    "negativethreshold": 3.0,
    "smoothfactor": 2.0,
    "minbeamfrac": 0.1,
    "cutthreshold": 0.1,
    "growiterations": 5,
    "dogrowprune": False,
    "minpercentchange": 1.0,
    "verbose": True,
    "fastnoise": False,
}
#: Of CASA's AW-projection.
OF_AW = {
    "aterm": False,
    "psterm": True,
    "wbawp": False,
    "conjbeams": True,
    "cfcache": "my.cf",
    "computepastep": 5.0,
    "rotatepastep": 5.0,
    "pointingoffsetsigdev": [10.0],
}
JOINT = "test_jointdeconv.py::test"
FROM_MS = "test_deepfocus_visibilities.py::test_a_killed_search_goes_on_to_the_true_sources"

#: What all tasks do with it, unless they say otherwise.
BOTH: Mapping[str, Any] = {
    "vis": Acts("test_measurement_set.py::test_selection_lists_go_with_the_measurement_sets"),
    "selectdata": Acts("test_measurement_set.py::test_selection_parameters_act_whatever_selectdata_says_as_in_tclean"),
    **dict.fromkeys(
        ("field", "spw", "timerange", "uvrange", "antenna", "scan", "observation", "intent"),
        Acts("test_measurement_set.py::test_each_selection_reaches_the_data"),
    ),
    "datacolumn": Acts("test_measurement_set.py::test_a_missing_or_unknown_column_is_refused"),
    "imsize": Acts("test_request.py::test_cell_and_imsize_are_read_as_tclean_reads_them"),
    "cell": Acts("test_every_parameter.py::test_a_cell_without_a_unit_is_in_arcsec_for_casas_imager"),
    "phasecenter": Acts("test_native_major_cycle.py::test_another_phase_centre"),
    "projection": InImager("TAN"),
    "reffreq": InImager("1.5GHz"),
    "nchan": InImager(3, specmode="cubedata"),
    "start": InImager("1.4GHz", specmode="cube"),
    "width": InImager("10km/s", specmode="cube"),
    "outframe": InImager("BARY", specmode="cube"),
    "veltype": InImager("optical", specmode="cube"),
    "restfreq": InImager(["1.42GHz"], specmode="cube"),
    "interpolation": InImager("nearest", specmode="cube"),
    "perchanweightdensity": InImager(False, specmode="cube"),
    "specmode": Refused("specmode='mvc' is not imaged yet", specmode="mvc"),
    "facets": Refused("facets=2 is not supported yet", facets=2),
    "psfphasecenter": unused("psfphasecenter", "J2000 1h 2deg"),
    "wprojplanes": InImager(-1, gridder="wproject"),
    "vptable": InImager("my.table"),
    "mosweight": InImager(False, gridder="mosaic"),
    "aterm": InImager(False, **AW),
    "psterm": InImager(True, **AW),
    "wbawp": InImager(False, **AW),
    "conjbeams": InImager(True, **AW),
    "cfcache": InImager("my.cf", **AW),
    "usepointing": Warned(
        "minor cycles the directions of the fields", "minor", usepointing=True, gridder="mosaic", imager="casa"
    ),
    "computepastep": InImager(5.0, **AW),
    "rotatepastep": InImager(5.0, **AW),
    "pointingoffsetsigdev": InImager([10.0], **AW),
    "pblimit": InImager(0.1),
    "normtype": Refused("normtype='flatsky' is not imaged yet", normtype="flatsky", gridder="mosaic"),
    "restoringbeam": InImager("common"),
    "parallel": Acts("test_parallel.py::test_a_task_makes_the_same_image_on_workers"),
    "fullsummary": unused("fullsummary", True),
    "calcres": unused("calcres", False),
    "calcpsf": unused("calcpsf", False),
    "psfcutoff": InImager(0.5),
}
SPECIFIC: Mapping[str, Mapping[str, Any]] = {
    "rmlclean": {
        "imagename": Acts("test_rmlclean.py::test_products_have_units_beams_and_history"),
        "stokes": Acts("test_stokes.py::test_parallel_hands_alone_have_no_u"),
        "startmodel": Acts("test_request.py::test_an_image_given_must_have_the_shape_of_the_image_asked_for"),
        "gridder": Acts("test_rmlclean.py::test_the_native_gridder_gives_the_same_products_and_sky"),
        "restoration": Acts("test_rmlclean.py::test_the_restored_image_is_model_times_beam_plus_residual"),
        "pbcor": Acts("test_rmlclean.py::test_tcleans_own_test_helpers_accept_the_products"),
        "outlierfile": Acts("test_request.py::test_a_wrong_parameter_is_named_with_its_remedy"),
        **dict.fromkeys(
            ("weighting", "robust", "noise", "npixels", "uvtaper"),
            Acts("test_imaging_weights.py::test_weights_sum_to_tcleans_sumwt"),
        ),
        "niter": Acts("test_rmlclean.py::test_niter_limits_all_minor_cycles_together"),
        "cycleniter": Acts("test_rmlclean.py::test_niter_limits_all_minor_cycles_together"),
        **dict.fromkeys(
            ("threshold", "nsigma", "nmajor"), Acts("test_engine.py::test_the_loop_stops_where_tclean_would")
        ),
        "deconvolver": unused("deconvolver", "multiscale", CLEANS),
        "scales": unused("scales", [0, 5], CLEANS),
        "smallscalebias": unused("smallscalebias", 0.6, CLEANS),
        "fusedthreshold": unused("fusedthreshold", 0.1, CLEANS),
        "largestscale": unused("largestscale", 9, CLEANS),
        "nterms": unused("nterms", 3, "mtmfs"),
        "gain": unused("gain", 0.2, CLEANS),
        "cyclefactor": unused("cyclefactor", 1.5, CLEANS),
        "minpsffraction": unused("minpsffraction", 0.1, CLEANS),
        "maxpsffraction": unused("maxpsffraction", 0.7, CLEANS),
        "interactive": Refused("interactive=True is not supported", interactive=True),
        "usemask": Acts("test_rmlclean.py::test_masks_that_follow_the_residual"),
        "mask": Acts("test_rmlclean.py::test_the_model_stays_inside_the_mask"),
        "pbmask": Warned("without effect: pbmask=0.3 (needs a mask)", "mask is true", pbmask=0.3),
        "sidelobethreshold": InImager(1.0, **AUTOMATIC),
        "noisethreshold": InImager(4.0, **AUTOMATIC),
        "lownoisethreshold": InImager(2.0, **AUTOMATIC),
        "negativethreshold": InImager(3.0, **AUTOMATIC),
        "smoothfactor": InImager(2.0, **AUTOMATIC),
        "minbeamfrac": InImager(0.1, **AUTOMATIC),
        "cutthreshold": InImager(0.1, **AUTOMATIC),
        "growiterations": InImager(5, **AUTOMATIC),
        "dogrowprune": InImager(False, **AUTOMATIC),
        "minpercentchange": InImager(1.0, **AUTOMATIC),
        "verbose": InImager(True, **AUTOMATIC),
        "fastnoise": InImager(False, **AUTOMATIC),
        "restart": Acts("test_rmlclean.py::test_restart_false_takes_another_name"),
        "savemodel": Acts("test_model_column.py::test_the_model_is_saved_as_the_visibilities_of_its_sky"),
    },
    "resolveimage": {
        "imagename": Acts("test_resolveimage.py::test_the_products_are_there_with_units_and_history"),
        "stokes": Refused("stokes='Q' is not inferred yet", "Stokes", stokes="Q"),
        "startmodel": Acts("test_model_column.py::test_the_model_is_saved_as_the_visibilities_of_its_sky"),
        "gridder": Acts("test_mosaic.py::test_sources_in_one_pointing_and_between_three_have_their_fluxes"),
        "restoration": Acts("test_resolveimage.py::test_the_products_are_there_with_units_and_history"),
        "pbcor": Acts("test_resolveimage.py::test_the_products_are_there_with_units_and_history"),
        "outlierfile": Refused("outlierfile='a.txt' is not supported yet", outlierfile="a.txt"),
        "weighting": Warned("weighting='briggs' is ignored: the likelihood has", weighting="briggs"),
        "uvtaper": Warned("uvtaper=['1arcsec'] is ignored: the likelihood has", uvtaper=["1arcsec"]),
        "usemask": Warned("usemask='pb' is ignored: emission is", usemask="pb"),
        "mask": Warned("mask='circle[[9pix, 9pix], 5pix]' is ignored", mask="circle[[9pix, 9pix], 5pix]"),
        "interactive": Warned("interactive=True is ignored: there is nothing", interactive=True),
        "nmajor": Acts("test_engine.py::test_the_loop_stops_where_tclean_would"),
        "nterms": unused("nterms", 3, "mtmfs"),
        "restart": Acts("test_resolveimage.py::test_a_run_that_failed_within_the_inference_goes_on_where_it_was"),
        "savemodel": Acts("test_model_column.py::test_the_model_is_saved_as_the_visibilities_of_its_sky"),
        **{name: unused(name, value) for name, value in OF_CLEAN.items()},
    },
    "jointdeconv": {
        **dict.fromkeys(
            ("imagename", "restoration", "pbcor"), Acts(f"{JOINT}_the_restored_image_has_the_flux_of_the_sky")
        ),
        "startmodel": Acts(f"{JOINT}_a_second_run_begins_with_the_sky_of_the_first"),
        "restart": Acts(f"{JOINT}_a_run_that_failed_at_its_end_goes_on_where_it_was"),
        "usepointing": Acts("test_native_mosaic.py::test_antennas_look_where_the_pointing_table_says"),
        "savemodel": Refused("savemodel='virtual' cannot hold", "", savemodel="virtual"),
        "nmajor": Acts("test_engine.py::test_the_loop_stops_where_tclean_would"),
        "stokes": Refused("stokes='Q' has no joint image", "pseudoI", stokes="Q"),
        "specmode": Refused("specmode='cube' interpolates between channels", specmode="cube"),
        "vptable": Refused("vptable='my.table' is not read", vptable="my.table"),
        "outlierfile": Refused("outlierfile='a.txt' is not supported", outlierfile="a.txt"),
        "gridder": unused("gridder", "wproject"),
        "weighting": Warned("weighting='briggs' is ignored: the likelihood has", weighting="briggs"),
        "uvtaper": Warned("uvtaper=['1arcsec'] is ignored: the likelihood has", uvtaper=["1arcsec"]),
        "usemask": Warned("usemask='pb' is ignored: emission is", usemask="pb"),
        "mask": Warned("mask='circle[[9pix, 9pix], 5pix]' is ignored", mask="circle[[9pix, 9pix], 5pix]"),
        "interactive": Warned("interactive=True is ignored: there is nothing", interactive=True),
        "nterms": unused("nterms", 3, "mtmfs"),
        "normtype": unused("normtype", "flatsky"),
        "wprojplanes": unused("wprojplanes", -1),
        "mosweight": unused("mosweight", False),
        "perchanweightdensity": Warned(
            "perchanweightdensity=False (weights are natural", perchanweightdensity=False, specmode="cubedata"
        ),
        **{name: unused(name, value) for name, value in (OF_CLEAN | OF_AW).items()},
        **dict.fromkeys(
            ("nchan", "start", "width", "veltype", "restfreq", "interpolation"),
            Acts("test_cubes.py::test_a_visibility_goes_to_the_channel_that_has_its_frequency"),
        ),
        "outframe": unused("outframe", "BARY", "cube"),
        "projection": Acts("test_joint_projections.py::test_the_model_is_in_the_projection_that_was_asked_for"),
    },
    "deepfocus": {
        **dict.fromkeys(("imagename", "restoration", "pbcor", "restart"), Acts(FROM_MS)),
        "startmodel": Acts("test_model_column.py::test_the_model_is_saved_as_the_visibilities_of_its_sky"),
        "savemodel": Acts("test_model_column.py::test_the_model_is_saved_as_the_visibilities_of_its_sky"),
        "nmajor": Acts("test_engine.py::test_the_loop_stops_where_tclean_would"),
        "stokes": Refused("stokes='Q' is not searched", stokes="Q"),
        "gridder": Refused("gridder='mosaic' makes images whose PSF differs", gridder="mosaic"),
        "outlierfile": Refused("outlierfile='a.txt' is not supported", outlierfile="a.txt"),
        "weighting": Warned("weighting='briggs' is ignored: the likelihood has", weighting="briggs"),
        "uvtaper": Warned("uvtaper=['1arcsec'] is ignored: the likelihood has", uvtaper=["1arcsec"]),
        "usemask": Warned("usemask='pb' is ignored: emission is", usemask="pb"),
        "mask": Warned("mask='circle[[9pix, 9pix], 5pix]' is ignored", mask="circle[[9pix, 9pix], 5pix]"),
        "interactive": Warned("interactive=True is ignored: there is nothing", interactive=True),
        "nterms": unused("nterms", 3),
        "normtype": unused("normtype", "flatsky"),
        "mosweight": unused("mosweight", False),
        "usepointing": Warned("without effect: usepointing=True (needs gridder=", usepointing=True),
        **{name: unused(name, value) for name, value in (OF_CLEAN | OF_AW).items()},
    },
}
KNOWN = {task: {**BOTH, **specific} for task, specific in SPECIFIC.items()}


def those(kind: type) -> list[tuple[str, str]]:
    """(task, parameter) of all that are treated so."""
    return [(task, name) for task, table in KNOWN.items() for name, known in table.items() if isinstance(known, kind)]


def parameters_of(task: Any) -> dict[str, Any]:
    """Its parameters and their defaults, as a call has them."""
    found = inspect.signature(type(task).__call__).parameters
    return {name: each.default for name, each in found.items() if name != "self"}


def words_of(task: str, parameter: str) -> str:
    """What the XML says of it."""
    (found,) = (each for each in read_task(DEFINITIONS / f"{task}.xml").parameters if each.name == parameter)
    return f"{found.summary} {found.description}"


@pytest.fixture
def call(simulated_ms, monkeypatch, tmp_path):
    """Calls a task as far as its data, with changed parameters."""

    def reach(*_: Any, **__: Any) -> None:
        raise ReachedTheData

    def call_of(task: str, changed: Mapping[str, Any]) -> None:
        monkeypatch.setattr(imaging, "survey", reach)
        monkeypatch.setattr(deepfocus_of_visibilities, "networks_of", lambda folder: None)
        arguments = {"imsize": 48, "cell": "0.2arcsec", "datacolumn": "data", **changed}
        TASKS[task](vis=str(simulated_ms.path), imagename=str(tmp_path / "sky"), **arguments)

    return call_of


@pytest.mark.parametrize("task", TASKS)
def test_every_parameter_of_tclean_is_known_and_no_other(task):
    theirs, ours = set(parameters_of(tclean)), set(parameters_of(TASKS[task]))
    assert set(KNOWN[task]) == theirs <= ours


@pytest.mark.parametrize(("task", "name"), those(Acts))
def test_a_test_shows_that_it_acts(task, name):
    file, function = KNOWN[task][name].split("::")
    assert re.search(rf"^def {function}\(", (REPOSITORY / "tests" / file).read_text(), re.MULTILINE)
    assert not re.search("ignored|refused", words_of(task, name))


@pytest.mark.parametrize(("task", "name"), those(InImager))
def test_casas_imager_gets_it(task, name, simulated_ms, call, casa_log):
    known = KNOWN[task][name]
    given = parameters_of(TASKS[task]) | known.others | {name: known.value}
    given |= {"vis": str(simulated_ms.path), "cell": "0.2arcsec", "imsize": 48}
    received = imager_parameters(given, "some").getAllPars()[known.name or name]
    assert np.array_equal(received, known.value)
    with pytest.raises(ReachedTheData):
        call(task, {"imager": "auto" if task == "jointdeconv" else "casa", **known.others, name: known.value})
    assert "without effect" not in casa_log()
    assert "ignored" not in words_of(task, name)


@pytest.mark.parametrize(("task", "name"), those(Refused))
def test_it_is_refused_in_one_sentence(task, name, call):
    known = KNOWN[task][name]
    with pytest.raises(ValueError, match=re.escape(known.sentence)):
        call(task, known.changed)
    assert known.word in words_of(task, name)


@pytest.mark.parametrize(("task", "name"), those(Warned))
def test_it_is_named_in_a_warning(task, name, call, casa_log):
    known = KNOWN[task][name]
    with pytest.raises(ReachedTheData):
        call(task, known.changed)
    (line,) = [line for line in casa_log().splitlines() if known.sentence in line]
    assert "WARN" in line
    assert known.word in words_of(task, name)


@pytest.mark.parametrize("task", TASKS)
def test_a_call_with_defaults_has_nothing_without_effect(task, call, casa_log):
    with pytest.raises(ReachedTheData):
        call(task, {})
    assert "without effect" not in casa_log()


def test_all_that_is_without_effect_is_one_warning(call, casa_log):
    with pytest.raises(ReachedTheData):
        call("rmlclean", {"deconvolver": "multiscale", "scales": [0, 5, 15], "gain": 0.2, "usemask": "pb", "mask": ""})
    (line,) = [line for line in casa_log().splitlines() if "without effect" in line]
    assert "deconvolver='multiscale' (needs minorcycle='clean'), scales=[0, 5, 15] (needs minorcycle='clean'), " in line
    assert "gain=0.2 (needs minorcycle='clean')" in line


@pytest.mark.parametrize("given", ["0.1", ["0.1"], ["0.1", "0.1arcsec"]])
def test_a_cell_without_a_unit_is_in_arcsec_for_casas_imager(given, simulated_ms):
    parameters = parameters_of(rmlclean) | {"vis": str(simulated_ms.path), "imsize": 48, "cell": given}
    assert set(imager_parameters(parameters, "some").getImagePars()["0"]["cell"]) == {"0.1arcsec"}
