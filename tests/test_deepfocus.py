"""deepfocus from a dirty image, with peaks in the place of trained networks: the fit and all else are its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from astropy.table import Table
from casatasks import exportfits
from numpy.testing import assert_allclose

import casa_ml_tasks
from casa_ml_tasks import deepfocus
from casa_ml_tasks.data.casa_image import read_beam, read_image
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.networks.weights_file import save_arrays
from casa_ml_tasks.sources import plane_finder
from casa_ml_tasks.tasks.deepfocus_of_image import ImageCall
from tests.dirty_files import CELL, FIRST, SIGMA, WIDTH, PeakView, dirty_cube, two_sources, write, write_dirty

CHANNELS, SHAPE = 16, (64, 72)
IMAGES = ("model", "continuum", "line", "mask", "probability", "residual", "image")
FILES = ("catalog", "catalog.fits", "catalog.ecsv", "lines.ecsv", "report/index.html")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Networks that know nothing, but that a line is what stands out by more than five sigma."""
    folder = tmp_path_factory.mktemp("weights")
    save_arrays(folder / "images.safetensors", ImageNetwork(jax.random.PRNGKey(0)), {})
    network = LineNetwork(jax.random.PRNGKey(0))
    decision = np.zeros(network.decision.shape, np.float32)
    decision[:2] = -20, 4
    object.__setattr__(network, "decision", decision)
    save_arrays(folder / "lines.safetensors", network, {})
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def peaks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plane_finder, "NetworkView", PeakView)
        yield


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """Path of a dirty cube."""
    return write_dirty(tmp_path_factory.mktemp("cube"), CHANNELS, SHAPE)


@pytest.fixture(scope="module")
def run(tmp_path_factory, cube, weights):
    """The folder and the dictionary of a run with a truth."""
    folder = tmp_path_factory.mktemp("run")
    truth = folder / "truth.ecsv"
    true_table().write(truth, format="ascii.ecsv")
    result = deepfocus(dirtyimage=cube, imagename=str(folder / "found"), weights=weights, truth=str(truth))
    return folder, result


