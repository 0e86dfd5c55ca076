"""The CASA log says each thing once a run, and warns of nothing where nothing is wrong."""

from collections import Counter

import pytest

from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.tasks import run

IMAGING = {"imsize": 48, "cell": "0.2arcsec"}
TASKS = pytest.mark.parametrize(
    ("task", "parameters"),
    [(rmlclean, {"gridder": "native"}), (rmlclean, {"gridder": "standard"}), (resolveimage, {})],
    ids=["native", "standard", "resolveimage"],
)


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """They take most of the time and post nothing."""
    monkeypatch.setattr(run, "write_report", lambda content, directory: directory / "index.html")


def warnings(log: str) -> list[str]:
    lines = [line.split("\t", 3) for line in log.splitlines()]
    return [line[3] for line in lines if len(line) == 4 and line[1].strip() == "WARN"]


@TASKS
def test_a_dirty_image_of_good_data_has_no_warning(task, parameters, simulated_ms, tmp_path, casa_log):
    name = str(tmp_path / "dirty")
    task(vis=str(simulated_ms.path), imagename=name, niter=0, datacolumn="data", **IMAGING, **parameters)
    assert warnings(casa_log()) == []


@TASKS
def test_the_column_that_is_not_there_is_named_once_a_run(task, parameters, simulated_ms, tmp_path, casa_log):
    for number in (1, 2):
        task(vis=str(simulated_ms.path), imagename=str(tmp_path / f"run{number}"), niter=0, **IMAGING, **parameters)
        said = warnings(casa_log())
        assert [message for message in said if "has no CORRECTED_DATA" not in message] == []
        assert len(said) == number


def test_what_cannot_be_fitted_is_named_once_however_many_rounds_there_are(simulated_ms, tmp_path, casa_log):
    rmlclean(
        vis=str(simulated_ms.path),
        imagename=str(tmp_path / "blocks"),
        gridder="native",
        datacolumn="data",
        threshold="1kJy",
        noisemodel=["ms"],
        blockmodel=["amplitude"],
        **IMAGING,
    )
    assert casa_log().count("data model, round") > 1
    said = Counter(warnings(casa_log()))
    assert [count for message, count in said.items() if "is the only execution block" in message] == [1]
    assert set(said.values()) == {1}
