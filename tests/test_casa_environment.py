"""casatools without a configuration file, and with the user's."""

import os
import subprocess
import sys
from pathlib import Path

import casadata
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def run(code: str, home: Path, cwd: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture
def folders(tmp_path):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    return home, work


def test_measures_work_in_an_empty_home_and_nothing_is_written(folders):
    home, work = folders
    code = "import casa_ml_tasks; from casatools import measures; print(measures().observatory('ALMA')['type'])"
    result = run(code, home, work)
    assert result.stdout.strip().endswith("position"), result.stderr
    assert [path.name for path in home.iterdir() if path.name not in (".cache", ".config")] == []  # matplotlib's
    assert list(work.iterdir()) == []


def test_importing_the_package_does_not_change_jax(folders):
    code = "import casa_ml_tasks.tasks.rmlclean, jax.numpy as jnp; print(jnp.ones(1).dtype)"
    assert run(code, *folders).stdout.strip().endswith("float32")


def test_a_users_own_configuration_wins(folders):
    home, work = folders
    (home / ".casa").mkdir()
    (home / ".casa" / "config.py").write_text(
        f"datapath = [{casadata.datapath!r}]\nmeasurespath = {casadata.datapath!r}\n"
        "measures_auto_update = data_auto_update = False\nlogfile = 'mine.log'\n"
    )
    result = run("import casa_ml_tasks; from casaconfig import config; print(config.logfile)", home, work)
    assert result.stdout.strip().endswith("mine.log"), result.stderr


def test_python_without_assertions_is_refused(folders):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    result = subprocess.run(
        [sys.executable, "-O", "-c", "import casa_ml_tasks"],
        cwd=folders[1],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert "run without -O" in result.stderr
