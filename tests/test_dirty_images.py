"""Dirty images from disk: what is read, and what is refused in a sentence."""

import re
import shutil

import numpy as np
import pytest
from casatasks import exportfits
from casatools import image as image_tool
from numpy.testing import assert_allclose

from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.dirty_images import read_dirty_images, sibling
from casa_ml_tasks.data.source_images import ordered_copy
from tests.dirty_files import BEAM, CELL, dirty_cube, two_sources, write, write_dirty

SHAPE, CHANNELS = (33, 40), 3


@pytest.fixture
def residual(tmp_path):
    return write_dirty(tmp_path, CHANNELS, SHAPE)


def changed(path, change):
    """Change the pixels of an image, (channel, stokes, y, x), in place."""
    pixels = read_image(path)
    change(pixels)
    tool = image_tool()
    tool.open(str(path))
    tool.putchunk(np.ascontiguousarray(pixels.T))
    tool.done()


def test_pixels_psf_and_beam_are_those_that_were_written(residual):
    dirty, psf = dirty_cube(two_sources(CHANNELS, SHAPE), SHAPE, CHANNELS)
    images = read_dirty_images(residual, "")
    assert_allclose(images.dirty, dirty, atol=1e-8)
    assert images.psf.shape == (1, 66, 80)
    assert_allclose(images.psf[0, 1:, 1:], psf[1:, 1:], atol=1e-7)
    assert_allclose([images.beam.major, images.known], [BEAM * CELL, 1.0])
    assert images.response is None


def test_a_fits_file_is_the_same(residual, tmp_path):
    exportfits(residual, str(tmp_path / "dirty.residual.fits"))
    exportfits(str(tmp_path / "dirty.psf"), str(tmp_path / "dirty.psf.fits"))
    images, of_fits = (read_dirty_images(name, "") for name in (residual, f"{residual}.fits"))
    assert_allclose(of_fits.dirty, images.dirty)
    assert_allclose(of_fits.psf, images.psf)
    ordered_copy(f"{residual}.fits", tmp_path / "ordered")
    assert_allclose(read_image(tmp_path / "ordered"), read_image(residual))


@pytest.mark.parametrize("size", [SHAPE, (40, 51), (66, 80), (99, 120)])
def test_a_psf_of_any_size_keeps_its_middle_and_its_symmetry(tmp_path, residual, size):
    whole = np.random.default_rng(1).normal(size=(99, 120))
    whole = (whole + np.roll(whole[::-1, ::-1], (1 - 99 % 2, 1 - 120 % 2), (0, 1))) / 2
    whole[49, 60] = 1
    cut = whole[49 - size[0] // 2 :, 60 - size[1] // 2 :][: size[0], : size[1]]
    write(tmp_path / "other.psf", cut[None])
    psf = read_dirty_images(residual, str(tmp_path / "other.psf")).psf[0]
    assert psf.shape == (66, 80)
    assert psf[33, 40] == 1
    assert_allclose(psf[20:47, 22:59], whole[49 - 13 : 49 + 14, 60 - 18 : 60 + 19], rtol=1e-6)
    assert_allclose(psf[1:, 1:], psf[1:, 1:][::-1, ::-1], rtol=1e-6)


def test_blank_channels_are_known(residual):
    changed(residual, lambda pixels: pixels[1].fill(0))
    images = read_dirty_images(residual, "")
    assert images.blank.tolist() == [False, True, False]
    changed(residual, lambda pixels: pixels[2].fill(np.nan))
    images = read_dirty_images(residual, "")
    assert images.blank.tolist() == [False, True, True]
    assert np.isfinite(images.dirty).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder, name: shutil.rmtree(name), "dirty.residual' does not exist"),
        (lambda folder, name: shutil.rmtree(folder / "dirty.psf"), "needs the PSF"),
        (lambda folder, name: write(name, read_image(name)[:, 0], beam=False) or no_beam(folder), "has no beam"),
        (lambda folder, name: changed(name, lambda pixels: pixels.fill(0)), "no channel with data"),
        (lambda folder, name: changed(name, lambda pixels: pixels[..., :3].fill(np.nan)), "not numbers"),
        (lambda folder, name: changed(name, lambda pixels: pixels[..., :3].fill(0)), "exactly zero in 8 %"),
        (lambda folder, name: write(name, read_image(name)[:, 0], unit="Jy/pixel"), "is in Jy/pixel"),
        (lambda folder, name: write(name, read_image(name)[:, 0], stokes="Q"), "Stokes planes Q"),
        (lambda folder, name: write(folder / "dirty.psf", np.ones((1, 20, 80))), "80 x 20 pixels, fewer"),
        (lambda folder, name: write(folder / "dirty.psf", np.zeros((1, *SHAPE))), "is no PSF"),
        (lambda folder, name: write(folder / "dirty.psf", np.ones((2, *SHAPE))), "has 2 channels, the image 3"),
        (lambda folder, name: write(folder / "dirty.psf", np.ones((1, *SHAPE)), cell=0.3), "make both with one cell"),
        (lambda folder, name: transposed(name), "axes Spectral"),
        (lambda folder, name: (folder / "dirty.residual" / "table.dat").unlink(), "no image that CASA opens"),
    ],
)
def test_what_is_no_dirty_image_is_refused_in_a_sentence(residual, tmp_path, change, sentence):
    change(tmp_path, residual)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read_dirty_images(residual, "")


def no_beam(folder):
    psf = read_image(folder / "dirty.psf")[:, 0]
    shutil.rmtree(folder / "dirty.psf")
    write(folder / "dirty.psf", psf, beam=False)


def transposed(name):
    """Put the frequencies first."""
    tool = image_tool()
    tool.open(name)
    tool.transpose(outfile=f"{name}.other", order="3012").done()
    tool.done()
    shutil.rmtree(name)
    shutil.move(f"{name}.other", name)


def test_a_sibling_is_a_product_of_the_same_run():
    assert sibling("a/my.residual", "psf") == "a/my.psf"
    assert sibling("my.image/", "pb") == "my.pb"
    assert sibling("my.residual.fits", "psf") == "my.psf.fits"
