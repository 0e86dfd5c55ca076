"""The noise of single-dish maps on blank sky, and the error of the total flux that follows from it."""

import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.data.blank_sky import SMOOTHED, measured_correlation, measured_noise
from casa_ml_tasks.data.single_dish import SingleDishMap
from casa_ml_tasks.kernels.dish_beam import GaussianBeam
from casa_ml_tasks.kernels.dish_modes import MapGrid

WIDTH, SIDE, WIDE = 10.0, 96, 192  # pixels of the image: beam, map, and what the noise is drawn on


def transform(width=WIDTH):
    """Of a Gaussian beam of peak 1 at the frequencies of the wide image."""
    v, u = np.fft.fftfreq(WIDE), np.fft.rfftfreq(WIDE)
    area = np.pi / (4 * np.log(2)) * width**2
    return area * np.exp(-((np.pi * width) ** 2) * (v[:, None] ** 2 + u**2) / (4 * np.log(2)))


def noise_of(rng, count, power):
    """Of r.m.s. 1, white noise times the beam's transform to half a power: (count, SIDE, SIDE)."""
    drawn = np.fft.rfft2(rng.normal(size=(count, WIDE, WIDE))) * transform() ** (power / 2)
    noise = np.fft.irfft2(drawn)
    return noise[:, :SIDE, :SIDE] / noise.std()


def test_the_noise_of_blank_sky_is_measured_beside_emission():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:72, :72] - 36
    kernel = np.fft.rfft2(np.fft.ifftshift(np.exp(-4 * np.log(2) * (x**2 + y**2) / 9.0**2)))
    emission = np.fft.irfft2(np.fft.rfft2(np.hypot(x, y) < 16) * kernel)
    noise = np.fft.irfft2(
        np.fft.rfft2(rng.normal(size=(20, 72, 72))) * np.sqrt(np.maximum(np.real(kernel * kernel.conj()), 0))
    )
    noise *= 0.02 / noise.std()
    found = [measured_noise(emission / emission.max() * 8 + each, 9.0) for each in noise]
    assert np.mean(found) == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("step", [(2, 2), (-3, 2)])
@pytest.mark.parametrize("power", [0.3, 1.0, 2.0])
def test_the_area_of_the_correlation_is_measured_beside_emission(power, step):
    rows, columns = (abs(each) for each in step)
    noise = noise_of(np.random.default_rng(1), 40, power)[:, ::rows, ::columns]
    y, x = (np.mgrid[:SIDE:rows, :SIDE:columns] - SIDE / 2) / 14
    emission = 8 * np.exp(-(x**2 + y**2))
    found = [measured_correlation((each + emission)[None], WIDTH, step) for each in noise]
    assert np.mean(found) == pytest.approx(max(power, 1), rel=0.15)  # faint emission is smooth
    assert np.std(np.sqrt(found)) < 0.2 * np.sqrt(max(power, 1))
    together = measured_correlation(noise + emission, WIDTH, step)
    assert together == pytest.approx(max(power, 1), rel=0.1)


def test_without_blank_sky_the_noise_may_be_as_smooth_as_a_beam_leaves_it():
    noise = noise_of(np.random.default_rng(1), 2, 1.0)
    assert measured_correlation(100 + noise, WIDTH, (1, 1)) == SMOOTHED
    assert measured_correlation(np.full((1, 30, 30), np.nan), WIDTH, (1, 1)) == SMOOTHED


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("power", "radius"), [(1.0, 12), (2.0, 12), (2.0, 18)])
def test_the_total_flux_has_the_error_that_it_claims(power, radius):
    """The posterior of skies that nothing but a map measures, in closed form; pulls of many channels."""
    rng, count, sigma, step = np.random.default_rng(3), 60, 0.005, 3
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    inside = np.hypot(y, x) < radius
    skies = inside * rng.gamma(0.3, 1.0, (count, SIDE, SIDE)) / 100
    seen = np.fft.irfft2(np.fft.rfft2(skies, s=(WIDE, WIDE)) * transform())[:, :SIDE, :SIDE]
    pixels = (seen + sigma * noise_of(rng, count, power))[:, ::step, ::step]
    grid, beam = MapGrid((SIDE // step,) * 2, (0.0, 0.0), (step, step)), GaussianBeam(WIDTH, WIDTH)
    correlation = measured_correlation(pixels, WIDTH, grid.step)
    noise = np.full((count, 1, 1), sigma)
    dish = SingleDishMap("", pixels, grid, (beam,) * count, noise, WIDTH, correlation=correlation).on((SIDE, SIDE))
    slopes = np.asarray(-dish.likelihood(np.zeros(skies.shape)).gradient(jnp.zeros(skies.shape)))[:, inside]
    spread, mean = float(np.std(skies[:, inside])), float(skies[:, inside].mean())
    points = jnp.eye(SIDE**2)[inside.ravel()].reshape(-1, SIDE, SIDE)
    hessian = np.asarray(dish[0].likelihood(np.zeros((SIDE, SIDE))).curvature(points))[:, inside]
    weights = np.linalg.solve(hessian + np.eye(len(points)) / spread**2, np.ones(len(points)))
    pulls = ((slopes + mean / spread**2) @ weights - skies.sum(axis=(1, 2))) / np.sqrt(weights.sum())
    assert abs(np.mean(pulls)) < 3 / np.sqrt(count)
    assert 0.65 < np.sqrt(np.mean(pulls**2)) < 1.2  # of 60 pulls, to 0.09: a little too careful