def true_table():
    """The true sources, on the sky by small angles."""
    sources = two_sources(CHANNELS, SHAPE)
    x, y = (np.array([getattr(each, name) for each in sources]) for name in "xy")
    declination = -24 + (y - SHAPE[0] // 2) * CELL / 3600
    return Table(
        {
            "ra": 246 - (x - SHAPE[1] // 2) * CELL / 3600 / np.cos(np.radians(declination)),
            "dec": declination,
            "major": [each.major * CELL for each in sources],
            "minor": [each.minor * CELL for each in sources],
            "pa": [(np.degrees(each.angle) - 90) % 180 for each in sources],
            "continuum": [each.flux[0] for each in sources],
        }
    )


def catalogue(folder):
    return Table.read(folder / "found.catalog.ecsv")


def test_the_catalogue_has_the_true_sources_within_four_errors(run):
    found, true = catalogue(run[0]), true_table()
    assert len(found) == run[1]["sources"] == 2
    order = np.argsort(-np.asarray(true["continuum"]))
    true = true[order]
    off = 3600 * (found["ra"] - true["ra"]) * np.cos(np.radians(true["dec"]))
    assert (np.abs(off) < 4 * found["ra_err"]).all()
    assert (3600 * np.abs(found["dec"] - true["dec"]) < 4 * found["dec_err"]).all()
    for name in ("major", "minor", "pa", "continuum"):
        assert (np.abs(found[name] - true[name]) < 4 * found[f"{name}_err"] + 0.03 * true[name]).all(), name
    assert (found["continuum_err"] < 0.05 * found["continuum"]).all()
    assert list(found["flags"].filled("")) == ["", ""] if found["flags"].dtype.kind == "O" else True


def test_the_line_has_its_frequency_width_and_flux(run):
    (line,) = Table.read(run[0] / "found.lines.ecsv")
    assert run[1]["lines"] == 1
    assert line["id"] == 1
    velocity = 299792.458 * WIDTH / FIRST  # of a channel, km/s
    assert_allclose(line["frequency"], FIRST + CHANNELS / 2 * WIDTH, atol=4 * line["frequency_err"])
    assert_allclose(line["fwhm"], 3 * velocity, atol=4 * line["fwhm_err"])
    true = 0.1 * 3 * np.sqrt(np.pi / (4 * np.log(2))) * velocity
    assert_allclose(line["flux"], true, atol=4 * line["flux_err"])
    assert line["flux_err"] < 0.1 * true


def test_every_product_is_there_and_goes_through_exportfits(run, tmp_path):
    folder, result = run
    for extension in IMAGES:
        shape = (1 if extension == "probability" else CHANNELS, 1, *SHAPE)
        assert read_image(folder / f"found.{extension}").shape == shape
        exportfits(str(folder / f"found.{extension}"), str(tmp_path / f"{extension}.fits"))
    assert all((folder / f"found.{name}").exists() for name in FILES)
    assert result["catalog"] == str(folder / "found.catalog")
    assert not (folder / "found.work").exists()
    assert read_beam(folder / "found.image").major == pytest.approx(1.0)


def test_model_and_residual_explain_the_dirty_cube(run, cube):
    folder, result = run
    model, residual = (read_image(folder / f"found.{name}")[:, 0] for name in ("model", "residual"))
    dirty = read_image(cube)[:, 0]
    _, psf = dirty_cube([], SHAPE, 1)
    size = psf.shape
    transfer = np.fft.rfft2(np.fft.ifftshift(psf))
    again = np.fft.irfft2(np.fft.rfft2(model, s=size) * transfer, s=size)[:, : SHAPE[0], : SHAPE[1]]
    assert_allclose(residual, dirty - again, atol=1e-5)
    assert_allclose(residual.std(), SIGMA, rtol=0.05)
    assert_allclose(result["image_noise"], SIGMA, rtol=0.1)
    parts = [read_image(folder / f"found.{name}")[:, 0] for name in ("continuum", "line")]
    assert_allclose(sum(parts), model, atol=1e-6)


def test_the_mask_covers_the_sources_and_little_else(run):
    mask = read_image(run[0] / "found.mask")[:, 0]
    true = two_sources(CHANNELS, SHAPE)
    assert all(mask[:, round(each.y), round(each.x)].all() for each in true)
    assert 0.005 < mask.mean() < 0.1


def test_the_report_says_what_is_true(run):
    page = Path(run[1]["report"]).read_text()
    assert "2 of 2 true sources were found within half a beam, and 0 of the 2 sources" in page
    for figure in ("source_map", "source_residual", "spectra", "probabilities", "truth", "true_numbers"):
        assert (run[0] / "found.report" / f"{figure}.png").exists()


def test_an_image_of_one_channel_has_no_lines(tmp_path, weights):
    path = write_dirty(tmp_path, 1, SHAPE)
    result = deepfocus(dirtyimage=path, imagename=str(tmp_path / "found"), weights=weights)
    found = catalogue(tmp_path)
    assert (result["sources"], result["lines"]) == (2, 0)
    assert_allclose(found["flux"], [0.05, 0.03], atol=0.01)
    assert not (tmp_path / "found.line").exists()


def test_noise_alone_has_an_empty_catalogue(tmp_path, weights):
    dirty, psf = dirty_cube([], SHAPE, 4)
    write(tmp_path / "noise.residual", dirty)
    write(tmp_path / "noise.psf", psf[None])
    result = deepfocus(dirtyimage=str(tmp_path / "noise.residual"), imagename=str(tmp_path / "found"), weights=weights)
    assert result["sources"] == len(catalogue(tmp_path)) == 0
    assert "No source was found." in Path(result["report"]).read_text()
    assert not read_image(tmp_path / "found.model").any()


def test_channels_without_data_are_left_out(tmp_path, cube, weights, casa_log):
    pixels = read_image(cube)[:, 0]
    pixels[[0, 5]] = 0
    write(tmp_path / "dirty.residual", pixels)
    shutil.copytree(Path(cube).with_suffix(".psf"), tmp_path / "dirty.psf")
    result = deepfocus(dirtyimage=str(tmp_path / "dirty.residual"), imagename=str(tmp_path / "found"), weights=weights)
    assert (result["sources"], result["lines"]) == (2, 1)
    spectrum = np.asarray(catalogue(tmp_path)["spectrum"])
    assert np.isnan(spectrum).any(axis=0).nonzero()[0].tolist() == [0, 5]
    assert "2 of 16 channels" in casa_log()


@pytest.fixture
def refused(cube, weights, tmp_path):
    """Calls with changed arguments, which end in a sentence and leave nothing."""

    def call(sentence, **changed):
        before = sorted(tmp_path.iterdir())
        arguments = {"dirtyimage": cube, "imagename": str(tmp_path / "found"), "weights": weights, **changed}
        with pytest.raises(ValueError, match=re.escape(sentence)):
            deepfocus(**arguments)
        assert sorted(tmp_path.iterdir()) == before

    return call


def test_one_of_visibilities_and_a_dirty_image_is_needed(refused, simulated_ms):
    refused("give one of them", dirtyimage="")
    refused("give one of them", vis=str(simulated_ms.path))


def test_damaged_and_missing_weights_are_refused(refused, weights, tmp_path):
    refused("do not exist", weights=str(tmp_path / "nowhere"))
    folder = tmp_path / "damaged"
    shutil.copytree(weights, folder)
    whole = (folder / "lines.safetensors").read_bytes()
    (folder / "lines.safetensors").write_bytes(whole[: len(whole) // 2])
    refused("are damaged", weights=str(folder))
    shutil.copy(folder / "images.safetensors", folder / "lines.safetensors")
    refused("are of another network", weights=str(folder))


def test_images_that_do_not_suit_are_refused(refused, tmp_path):
    small = write_dirty(tmp_path, 2, (24, 40), name="small")
    refused("too small for the network", dirtyimage=small)
    refused("does not exist", dirtyimage="nowhere.residual")
    refused("truth='nowhere.ecsv' does not exist", truth="nowhere.ecsv")


def test_products_never_replace_the_image_that_is_read(refused, cube):
    refused("which is read; choose another name", imagename=cube.removesuffix(".residual"))


def test_parameters_of_visibilities_are_named_as_without_effect(tmp_path, cube, weights, casa_log, monkeypatch):
    def stop(self, task):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImageCall, "check", stop)
    with pytest.raises(KeyboardInterrupt):
        deepfocus(dirtyimage=cube, imagename=str(tmp_path / "a"), weights=weights, robust=1.0, specmode="cube")
    assert "without effect: specmode='cube' (dirtyimage is given), robust=1.0 (dirtyimage is given)" in casa_log()


def test_a_module_of_the_same_name_leaves_the_task_callable():
    program = (
        "import casa_ml_tasks.networks.training, casa_ml_tasks.deepfocus\n"
        "from casa_ml_tasks import deepfocus\n"
        "from casa_ml_tasks.deepfocus import main\n"
        "print(callable(deepfocus), callable(casa_ml_tasks.deepfocus), deepfocus.__name__, main.__name__)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "True", "deepfocus", "main"]
    assert callable(casa_ml_tasks.deepfocus)
