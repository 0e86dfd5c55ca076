"""The likelihood of a single-dish map against dense matrices, and the total flux that it finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.kernels.dish_beam import GaussianBeam, SampledBeam
from casa_ml_tasks.kernels.dish_modes import MapGrid
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.kernels.single_dish import SingleDish
from tests.test_normal_operator import direct_psf

pytestmark = pytest.mark.usefixtures("double_precision")
BEAM = GaussianBeam(11.0, 9.0, 0.4)
LARGER = MapGrid((15, 16), (-4.2, -3.7), (3.0, 3.0))
SMALLER = MapGrid((12, 9), (10.2, 20.7), (3.0, 2.5))
CASES = [((33, 40), LARGER), ((40, 35), LARGER), ((64, 65), SMALLER), ((65, 64), SMALLER)]


def skies(shape, count=2):
    return np.random.default_rng(3).normal(size=(count, *shape))


def gaussian(dy, dx):
    """BEAM at offsets from its centre, North along y and East along -x."""
    along = np.cos(0.4) * dy - np.sin(0.4) * dx
    across = np.sin(0.4) * dy + np.cos(0.4) * dx
    return np.exp(-4 * np.log(2) * ((along / 11) ** 2 + (across / 9) ** 2))


def measured(shape, grid, noise=0.7, channels=(), beam=BEAM):
    pixels = np.random.default_rng(4).normal(size=(*channels, *grid.shape))
    pixels[..., 6, 3] = np.nan
    return SingleDish.of(pixels, grid, [beam] * max(1, np.prod(channels, dtype=int)), noise, shape)


def uneven(grid):
    return np.random.default_rng(5).uniform(0.3, 1.0, grid.shape)


@pytest.mark.parametrize(("shape", "grid"), CASES)
def test_the_model_map_is_the_sky_convolved_with_the_beam(shape, grid):
    dish = measured(shape, grid)
    (sky,) = skies(shape, 1)
    y, x = (grid.positions(axis)[:, None] - np.arange(count) for axis, count in enumerate(shape))
    beams = gaussian(y[:, None, :, None], x[None, :, None, :])
    expected = np.einsum("abyx,yx->ab", beams, sky)
    expected[~grid.inside(shape)] = 0
    expected[6, 3] = 0
    assert np.abs(dish.predicted(sky) - expected).max() < 3e-4 * np.abs(expected).max()


def test_an_image_of_the_beam_is_as_good_as_its_formula():
    y, x = (np.mgrid[:31, :31] - np.array([16.0, 13.0])[:, None, None]) * 2
    sampled = SampledBeam(gaussian(y, x), (16.0, 13.0), (2.0, 2.0))
    (sky,) = skies((65, 64), 1)
    by_formula, by_image = (measured((65, 64), SMALLER, beam=beam).predicted(sky) for beam in (BEAM, sampled))
    assert np.abs(by_image - by_formula).max() < 3e-4 * np.abs(by_formula).max()


def test_a_lopsided_beam_points_where_its_image_does():
    """A point source makes an image of the beam, not of the beam's reflection."""
    y, x = (np.mgrid[:41, :41] - 20.0) * 1.0
    pixels = gaussian(y, x) + 0.5 * gaussian(y - 5, x - 8)
    sky = np.zeros((65, 64))
    sky[30, 34] = 2.0
    grid = MapGrid((65, 64), (0.0, 0.0), (1.0, 1.0))
    seen = SingleDish.of(np.zeros(grid.shape), grid, [SampledBeam(pixels, (20.0, 20.0), (1.0, 1.0))], 1.0, (65, 64))
    expected = 2 * pixels
    assert np.abs(seen.predicted(sky)[10:51, 14:55] - expected).max() < 2e-3


