"""What a run leaves when it does not end well, and what the next one takes up."""

import shutil

import numpy as np
import pytest

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.calibration.survey import survey
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import Selection
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.request import products as request_products
from casa_ml_tasks.simulation import Source, simulate, with_table
from casa_ml_tasks.tasks import run

IMAGING = {"imagename": "sky", "imsize": 48, "cell": "0.2arcsec", "datacolumn": "data", "gridder": "native"}
SKY = (Source(flux=1.0, east=0.6, north=-0.4),)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("small") / "small.ms", antennas=8, integrations=3, sources=SKY).path


@pytest.fixture(autouse=True)
def folder(small, tmp_path, monkeypatch):
    shutil.copytree(small, tmp_path / "sky.ms")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def products(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("sky.") and path.name != "sky.ms")


def interrupted_after_the_first_minor_cycle(monkeypatch, error, task=rmlclean, **changed):
    """Run until the second minor cycle, which raises the error."""
    update, calls = RegularisedMaximumLikelihood.update, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) > 1:
            raise error
        return update(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(RegularisedMaximumLikelihood, "update", failing)
        with pytest.raises(type(error)):
            task(vis="sky.ms", **{**IMAGING, "cycleniter": 10, "nmajor": 2, **changed})


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_a_run_that_is_interrupted_names_what_it_left_and_goes_on_from_there(folder, monkeypatch, casa_log, error):
    interrupted_after_the_first_minor_cycle(monkeypatch, error)
    assert products(folder) == ["sky.work"]
    assert "'sky.work' holds the unfinished run; the same call goes on from there, or remove it" in casa_log()
    result = rmlclean(vis="sky.ms", **IMAGING, cycleniter=10, nmajor=2)
    assert "goes on with the unfinished run in 'sky.work'" in casa_log()
    assert result["cycles"][1]["iterations"] == 10
    assert "sky.image" in products(folder)
    assert "sky.work" not in products(folder)


def turned(tool):
    """As phases of self-calibration do: other visibilities of the same weights and amplitudes."""
    tool.putcol("DATA", tool.getcol("DATA") * np.exp(0.5j))


def test_a_restart_does_not_mix_data(folder, monkeypatch, casa_log):
    interrupted_after_the_first_minor_cycle(monkeypatch, RuntimeError("broken"))
    with_table("sky.ms", turned)
    rmlclean(vis="sky.ms", cycleniter=10, nmajor=2, **IMAGING)
    assert "the unfinished run in 'sky.work' had read other data: this one begins anew" in casa_log()
    rmlclean(vis="sky.ms", cycleniter=10, nmajor=2, **IMAGING | {"imagename": "undisturbed"})
    np.testing.assert_array_equal(read_image("sky.model"), read_image("undisturbed.model"))


def flagged(tool):
    flags = tool.getcol("FLAG")
    flags[..., :5] = True
    tool.putcol("FLAG", flags)


def longer(tool):
    tool.putcol("UVW", 1.01 * tool.getcol("UVW"))


@pytest.mark.parametrize("change", [turned, flagged, longer])
def test_other_data_have_another_digest(folder, change):
    before = survey([Selection("sky.ms")]).digest
    assert survey([Selection("sky.ms")]).digest == before != 0
    with_table("sky.ms", change)
    assert survey([Selection("sky.ms")]).digest != before


def test_a_run_with_other_parameters_says_that_it_begins_anew(folder, monkeypatch, casa_log):
    interrupted_after_the_first_minor_cycle(monkeypatch, RuntimeError("broken"))
    rmlclean(vis="sky.ms", **IMAGING, niter=0)
    assert "the unfinished run in 'sky.work' had other parameters: this one begins anew" in casa_log()


def test_the_log_says_where_a_model_comes_from_that_nobody_gave(folder, casa_log):
    rmlclean(vis="sky.ms", **IMAGING, nmajor=1)
    assert "of an earlier run" not in casa_log()
    rmlclean(vis="sky.ms", **IMAGING, niter=0)
    assert "the model begins with sky.model; restart=False begins with an empty sky" in casa_log()


@pytest.mark.parametrize("gridder", ["standard", "native"])
def test_another_number_of_channels_is_refused_before_anything_is_written(folder, gridder):
    cube = {**IMAGING, "specmode": "cubedata", "niter": 0, "gridder": gridder}
    rmlclean(vis="sky.ms", nchan=2, **cube)
    before = products(folder)
    with pytest.raises(ValueError, match="exists with 2 channels, nchan=1 asks for 1; choose another imagename"):
        rmlclean(vis="sky.ms", nchan=1, **cube)
    with pytest.raises(ValueError, match="exists with 2 channels, specmode='mfs' asks for 1"):
        rmlclean(vis="sky.ms", **cube | {"specmode": "mfs"})
    with pytest.raises(ValueError, match=r"sky.model of an earlier run has .* choose another imagename"):
        rmlclean(vis="sky.ms", nchan=-1, start=1, **cube)
    assert products(folder) == before


def no_weights(major):
    """What CASA's imager makes of visibilities that it drops: sums of weights that are zero."""
    prepare = major._prepare

    def empty(self):
        prepare(self)
        with_table(self.product("sumwt"), lambda tool: tool.putcol("map", 0 * tool.getcol("map")))

    return empty


@pytest.mark.parametrize("task", [rmlclean, resolveimage])
def test_nothing_is_published_where_the_weights_sum_to_zero(folder, monkeypatch, task):
    from casa_ml_tasks.major.casa import CasaMajorCycle

    monkeypatch.setattr(CasaMajorCycle, "_prepare", no_weights(CasaMajorCycle))
    standard = {**IMAGING, "imager": "casa", "gridder": "standard", "specmode": "mfs" if task is rmlclean else "cube"}
    with pytest.raises(ValueError, match=r"vis='sky.ms': the weights of all visibilities .* sum to zero"):
        task(vis="sky.ms", **standard)
    assert products(folder) == []


@pytest.mark.parametrize("gridder", ["standard", "native"])
def test_one_baseline_at_one_time_is_refused_but_for_its_dirty_image(tmp_path, folder, gridder):
    simulate(tmp_path / "one.ms", antennas=2, integrations=1, channels=1, sources=SKY)
    single = {**IMAGING, "gridder": gridder}
    with pytest.raises(ValueError, match=r"vis='one.ms': the visibilities selected are too few for a CLEAN beam"):
        rmlclean(vis="one.ms", **single)
    assert products(folder) == []
    rmlclean(vis="one.ms", niter=0, **single)
    assert "sky.image" in products(folder)


@pytest.mark.parametrize("task", [rmlclean, resolveimage])
def test_a_report_that_fails_costs_no_image(folder, monkeypatch, casa_log, task):
    def failing(*_):
        raise ZeroDivisionError("no figure")

    monkeypatch.setattr(run, "write_report", failing)
    result = task(vis="sky.ms", niter=0, **IMAGING)
    assert result["report"] == ""
    assert result["nmajordone"] == 1
    assert "sky.image" in products(folder)
    assert "the images are complete, but not the report: ZeroDivisionError (no figure)" in casa_log()
    assert 'raise ZeroDivisionError("no figure")' in casa_log()
    assert "sky.report" not in products(folder)


def test_a_measurement_set_that_cannot_be_written_is_refused_where_the_model_is_to_be_saved(folder, monkeypatch):
    monkeypatch.setattr(request_products.os, "access", lambda path, _: path != "sky.ms")
    with pytest.raises(ValueError, match=r"savemodel='virtual' writes into vis='sky.ms', which is not writable"):
        rmlclean(vis="sky.ms", savemodel="virtual", **IMAGING)
    assert products(folder) == []
