"""The CUDA kernels against the direct sum and the CPU: emulated by g++, and on a GPU where pycuda finds one."""

import re
import shutil
import subprocess

import numpy as np
import pytest

from casa_ml_tasks.kernels.cuda.device import PycudaDevice, check_gpu, definitions, source
from casa_ml_tasks.kernels.cuda.gpu_operator import GpuFourierOperator, moved_to_gpu, on_gpu
from casa_ml_tasks.kernels.fourier_operator import fourier_operator
from casa_ml_tasks.kernels.gridding_kernel import SUPPORTS, WIDEST, kaiser_bessel
from casa_ml_tasks.kernels.w_expansion import ExpandedOperator
from casa_ml_tasks.kernels.w_stacking import StackedOperator
from casa_ml_tasks.kernels.w_term import wide_field_operator
from casa_ml_tasks.simulation.direct_fourier import image_of, relative_error, visibilities_of
from tests.cuda_emulation import KERNELS, EmulatedDevice

CELL = 1e-5  # radians
SHAPES = [(32, 32), (31, 40), (27, 19)]
CHOICES = [
    (precision, support)
    for precision in (np.float32, np.float64)
    for support in SUPPORTS
    if support <= WIDEST[np.dtype(precision)]
]
REQUESTS = [(np.float32, 1e-3), (np.float32, 1e-6), (np.float64, 1e-6), (np.float64, 1e-12)]


def _reason_for_no_gpu():
    try:
        check_gpu()
    except RuntimeError as error:
        return str(error)
    return ""


NO_GPU = _reason_for_no_gpu()
NO_COMPILER = "" if shutil.which("g++") else "g++, which compiles the emulation, is not on the PATH"
needs_nvcc = pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not on the PATH")


@pytest.fixture(
    params=[
        pytest.param(EmulatedDevice, id="emulated", marks=pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)),
        pytest.param(PycudaDevice, id="gpu", marks=pytest.mark.skipif(bool(NO_GPU), reason=NO_GPU)),
    ]
)
def device(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def uvw(rng):
    """A sparse disc up to the Nyquist limit with its corners, and a core with many visibilities a cell."""
    uvw = rng.uniform(-0.5, 0.5, (1000, 3)) / CELL
    uvw[:5, :2] = np.array([(0.5, 0.5), (-0.5, 0.5), (0.5, -0.5), (0, 0), (-0.0, 0.25)]) / CELL
    uvw[500:] *= 0.02
    return uvw


def random_visibilities(rng, count):
    return rng.normal(size=count) + 1j * rng.normal(size=count)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("precision", "tolerance"), REQUESTS)
def test_both_directions_match_the_direct_sum_to_the_requested_tolerance(device, shape, precision, tolerance, uvw, rng):
    operator = on_gpu(fourier_operator(uvw, 1.0, shape, CELL, tolerance, precision), device)
    image, visibilities = rng.normal(size=shape), random_visibilities(rng, len(uvw))
    degridded = operator.restore(operator.degrid(image))
    gridded = operator.grid(operator.sort(visibilities))
    assert degridded.dtype == np.result_type(precision, np.complex64)
    assert gridded.dtype == precision
    assert relative_error(degridded, visibilities_of(image, uvw, CELL)) < tolerance
    assert relative_error(gridded, image_of(visibilities, uvw, shape, CELL)) < tolerance


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("coverage", [0.1, 1.0])
def test_gridding_is_the_adjoint_of_degridding(device, shape, coverage, uvw, rng):
    operator = on_gpu(fourier_operator(coverage * uvw, 1.0, shape, CELL, 1e-3, np.float64), device)
    image, visibilities = rng.normal(size=shape), random_visibilities(rng, len(uvw))
    forward = np.vdot(visibilities, operator.degrid(image)).real
    backward = np.vdot(operator.grid(visibilities), image)
    assert forward == pytest.approx(backward, rel=1e-10)


