"""Dictionary, report and image history say which code made an image."""

import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from astropy.io import fits
from casatasks import exportfits, imhistory

import casa_ml_tasks
from casa_ml_tasks import resolveimage, rmlclean
from casa_ml_tasks.version import commit, commit_of

REPOSITORY = Path(__file__).resolve().parents[1]


def git(*arguments: str, folder: Path = REPOSITORY) -> str:
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A git checkout with one commit of one file, and a folder in it."""
    git("init", folder=tmp_path)
    (tmp_path / "sky.py").write_text("flux = 1\n")
    (tmp_path / "venv").mkdir()
    git("add", "sky.py", folder=tmp_path)
    git("commit", "-m", "sky", folder=tmp_path)
    return tmp_path


def test_the_commit_is_that_of_the_checkout_and_says_where_files_differ(checkout):
    head = git("rev-parse", "--short=12", "HEAD", folder=checkout)
    assert commit_of(checkout) == head
    (checkout / "sky.py").write_text("flux = 2\n")
    assert commit_of(checkout) == f"{head}-dirty"


def test_a_checkout_around_an_installed_package_is_not_asked(checkout):
    assert commit_of(checkout / "venv") == ""


def test_no_git_is_no_error(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert commit_of(checkout) == ""


def test_an_installed_package_knows_what_it_was_built_from(tmp_path):
    shutil.copy(REPOSITORY / "casa_ml_tasks" / "version.py", tmp_path)
    (tmp_path / "commit.txt").write_text("abc\n")
    assert runpy.run_path(str(tmp_path / "version.py"))["commit"]() == "abc"


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="not a git checkout")
def test_this_commit_is_known():
    assert commit().removesuffix("-dirty") == git("rev-parse", "--short=12", "HEAD")


@pytest.fixture(scope="module")
def imaged(simulated_ms, tmp_path_factory):
    """Dictionaries of both tasks, by name, of dirty images."""
    folder = tmp_path_factory.mktemp("imaged")
    common = {"vis": str(simulated_ms.path), "imsize": 32, "cell": "0.2arcsec", "datacolumn": "data", "niter": 0}
    return {
        "rmlclean": rmlclean(imagename=f"{folder}/rmlclean", **common),
        "resolveimage": resolveimage(imagename=f"{folder}/resolveimage", seed=7, **common),
    }


@pytest.mark.parametrize("task", ["rmlclean", "resolveimage"])
def test_dictionary_report_and_history_hold_version_and_commit(imaged, task, tmp_path):
    result = imaged[task]
    assert (result["version"], result["commit"]) == (casa_ml_tasks.__version__, commit())
    known = f"{casa_ml_tasks.__version__}, commit {commit()}" if commit() else casa_ml_tasks.__version__
    assert f"casa_ml_tasks {known}; CASA " in Path(result["report"]).read_text()
    images = [path for path in result["products"] if Path(path).is_dir()]
    for path in images:
        assert f'casa_ml_tasks = "{known}"' in "\n".join(imhistory(path, mode="list", verbose=False))
    exportfits(imagename=images[-1], fitsimage=str(tmp_path / "my.fits"))
    history = [str(line) for line in fits.getheader(tmp_path / "my.fits")["HISTORY"]]
    assert f"taskname={task}" in history
    assert f'casa_ml_tasks = "{known}"' in history


def test_the_seed_is_where_the_version_is(imaged):
    result = imaged["resolveimage"]
    assert result["seed"] == 7
    assert "seed 7" in Path(result["report"]).read_text()
    assert "seed        = 7" in imhistory(result["products"][0], mode="list", verbose=False)
    assert "seed" not in imaged["rmlclean"]
