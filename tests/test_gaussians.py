"""Gaussian sources on pixels and in the uv plane against direct sums."""

import numpy as np
import pytest

from casa_ml_tasks.sources.gaussian_pixels import TAPS, pixels, sharpened, sharpened_adjoint
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.uv_cells import UvCells
from tests.gaussian_sources import Field, sampled

FIELDS = ("x", "y", "major", "minor", "angle", "flux")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def two_sources(flux=(60.0, 40.0)):
    return Gaussians([20.3, 34.6], [25.2, 18.7], [8.0, 5.0], [4.0, 3.5], [0.6, 2.2], flux)


@pytest.mark.parametrize("shape", [(48, 48), (51, 62)])
def test_the_image_of_resolved_sources_is_the_gaussian_at_the_pixels_as_far_as_an_array_can_tell(shape, rng):
    sources, field = two_sources(), Field.random(shape, rng)
    direct = field.dirty(np.tensordot(sources.flux, sampled(sources, shape), 1))
    assert np.abs(field.dirty(sources.image(shape)) - direct).max() < 3e-4 * direct.max()


@pytest.mark.parametrize("place", [(24.0, 25.0), (23.6, 25.4)])
def test_the_dirty_image_of_a_point_is_the_psf_wherever_it_lies_between_pixels(place, rng):
    field = Field.random((48, 51), rng)
    v, u = np.meshgrid(*(np.fft.fftfreq(2 * n) for n in field.shape), indexing="ij")
    shifted = np.fft.ifft2(field.transfer * np.exp(-2j * np.pi * (u * place[0] + v * place[1]))).real[:48, :51]
    point = Gaussians(*place, 0.0, 0.0, 0.0, 1.0)
    assert np.abs(field.dirty(point.image((48, 51))) - shifted).max() < 2e-3


def test_the_pixels_of_one_source_are_those_of_the_image():
    shape = (40, 47)
    for x, y in ((20.2, 15.0), (2.0, 38.0), (-3.0, 10.0), (46.4, 0.0)):
        source = Gaussians(x, y, 7.0, 2.0, 0.5, 1.0)
        found = pixels(x, y, source.covariances()[0], shape)
        image = np.zeros(shape)
        image[found.where] = found.values
        assert np.allclose(image, source.image(shape), atol=1e-9)


def test_the_filter_has_its_transpose(rng):
    widened, image = rng.normal(size=(30 + 2 * TAPS, 37 + 2 * TAPS)), rng.normal(size=(30, 37))
    assert np.vdot(sharpened(widened), image) == pytest.approx(np.vdot(widened, sharpened_adjoint(image)), rel=1e-12)


def test_transforms_of_patches_and_gaussians_are_those_of_the_field(rng):
    field, source = Field.random((40, 43), rng), Gaussians(20.3, 18.2, 6.0, 3.0, 0.4, 1.0)
    cells = UvCells.of(field.transfer[:, :44])
    image = rng.normal(size=(40, 43))
    whole = np.zeros((2, 40, 43))
    whole[0, 5:17, 20:43], whole[1] = image[5:17, 20:43], source.image((40, 43))
    spectra = np.fft.rfft2(whole, (80, 86))[:, cells.rows, cells.columns]
    assert np.allclose(cells.transforms(image[None, 5:17, 20:43], (slice(5, 17), slice(20, 43)))[0], spectra[0])
    assert np.allclose(cells.gaussian(20.3, 18.2, source.covariances()[0]), spectra[1], atol=1e-3)


def test_boxes_enclose_the_ellipse_of_two_sigma():
    sources = two_sources()
    turn = np.linspace(0, 2 * np.pi, 2000)[:, None]
    a, b = sources.major / np.sqrt(8 * np.log(2)) * 2, sources.minor / np.sqrt(8 * np.log(2)) * 2
    x = sources.x + a * np.cos(turn) * np.cos(sources.angle) - b * np.sin(turn) * np.sin(sources.angle)
    y = sources.y + a * np.cos(turn) * np.sin(sources.angle) + b * np.sin(turn) * np.cos(sources.angle)
    assert np.allclose(sources.boxes(), np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], 1), atol=1e-4)


def test_covariances_and_axes_are_the_same_sources():
    sources = Gaussians.concatenated(two_sources(), Gaussians(1.0, 2.0, 3.0, 0.0, 3.0, 1.0), Gaussians.empty())
    again = Gaussians.from_covariances(sources.x, sources.y, sources.covariances(), sources.flux)
    assert len(again) == 3
    for name in FIELDS:
        assert np.allclose(getattr(again, name), getattr(sources, name), atol=1e-6)