@pytest.mark.parametrize(("precision", "support"), CHOICES)
def test_every_support_agrees_with_the_cpu(device, precision, support, uvw, rng, monkeypatch):
    rounding = {np.float32: 1e-5, np.float64: 1e-12}[precision]
    kernel = kaiser_bessel(support, 2.0, 1e-5)
    monkeypatch.setattr("casa_ml_tasks.kernels.fourier_operator.choose_kernel", lambda *_: kernel)
    cpu = fourier_operator(uvw, 1.0, (31, 40), CELL, 1e-5, precision)
    gpu = on_gpu(cpu, device)
    image = rng.normal(size=(31, 40)).astype(precision)
    data, weight = random_visibilities(rng, len(uvw)), rng.uniform(size=len(uvw))
    assert relative_error(gpu.degrid(image), cpu.degrid(image)) < rounding
    assert relative_error(gpu.grid(data), cpu.grid(data)) < rounding
    chi2, gradient = gpu.gradient(image, data, weight)
    expected_chi2, expected_gradient = cpu.gradient(image, data, weight)
    assert chi2 == pytest.approx(expected_chi2, rel=rounding)
    assert relative_error(gradient, expected_gradient) < rounding


def test_a_warp_may_take_many_batches(device, uvw, rng, monkeypatch):
    cpu = fourier_operator(uvw, 1.0, (31, 40), CELL, 1e-3, np.float64)
    monkeypatch.setattr("casa_ml_tasks.kernels.cuda.gpu_operator.ENOUGH_WARPS", 6)
    data = random_visibilities(rng, len(uvw))
    assert relative_error(on_gpu(cpu, device).grid(data), cpu.grid(data)) < 1e-12


def test_arrays_may_stay_on_the_device(device, uvw, rng):
    operator = on_gpu(fourier_operator(uvw, 1.0, (31, 40), CELL, 1e-3, np.float32), device)
    image = rng.normal(size=(31, 40)).astype(np.float32)
    stayed = operator.device.download(operator.degrid(operator.upload(image)))
    np.testing.assert_array_equal(stayed, operator.degrid(image))


def test_what_does_not_fit_the_plan_is_refused(device, uvw):
    operator = on_gpu(fourier_operator(uvw, 1.0, (31, 40), CELL, 1e-3, np.float32), device)
    with pytest.raises(ValueError, match="image of shape"):
        operator.degrid(np.zeros((32, 40)))
    with pytest.raises(ValueError, match="visibilities of shape"):
        operator.grid(np.zeros(len(uvw) + 1, complex))


@pytest.mark.parametrize(("w_over_uv", "kind"), [(0.0, GpuFourierOperator), (30.0, ExpandedOperator)])
def test_the_w_term_is_that_of_the_cpu(device, w_over_uv, kind, uvw, rng):
    uvw[:, 2] *= w_over_uv
    cpu = wide_field_operator(uvw, 1.0, (31, 40), CELL, 1e-5, np.float32)
    gpu = moved_to_gpu(cpu, device)
    assert isinstance(gpu, kind)
    image, data = rng.normal(size=(31, 40)), random_visibilities(rng, len(uvw))
    degridded = gpu.restore(gpu.degrid(image.astype(np.float32)))
    assert relative_error(degridded, visibilities_of(image, uvw, CELL, w_term=w_over_uv > 0)) < 1e-5
    assert relative_error(gpu.grid(gpu.sort(data)), cpu.grid(cpu.sort(data))) < 1e-5


def test_planes_of_w_stay_on_the_cpu(device, uvw):
    uvw[:, 2] *= 1e5
    operator = wide_field_operator(uvw, 1.0, (31, 40), CELL, 1e-5, np.float32)
    assert isinstance(operator, StackedOperator)
    assert moved_to_gpu(operator, device) is operator


def test_a_grid_beyond_the_kernels_integers_is_refused(uvw):
    operator = fourier_operator(uvw[:2] * 1e-3, 1.0, (60_000, 8), CELL, 1e-3, np.float32)
    with pytest.raises(ValueError, match="beyond the GPU kernels"):
        on_gpu(operator)


@needs_nvcc
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("precision", "support"), [(np.float32, 5), (np.float32, 8), (np.float64, 16)])
def test_nvcc_compiles_the_kernels_without_spilling_registers(architecture, precision, support, tmp_path):
    program = tmp_path / "gridding.cu"
    program.write_text(source())
    options = ["-std=c++17", "-cubin", f"-arch={architecture}", "-Xptxas", "-v", "-o", str(tmp_path / "gridding.cubin")]
    chosen = definitions(np.dtype(precision), support, support + 2)
    run = subprocess.run(["nvcc", *options, *chosen, str(program)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert re.findall(r"(\d+) bytes spill stores", run.stderr) == ["0"] * len(KERNELS)
