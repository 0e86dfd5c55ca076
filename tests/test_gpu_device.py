"""device='gpu': images by the GPU's kernels, which g++ compiles where there is no GPU."""

import shutil
from contextlib import closing

import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.major.native import NativeMajorCycle
from tests.cuda_emulation import EmulatedDevice
from tests.major_cycles import request_of

needs_compiler = pytest.mark.skipif(
    not shutil.which("g++"), reason="g++, which compiles the emulation, is not on the PATH"
)


def arguments(ms, name, **others):
    return {
        "vis": str(ms.path),
        "imagename": str(name),
        "imsize": 48,
        "cell": "0.2arcsec",
        "datacolumn": "data",
        **others,
    }


@needs_compiler
def test_the_dirty_image_is_that_of_the_cpu(simulated_ms, tmp_path, monkeypatch):
    rmlclean(**arguments(simulated_ms, tmp_path / "cpu", niter=0))
    monkeypatch.setattr("casa_ml_tasks.major.native.PycudaDevice", EmulatedDevice)
    monkeypatch.setattr("casa_ml_tasks.tasks.imaging.check_gpu", lambda: None)
    rmlclean(**arguments(simulated_ms, tmp_path / "gpu", niter=0, device="gpu"))
    cpu, gpu = (read_image(f"{tmp_path / name}.residual") for name in ("cpu", "gpu"))
    assert np.abs(gpu - cpu).max() < 1e-5 * np.abs(cpu).max()


@needs_compiler
def test_the_residual_of_a_model_is_that_of_the_cpu(simulated_ms, tmp_path, monkeypatch):
    monkeypatch.setattr("casa_ml_tasks.major.native.PycudaDevice", EmulatedDevice)
    model = np.random.default_rng(1).uniform(0, 0.01, (1, 1, 48, 48)).astype(np.float32)
    residuals = {}
    for device in ("cpu", "gpu"):
        (tmp_path / device).mkdir()
        request = request_of(simulated_ms.path, imsize=48, cell="0.2arcsec", gridder="native", device=device)
        with closing(NativeMajorCycle(request, tmp_path / device)) as major:
            residuals[device] = major.residual(model)
    assert np.abs(residuals["gpu"] - residuals["cpu"]).max() < 1e-5 * np.abs(residuals["cpu"]).max()


def test_a_gpu_that_is_not_there_is_named_before_anything_is_written(simulated_ms, tmp_path, monkeypatch):
    def absent():
        raise RuntimeError("pycuda finds no usable GPU (none); compute on the CPU instead")

    monkeypatch.setattr("casa_ml_tasks.tasks.imaging.check_gpu", absent)
    with pytest.raises(ValueError, match=r"^device='gpu' cannot be used: pycuda finds no usable GPU"):
        rmlclean(**arguments(simulated_ms, tmp_path / "sky", device="gpu"))
    assert not list(tmp_path.iterdir())
