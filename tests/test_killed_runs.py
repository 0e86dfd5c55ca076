"""kill -9 at any moment, then restart=True: the same image as an undisturbed run, and nothing that looks finished."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_beam, read_image
from casa_ml_tasks.data.workspace import Product, Workspace

REPOSITORY = Path(__file__).resolve().parents[1]

IMAGING = {
    "imagename": "sky",
    "imsize": 64,
    "cell": "0.15arcsec",
    "datacolumn": "data",
    "nmajor": 2,
    "cycleniter": 60,
}
CALL = f"""
import sys
from casa_ml_tasks import rmlclean
rmlclean(vis=sys.argv[1], imager=sys.argv[2], specmode=sys.argv[3], **{IMAGING})
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
    "writing of the PSF, before its beam": """
import os, signal
import casa_ml_tasks
from casatools import synthesisnormalizer
synthesisnormalizer.dividepsfbyweight = lambda tool: os.kill(os.getpid(), signal.SIGKILL)
""",
    "restoration": """
import os, signal
from casa_ml_tasks.major import casa
casa.PySynthesisImager.restoreImages = lambda imager: os.kill(os.getpid(), signal.SIGKILL)
""",
}


def image(vis, folder, imager, specmode="mfs"):
    """In this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        rmlclean(vis=str(vis), imager=imager, specmode=specmode, **IMAGING)


def kill(step, moment, vis, folder, imager, specmode="mfs"):
    """In a process that ends in this step, the so many-th time that it is reached."""
    code = KILLED_IN[step].format(moment=moment) + CALL
    killed = subprocess.run(
        [sys.executable, "-c", code, str(vis), imager, specmode],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr


@pytest.fixture(scope="module", params=["auto", "casa"])
def imager(request):
    """Our own kernels, and CASA's imager, which writes images in every major cycle."""
    return request.param


@pytest.fixture(scope="module")
def undisturbed(imager, simulated_ms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    image(simulated_ms.path, folder, imager)
    return {extension: read_image(folder / f"sky.{extension}") for extension in ("model", "residual", "image")}


@pytest.mark.parametrize(
    ("step", "moment"),
    [("minor cycle", 2), ("minor cycle", 4), ("major cycle", 1), ("major cycle", 2), ("restoration", 1)],
)
def test_a_killed_run_restarted_ends_in_the_same_image(simulated_ms, imager, undisturbed, tmp_path, step, moment):
    kill(step, moment, simulated_ms.path, tmp_path, imager)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".log"] == ["sky.work"]
    image(simulated_ms.path, tmp_path, imager)
    for extension, expected in undisturbed.items():
        actual = read_image(tmp_path / f"sky.{extension}")
        np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())


def test_a_killed_cube_goes_on(simulated_ms, tmp_path):
    kill("minor cycle", 2, simulated_ms.path, tmp_path, "auto", "cubedata")
    image(simulated_ms.path, tmp_path, "auto", "cubedata")
    assert read_image(tmp_path / "sky.model").sum(axis=(1, 2, 3)) == pytest.approx(1.5, rel=0.1)  # Jy, every channel


def test_a_psf_without_its_beam_is_written_again(simulated_ms, tmp_path):
    kill("minor cycle", 2, simulated_ms.path, tmp_path, "auto")
    kill("writing of the PSF, before its beam", 1, simulated_ms.path, tmp_path, "auto")
    assert read_beam(tmp_path / "sky.work" / "image.psf") is None
    image(simulated_ms.path, tmp_path, "auto")
    assert read_beam(tmp_path / "sky.psf") is not None


def test_an_image_that_was_being_written_is_written_again(tmp_path):
    workspace = Workspace(tmp_path / "sky", [Product("model", is_rewritten=True)])
    workspace.begin(resume=False)
    half = workspace.directory / "image.model"
    half.mkdir()
    (half / "table.info").write_text("Type = Image\n")
    workspace.begin(resume=True)
    assert not half.exists()
    assert workspace.directory.exists()
