"""rmlclean as Python code calls it, with a stand-in for the work itself."""

import pytest
from casatasks import casalog

from casa_ml_tasks import rmlclean
from casa_ml_tasks.tasks import run


@pytest.fixture
def calls(monkeypatch) -> list[dict]:
    """The parameters of every call that reaches the task; vis='' fails in it."""
    received: list[dict] = []

    def task(family, arguments):
        assert family.name == "rmlclean"
        assert arguments.defaults["niter"] == -1
        parameters = arguments.values
        received.append(parameters)
        if parameters["imagename"] == "fails":
            raise RuntimeError("imagename='fails' cannot be written; choose another.")
        parameters["scales"].append(5)
        return {"stopcode": 2}

    monkeypatch.setattr(run, "run_task", task)
    return received


@pytest.fixture
def vis(tmp_path) -> str:
    path = tmp_path / "some.ms"
    path.mkdir()
    return str(path)


@pytest.fixture
def casa_log(tmp_path):
    """Reads the CASA log written since the test began."""
    before = casalog.logfile()
    path = tmp_path / "casa.log"
    casalog.setlogfile(str(path))
    yield path.read_text
    casalog.setlogfile(before)


def test_it_has_the_name_and_help_of_a_function():
    assert rmlclean.__name__ == "rmlclean"
    assert rmlclean._info_group_ == "imaging"
    assert "regularizer: " in rmlclean.__doc__


def test_arguments_are_coerced_and_completed(calls, vis):
    assert rmlclean(vis, imagename="my", regstrength=2, cyclefactor=3) == {"stopcode": 2}
    assert calls[0]["vis"] == vis
    assert calls[0]["regstrength"] == 2
    assert isinstance(calls[0]["cyclefactor"], float)
    assert calls[0]["niter"] == -1
    assert list(calls[0]) == list(rmlclean._schema_)


@pytest.mark.parametrize(
    "wrong",
    [{"niter": "many"}, {"positivity": 2}, {"minorcycle": "magic"}, {"robust": 3.0}, {"vis": "absent.ms"}],
)
def test_a_wrong_value_is_refused_before_the_task_runs(calls, vis, wrong):
    (name,) = wrong
    with pytest.raises(AssertionError, match=name):
        rmlclean(**({"vis": vis} | wrong))
    assert calls == []


def test_an_unknown_parameter_is_refused(calls, vis):
    with pytest.raises(TypeError, match="deconvolvr"):
        rmlclean(vis, deconvolvr="hogbom")


def test_a_task_that_changes_a_list_changes_neither_the_defaults_nor_the_callers(calls, vis):
    scales = [0]
    rmlclean(vis, scales=scales)
    rmlclean(vis)
    rmlclean(vis)
    assert scales == [0]
    assert [call["scales"] for call in calls] == [[0, 5], [5], [5]]


def test_begin_parameters_and_end_are_logged(calls, vis, casa_log):
    rmlclean(vis, imagename="my")
    log = casa_log()
    assert "Begin Task: rmlclean" in log
    assert "imagename='my'" in log
    assert "End Task: rmlclean" in log


def test_the_sentence_of_an_exception_reaches_the_caller_and_the_log(calls, vis, casa_log):
    with pytest.raises(RuntimeError, match=r"^imagename='fails' cannot be written; choose another\.$"):
        rmlclean(vis, imagename="fails")
    assert "imagename='fails' cannot be written" in casa_log()