@pytest.mark.parametrize(("shape", "grid"), CASES)
@pytest.mark.parametrize("channels", [(), (2,)])
def test_the_adjoint_passes_the_dot_product_test(shape, grid, channels):
    dish = measured(shape, grid, channels=channels)
    rng = np.random.default_rng(6)
    sky, pixels = rng.normal(size=(*channels, *shape)), rng.normal(size=(*channels, *grid.shape))
    assert np.vdot(dish.predicted(sky), pixels) == pytest.approx(np.vdot(sky, dish.adjoint(pixels)), rel=1e-10)


@pytest.mark.parametrize(("shape", "grid"), CASES)
@pytest.mark.parametrize("noise", [lambda grid: 0.7, uneven])
def test_the_likelihood_is_half_chi_squared_with_the_dense_covariance(shape, grid, noise):
    dish = measured(shape, grid, noise(grid))
    sky, other = skies(shape)
    precision, counted = dish.precision, dish.precision.counted.ravel()
    count = len(precision.root)
    waves = precision.modes.synthesised(np.eye(count), grid).reshape(count, -1).T[counted]
    covariance = waves @ precision.root @ precision.root.T @ waves.T + precision.white * np.eye(counted.sum())

    def half_chi_squared(image):
        left = (dish.pixels - dish.predicted(image)).ravel()[counted]
        return left @ np.linalg.solve(covariance, left) / 2 / dish.level**2

    likelihood = dish.likelihood(np.zeros(shape))
    assert dish.half_chi_squared(sky) == pytest.approx(half_chi_squared(sky), rel=1e-8)
    assert likelihood.value(sky) - likelihood.value(other) == pytest.approx(
        half_chi_squared(sky) - half_chi_squared(other), rel=1e-7
    )
    step = 1e-3
    slope = (half_chi_squared(sky + step * other) - half_chi_squared(sky - step * other)) / (2 * step)
    assert jnp.vdot(likelihood.gradient(sky), other) == pytest.approx(slope, rel=1e-6)


def test_the_noise_of_a_pixel_is_what_was_said():
    """The white share of the noise, which keeps the modes at the edge of the dish finite, adds little to it."""
    dish = measured((65, 64), SMALLER)
    count = len(dish.precision.root)
    waves = dish.precision.modes.synthesised(np.eye(count), SMALLER).reshape(count, -1)
    variance = np.sum((dish.precision.root.T @ waves) ** 2, axis=0) + dish.precision.white
    assert np.sqrt(variance) * dish.level == pytest.approx(0.7, rel=0.02)


@pytest.mark.parametrize(("shape", "grid"), CASES)
def test_the_residual_is_that_of_the_likelihood(shape, grid):
    dish = measured(shape, grid, uneven(grid), channels=(2,))
    before, sky = np.zeros((2, *shape)), skies(shape)
    expected = dish.residual(sky)
    actual = dish.likelihood(before).predicted_residual(jnp.asarray(sky))
    assert np.abs(actual - expected).max() < 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize(("shape", "grid"), CASES[:2])
def test_the_bound_holds_and_is_tight(shape, grid):
    normal = measured(shape, grid, uneven(grid)).normal()
    points = np.eye(shape[0] * shape[1]).reshape(-1, *shape)
    largest = np.linalg.eigvalsh(np.asarray(jax.lax.map(normal, points, batch_size=64)).reshape(len(points), -1))[-1]
    assert largest <= normal.spectral_norm() <= 1.1 * largest


def test_far_from_the_edge_it_is_a_convolution_with_a_psf_of_peak_one():
    grid = MapGrid((40, 40), (0.0, 0.0), (3.0, 3.0))
    dish = SingleDish.of(np.zeros(grid.shape), grid, [BEAM], 0.7, (118, 119))
    normal, sky = dish.normal(), np.zeros((118, 119))
    sky[60, 57] = 1.0
    convolved = ConvolutionNormalOperator(normal.transfer)(sky)
    assert convolved[60, 57] == pytest.approx(1)
    assert np.abs(normal(sky) - convolved).max() < 0.02


def transform_of_beam():
    frequencies = np.fft.fftfreq(256, 1 / 256)
    return np.fft.rfft2(gaussian(frequencies[:, None], frequencies)).real


