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


ALMA = "from casatools import measures; print(measures().observatory('ALMA')['type'])"


def test_measures_work_in_an_empty_home_and_nothing_but_the_log_is_written(folders):
    home, work = folders
    result = run(f"import casa_ml_tasks; {ALMA}", home, work)
    assert result.stdout.strip().endswith("position"), result.stderr
    assert [path.name for path in home.iterdir() if path.name not in (".cache", ".config")] == []  # matplotlib's
    assert [path.match("casa-*-*.log") for path in work.iterdir()] == [True]


def test_messages_of_a_task_are_in_the_log_where_cleans_are(folders):
    code = (
        "from casa_ml_tasks import rmlclean; from casatasks import casalog, tclean\n"
        "for task in (rmlclean, tclean):\n"
        "    try: task(vis='.', imagename='my', imsize=32, cell='0.1arcsec')\n"
        "    except Exception: pass\n"
        "casalog.post('a warning', 'WARN'); casalog.post('information')"
    )
    result = run(code, *folders)
    (log,) = folders[1].glob("casa-*.log")
    written = log.read_text()
    assert "Begin Task: rmlclean" in written
    assert "Begin Task: tclean" in written
    assert "a warning" in written
    assert "information" in written
    assert "a warning" in result.stderr
    assert "information" not in result.stderr


def test_a_first_import_of_casatools_fails_without_data_and_ours_makes_up_for_it(folders):
    failing = "try: import casatasks\nexcept Exception as error: print(type(error).__name__)\n"
    result = run(f"{failing}import casa_ml_tasks.wrappers.rmlclean; {ALMA}", *folders)
    assert result.stdout.split()[-1] == "position", result.stderr
    assert "AutoUpdatesNotAllowed" in result.stdout


def test_casatools_may_be_imported_first_where_it_has_data(folders):
    home, work = folders
    (home / ".casa").mkdir()
    (home / ".casa" / "data").symlink_to(casadata.datapath)
    configured = "from casaconfig import config; config.measures_auto_update = config.data_auto_update = False"
    result = run(f"{configured}; import casatasks; import casa_ml_tasks.wrappers.rmlclean; {ALMA}", home, work)
    assert result.stdout.split()[-1] == "position", result.stderr


def test_the_tasks_are_listed_before_they_are_imported(folders):
    code = "import sys, casa_ml_tasks; print('rmlclean' in dir(casa_ml_tasks), 'casatools' in sys.modules)"
    assert run(code, *folders).stdout.split() == ["True", "False"]


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
