"""The tasks at a real CASA prompt, driven through a pseudo-terminal."""

import runpy

import casadata
import pytest

from tests.casa_prompt import PLAIN, Prompt

pytest.importorskip("casashell")

STARTUP = """\
import casashell
import casa_ml_tasks.gotasks
from casa_ml_tasks.gotasks import *

casashell.extra_task_modules.append(casa_ml_tasks.gotasks)
"""
CONFIG = f"""\
measurespath = {casadata.datapath!r}
datapath = [{casadata.datapath!r}]
measures_auto_update = False
data_auto_update = False
"""


@pytest.fixture(scope="module")
def prompt(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / ".casa").mkdir()
    (home / ".casa" / "startup.py").write_text(STARTUP)
    (home / ".casa" / "config.py").write_text(CONFIG)
    session = Prompt(home, ["-m", "casashell", "--nologfile", *PLAIN])
    yield session
    session.close()


@pytest.fixture(autouse=True)
def _forget(prompt):
    prompt.run("default(rmlclean)")
    (prompt.folder / "rmlclean.last").unlink(missing_ok=True)


def test_inp_shows_the_sub_parameters_in_force(prompt):
    rows = prompt.rows(prompt.run("inp rmlclean"))
    assert rows["niter"] == "-1"
    assert {"minorcycle", "regularizer", "noisescale", "field"} <= rows.keys()
    assert not {"deconvolver", "scales", "robust", "nchan"} & rows.keys()


def test_inp_knows_resolveimage_too(prompt):
    rows = prompt.rows(prompt.run("inp resolveimage"))
    assert (rows["nsamples"], rows["offset"], rows["seed"], rows["slope"]) == ("-1", "'auto'", "42", "[]")
    assert "regularizer" not in rows
    prompt.run("default(resolveimage)")


def test_a_sub_parameter_of_a_sub_parameter_follows_both(prompt):
    prompt.run("deconvolver = 'multiscale'")
    assert "scales" not in prompt.rows(prompt.run("inp(rmlclean)"))
    prompt.run("minorcycle = 'clean'")
    rows = prompt.rows(prompt.run("inp"))
    assert {"deconvolver", "scales"} <= rows.keys()
    assert "regularizer" not in rows


def test_go_runs_with_the_variables_and_shows_the_sentence_of_an_error(prompt):
    prompt.run("vis = 'absent.ms'")
    prompt.run("imagename = 'my'")
    prompt.run("inp(rmlclean)")
    printed = prompt.run("go")
    assert "absent.ms" in printed
    assert "does not exist" in printed
    saved = runpy.run_path(str(prompt.folder / "rmlclean.last"))
    assert (saved["vis"], saved["imagename"], saved["niter"]) == ("absent.ms", "my", -1)


def test_a_call_with_arguments_takes_nothing_from_the_prompt(prompt):
    prompt.run("imagename = 'my'")
    prompt.run("rmlclean(vis='absent.ms')")
    saved = runpy.run_path(str(prompt.folder / "rmlclean.last"))
    assert (saved["vis"], saved["imagename"]) == ("absent.ms", "")


def test_tget_brings_back_what_tput_saved(prompt):
    prompt.run("robust = -0.5")
    prompt.run("regularizer = ['l1']")
    prompt.run("tput rmlclean")
    prompt.run("default rmlclean")
    assert prompt.value("robust") == "unset"
    prompt.run("tget rmlclean")
    assert prompt.value("robust") == "-0.5"
    assert prompt.value("regularizer") == "['l1']"


def test_default_forgets_the_variables(prompt):
    prompt.run("imsize = 512")
    assert prompt.rows(prompt.run("inp(rmlclean)"))["imsize"] == "512"
    prompt.run("default(rmlclean)")
    assert prompt.value("imsize") == "unset"
    assert prompt.rows(prompt.run("inp(rmlclean)"))["imsize"] == "[100]"


def test_the_task_is_listed_and_has_help(prompt):
    assert "rmlclean" in prompt.run("taskhelp")
    assert "regularised maximum likelihood" in prompt.run("print(rmlclean.__doc__)")
