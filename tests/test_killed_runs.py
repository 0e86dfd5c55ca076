"""kill -9 at any moment, then restart=True: the same image as an undisturbed run, and nothing that looks finished."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.workspace import Product, Workspace

REPOSITORY = Path(__file__).resolve().parents[1]

CALL = """
from casa_ml_tasks import rmlclean
rmlclean(
    vis={vis!r}, imagename={name!r}, imsize=64, cell="0.15arcsec", datacolumn="data", nmajor=2, cycleniter=60,
    imager={imager!r},
)
"""

KILLED_IN = {
    "minor cycle": """
import os, signal
from casa_ml_tasks.minor.rml import projected_lbfgs
advance, calls = projected_lbfgs.advance, []
def kill_in_the_middle(*arguments):
    calls.append(1)
    if len(calls) == {moment}:
        os.kill(os.getpid(), signal.SIGKILL)
    return advance(*arguments)
projected_lbfgs.advance = kill_in_the_middle
""",
    "major cycle": """
import os, signal, threading
from casa_ml_tasks.major import casa, native
calls = []
def killed_in_the_middle(of, name):
    run = getattr(of, name)
    def kill_in_the_middle(*given, **arguments):
        calls.append(1)
        if len(calls) == {moment}:
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return run(*given, **arguments)
    setattr(of, name, kill_in_the_middle)
killed_in_the_middle(casa.PySynthesisImager, "runMajorCycle")
killed_in_the_middle(native.NativeMajorCycle, "residual")
""",
    "restoration": """
import os, signal
from casa_ml_tasks.major import casa
casa.PySynthesisImager.restoreImages = lambda imager: os.kill(os.getpid(), signal.SIGKILL)
""",
}


def run(code, folder):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module", params=["auto", "casa"])
def imager(request):
    """Our own kernels, and CASA's imager, which writes images in every major cycle."""
    return request.param


@pytest.fixture(scope="module")
def undisturbed(imager, simulated_ms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    result = run(CALL.format(vis=str(simulated_ms.path), name="sky", imager=imager), folder)
    assert result.returncode == 0, result.stderr
    return {extension: read_image(folder / f"sky.{extension}") for extension in ("model", "residual", "image")}


@pytest.mark.parametrize(
    ("step", "moment"),
    [("minor cycle", 2), ("minor cycle", 4), ("major cycle", 1), ("major cycle", 2), ("restoration", 1)],
)
def test_a_killed_run_restarted_ends_in_the_same_image(simulated_ms, imager, undisturbed, tmp_path, step, moment):
    call = CALL.format(vis=str(simulated_ms.path), name="sky", imager=imager)
    killed = run(KILLED_IN[step].format(moment=moment) + call, tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".log"] == ["sky.work"]
    resumed = run(call, tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    for extension, expected in undisturbed.items():
        actual = read_image(tmp_path / f"sky.{extension}")
        np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())


def test_an_image_that_was_being_written_is_written_again(tmp_path):
    workspace = Workspace(tmp_path / "sky", [Product("model", is_rewritten=True)])
    workspace.begin(resume=False)
    half = workspace.directory / "image.model"
    half.mkdir()
    (half / "table.info").write_text("Type = Image\n")
    workspace.begin(resume=True)
    assert not half.exists()
    assert workspace.directory.exists()
