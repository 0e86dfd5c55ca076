"""The tasks at a real CASA prompt, driven through a pseudo-terminal."""

import re
import runpy
import sys
from pathlib import Path

import casadata
import pexpect
import pytest

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
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|[=>]|\][^\x07]*\x07)")


class Prompt:
    """A running casashell."""

    def __init__(self, home: Path):
        dot_casa = home / ".casa"
        dot_casa.mkdir()
        (dot_casa / "startup.py").write_text(STARTUP)
        (dot_casa / "config.py").write_text(CONFIG)
        self.folder = home
        environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "TERM": "dumb", "LANG": "C.UTF-8"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        arguments = ["-m", "casashell", "--nologger", "--nologfile", "--nogui", "--agg", "--colors", "NoColor"]
        self._child = pexpect.spawn(
            sys.executable,
            arguments,
            cwd=home,
            env=environment,
            encoding="utf-8",
            dimensions=(200, 160),
            timeout=120,
        )
        self._count = 0
        self._wait()

    def run(self, command: str) -> str:
        """What the prompt prints at a command, without colours."""
        self._child.sendline(command)
        return self._wait()

    def value(self, name: str) -> str:
        """The repr of a variable of the prompt, or 'unset'."""
        printed = self.run(f"print('<' + repr(globals().get('{name}', 'unset')) + '>')")
        return re.findall(r"^<(.*)>", printed, re.MULTILINE)[-1].strip("'")

    def rows(self, output: str) -> dict[str, str]:
        """The names and values of an inp listing."""
        return dict(re.findall(r"^ *(\w+) *= (\S+)", output, re.MULTILINE))

    def close(self) -> None:
        self._child.close(force=True)

    def _wait(self) -> str:
        self._count += 1
        self._child.expect_exact(f"CASA <{self._count}>: ")
        return ESCAPES.sub("", self._child.before).replace("\r", "")


@pytest.fixture(scope="module")
def prompt(tmp_path_factory):
    session = Prompt(tmp_path_factory.mktemp("home"))
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
