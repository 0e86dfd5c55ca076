"""device='gpu': images by the GPU's kernels, which g++ compiles where there is no GPU."""

import shutil

import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from tests.cuda_emulation import EmulatedDevice


def arguments(ms, name, **others):
    return {
        "vis": str(ms.path),
        "imagename": str(name),
        "imsize": 48,
        "cell": "0.2arcsec",
        "datacolumn": "data",
        **others,
    }


@pytest.mark.skipif(not shutil.which("g++"), reason="g++, which compiles the emulation, is not on the PATH")
def test_a_run_on_the_gpu_gives_the_images_of_the_cpu(simulated_ms, tmp_path, monkeypatch):
    rmlclean(**arguments(simulated_ms, tmp_path / "cpu"))
    monkeypatch.setattr("casa_ml_tasks.major.native.PycudaDevice", EmulatedDevice)
    monkeypatch.setattr("casa_ml_tasks.tasks.imaging.check_gpu", lambda: None)
    rmlclean(**arguments(simulated_ms, tmp_path / "gpu", device="gpu"))
    for product in ("residual", "image"):
        cpu, gpu = (read_image(f"{tmp_path / name}.{product}") for name in ("cpu", "gpu"))
        assert np.abs(gpu - cpu).max() < 1e-3 * np.abs(cpu).max()


def test_a_gpu_that_is_not_there_is_named_before_anything_is_written(simulated_ms, tmp_path, monkeypatch):
    def absent():
        raise RuntimeError("pycuda finds no usable GPU (none); compute on the CPU instead")

    monkeypatch.setattr("casa_ml_tasks.tasks.imaging.check_gpu", absent)
    with pytest.raises(ValueError, match=r"^device='gpu' cannot be used: pycuda finds no usable GPU"):
        rmlclean(**arguments(simulated_ms, tmp_path / "sky", device="gpu"))
    assert not list(tmp_path.iterdir())