def smoothed_noise(rng, count, shape):
    """Draw noise of r.m.s. 1 with BEAM as its correlation on the pixels of an image, without edge: (count, ny, nx)."""
    drawn = np.fft.rfft2(rng.normal(size=(count, 256, 256))) * np.sqrt(np.maximum(transform_of_beam(), 0))
    return np.fft.irfft2(drawn)[:, : shape[0], : shape[1]]


@pytest.mark.parametrize("side", [100, 61])
def test_the_total_flux_is_unbiased(side):
    """A sky that reaches beyond the smaller map, in noise that the code under test did not draw."""
    shape, noise, count = (100, 100), 0.5, 60
    y, x = np.mgrid[:100, :100] - 49.5
    sky = np.exp(-(x**2 + (y / 2) ** 2) / (2 * 12**2)) * (1 + 0.5 * np.cos(x / 3))
    convolved = np.fft.irfft2(np.fft.rfft2(sky, s=(256, 256)) * transform_of_beam())[:100, :100]
    maps = convolved + noise * smoothed_noise(np.random.default_rng(7), count, shape)
    first = (100 - side) // 2
    seen = maps[:, first : first + side : 3, first : first + side : 3]
    grid = MapGrid(seen.shape[1:], (first, first), (3.0, 3.0))
    likelihood = SingleDish.of(seen, grid, [BEAM] * count, noise, shape).likelihood(np.zeros((count, *shape)))
    flux = jnp.sum(likelihood.residual * sky, (1, 2)) / jnp.sum(likelihood.operator(jnp.array([sky] * count))[0] * sky)
    error = float(jnp.sum(likelihood.curvature(jnp.array([sky] * count))[0] * sky)) ** -0.5
    assert np.mean(flux) == pytest.approx(1, abs=3 * error / np.sqrt(count))
    assert np.std(flux) == pytest.approx(error, rel=0.3)
    assert error < 0.01


def test_a_channel_without_data_leaves_the_other_likelihood_alone():
    shape = (33, 40)
    pixels = np.random.default_rng(4).normal(size=(2, *LARGER.shape))
    pixels[1] = np.nan
    dish = SingleDish.of(pixels, LARGER, [BEAM] * 2, 0.7, shape)
    other = QuadraticLikelihood(
        ConvolutionNormalOperator.from_psf(np.stack([direct_psf(shape, seed)[0] for seed in (0, 1)])),
        jnp.asarray(skies(shape)),
        jnp.zeros((2, *shape)),
        0.3,
    )
    both = other + dish.likelihood(np.zeros((2, *shape)))
    image = jnp.asarray(skies(shape)[::-1])
    expected = other.gradient(image)
    assert np.allclose(both.gradient(image)[1], expected[1])
    assert not np.allclose(both.gradient(image)[0], expected[0], rtol=0.1)


def test_the_scale_is_a_factor_of_the_weight():
    dish, (sky,) = measured((33, 40), LARGER), skies((33, 40), 1)
    once, thrice = (dish.likelihood(np.zeros((33, 40)), scale).value(sky) for scale in (1.0, 3.0))
    assert thrice == pytest.approx(3 * once)


def test_single_precision_is_enough():
    single = measured((33, 40), LARGER).likelihood(np.zeros((33, 40)), precision=np.float32)
    double = measured((33, 40), LARGER).likelihood(np.zeros((33, 40)))
    (sky,) = skies((33, 40), 1)
    assert single.operator(sky.astype("f4")).dtype == np.float32
    assert (
        np.abs(single.gradient(sky.astype("f4")) - double.gradient(sky)).max()
        < 1e-5 * np.abs(double.gradient(sky)).max()
    )


def test_a_map_outside_the_image_is_refused():
    with pytest.raises(ValueError, match="no pixel of the single-dish map"):
        measured((33, 40), MapGrid((12, 9), (100.0, 20.0), (3.0, 3.0)))
