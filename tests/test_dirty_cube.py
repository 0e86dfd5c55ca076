"""Dirty cubes: sums of channels and what a model leaves of them."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from casa_ml_tasks.sources.dirty_cube import Beam, DirtyCube

BEAM = Beam(5.0, 4.0, 0.3)


def cube_of(shape, channels, psfs, seed=1):
    rng = np.random.default_rng(seed)
    ny, nx = shape
    rows, columns = np.mgrid[: 2 * ny, : 2 * nx]
    widths = 4 + np.arange(psfs)
    psf = np.exp(-((rows - ny) ** 2 + (columns - nx) ** 2) / (2 * widths[:, None, None]))
    noise = rng.uniform(0.5, 2.0, channels)
    return DirtyCube(rng.normal(size=(channels, ny, nx)), psf, noise, BEAM, 230e9 + 1e6 * np.arange(channels))


@pytest.mark.parametrize("shape", [(16, 16), (15, 18)])
@pytest.mark.parametrize("psfs", [1, 5])
def test_what_a_model_leaves_of_each_channel_is_the_convolution_with_its_psf(shape, psfs):
    cube = cube_of(shape, 5, psfs)
    model = np.random.default_rng(2).random((5, *shape))
    told = []
    left = cube.residual(model, told.append)
    for channel in range(5):
        psf = cube.psf_of(channel)
        ny, nx = shape
        expected = cube.dirty[channel] - fftconvolve(psf, model[channel])[ny : 2 * ny, nx : 2 * nx]
        np.testing.assert_allclose(left[channel], expected, atol=2e-5)
    assert told == [1, 2, 3, 4, 5]


def test_the_sum_of_channels_has_least_noise_and_the_flux_of_a_source_of_this_spectrum():
    cube = cube_of((16, 17), 6, 6)
    spectrum = np.array([0, 1, 2, 1, 0.5, 0])
    sky = np.random.default_rng(3).random((16, 17))
    of_source = -DirtyCube(0 * cube.dirty, cube.psf, cube.noise, BEAM, cube.frequencies).residual(
        spectrum[:, None, None] * sky
    )
    plane = DirtyCube(of_source, cube.psf, cube.noise, BEAM, cube.frequencies).integrated(spectrum)
    np.testing.assert_allclose(plane.residual(sky), 0, atol=2e-5)
    factors = spectrum / cube.noise**2 / np.sum(spectrum**2 / cube.noise**2)
    assert plane.noise == pytest.approx(np.sqrt(np.sum(factors**2 * cube.noise**2)))


def test_a_blanked_channel_does_not_count():
    cube = cube_of((16, 16), 4, 1)
    noise = cube.noise.copy()
    noise[2] = np.inf
    with_blank = DirtyCube(cube.dirty, cube.psf, noise, BEAM, cube.frequencies).integrated()
    others = [0, 1, 3]
    without = DirtyCube(cube.dirty[others], cube.psf, noise[others], BEAM, cube.frequencies[others]).integrated()
    np.testing.assert_allclose(with_blank.dirty, without.dirty, atol=1e-6)
    assert with_blank.noise == pytest.approx(without.noise)
