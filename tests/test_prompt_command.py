"""casa-ml-prompt: CASA's prompt with our tasks, where CASA has neither data nor a configuration."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from casa_ml_tasks import prompt as command
from tests.casa_prompt import PLAIN, Prompt

pytest.importorskip("casashell")

COMMAND = ["-c", "import sys; from casa_ml_tasks.prompt import main; sys.exit(main())"]
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def prompt(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / ".casa").mkdir()
    (home / ".casa" / "startup.py").write_text("my_cell = '0.05arcsec'\n")
    session = Prompt(home, [*COMMAND, *PLAIN])
    yield session
    session.close()


def test_casas_own_command_stops_where_there_are_no_data(tmp_path):
    casashell = [sys.executable, "-m", "casashell", *PLAIN, "-c", "print('started')"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    result = subprocess.run(casashell, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "started" not in result.stdout


def test_our_tasks_are_loaded_for_inp_go_default_and_tget(prompt):
    prompt.run("imagename = 'my'")
    assert prompt.rows(prompt.run("inp rmlclean"))["imagename"] == "'my'"
    assert "does not exist" in prompt.run("go")  # vis=''
    prompt.run("default rmlclean")
    assert prompt.value("imagename") == "unset"
    prompt.run("tget rmlclean")
    assert prompt.value("imagename") == "my"


def test_our_tasks_are_listed_once(prompt):
    assert prompt.run("taskhelp").count("rmlclean :") == 1


def test_measures_are_those_of_casadata(prompt):
    assert "WGS84" in prompt.run("me.observatory('ALMA')")


def test_the_users_own_startup_file_is_run(prompt):
    assert prompt.value("my_cell") == "0.05arcsec"


def test_the_log_is_in_the_working_directory(prompt):
    assert len(list(prompt.folder.glob("casa-*.log"))) == 1


def test_the_options_are_those_of_casas_prompt():
    assert command.prompt_arguments(["--startupfile", "mine.py", "-c", "x"])[2:] == ["-c", "x"]
    assert command.users_startup == "mine.py"
    command.prompt_arguments(["--nostartupfile"])
    assert command.users_startup is None


def test_a_missing_casashell_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "casashell", None)
    assert command.main() == 1
    assert "pip install casashell==6" in capsys.readouterr().err


def test_the_command_is_installed_with_the_package():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["casa-ml-prompt"] == "casa_ml_tasks.prompt:main"
