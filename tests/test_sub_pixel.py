"""Sources between pixels against the exponential that they stand for."""

import numpy as np
import pytest

from casa_ml_tasks.kernels.sub_pixel import HIGHEST_BAND, LOWEST_BAND, Rendering, band_of

BAND = (0.35, 0.4)
SHAPES = [(40, 50), (41, 63)]


@pytest.fixture
def places(shape, rng):
    return rng.uniform([4, 4], np.array(shape) - 5, (6, 2))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def fringes(rng, shape):
    """(frequency, 2), cycles a pixel within the band, and fringes, (frequency, ny, nx)."""
    frequencies = rng.uniform(-1, 1, (100, 2)) * BAND
    return frequencies, np.exp(2j * np.pi * np.tensordot(frequencies, np.indices(shape), 1))


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_have_the_visibilities_of_the_source_and_of_its_derivatives(shape, places, rng):
    frequencies, waves = fringes(rng, shape)
    expected = np.exp(2j * np.pi * places @ frequencies.T)
    images = Rendering.at(places, shape, BAND).images(shape)
    of_source, of_y, of_x = np.einsum("dsyx,vyx->dsv", images, waves)
    slope = 2j * np.pi * frequencies.T
    for found, exact in ((of_source, expected), (of_y, slope[0] * expected), (of_x, slope[1] * expected)):
        np.testing.assert_allclose(found, exact, atol=1e-3)
    inside = (np.abs(places - np.array(shape) / 2) < np.array(shape) / 2 - 8).all(axis=1)
    np.testing.assert_allclose(of_source[inside], expected[inside], atol=3e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_agree_with_finite_differences_of_what_is_seen(shape, places, rng):
    _, waves = fringes(rng, shape)
    images = Rendering.at(places, shape, BAND).images(shape)
    for axis, step in enumerate(1e-4 * np.eye(2)):
        ahead, behind = (Rendering.at(places + sign * step, shape, BAND).images(shape)[0] for sign in (1, -1))
        difference, found = (np.einsum("syx,vyx->sv", each, waves) for each in (ahead - behind, images[1 + axis]))
        np.testing.assert_allclose(difference / 2e-4, found, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_seen_is_the_adjoint_of_the_image(shape, places, rng):
    rendering, flux, image = Rendering.at(places, shape, BAND), rng.normal(size=6), rng.normal(size=shape)
    assert np.vdot(rendering.image(flux, shape), image) == pytest.approx(
        np.vdot(flux, rendering.seen(image)), rel=1e-12
    )
    np.testing.assert_allclose(rendering.image(flux, shape), np.tensordot(flux, rendering.images(shape)[0], 1))


def test_a_source_on_a_pixel_is_that_pixel_and_every_source_has_its_flux(rng):
    on_pixel = Rendering.at([(7, 9), (0, 29)], (20, 30), BAND).images((20, 30))[0]
    assert np.argwhere(on_pixel).tolist() == [[0, 7, 9], [1, 0, 29]]
    anywhere = Rendering.at(rng.uniform(0, [19, 29], (9, 2)), (20, 30), BAND).images((20, 30))
    np.testing.assert_allclose(anywhere.sum(axis=(2, 3)), [[1] * 9, [0] * 9, [0] * 9], atol=1e-9)


@pytest.mark.parametrize(("highest", "expected"), [(0.1, LOWEST_BAND), (0.4, 0.4), (0.49, HIGHEST_BAND)])
def test_the_band_is_that_of_the_weights(highest, expected, rng):
    baselines = rng.uniform(-highest, highest, (400, 2))
    v, u = (
        np.exp(2j * np.pi * np.multiply.outer(each, np.arange(-n, n)))
        for each, n in zip(baselines.T, (50, 61), strict=True)
    )
    psf = (v.T @ u).real / 400
    np.testing.assert_allclose(band_of(psf), expected, atol=0.03)
