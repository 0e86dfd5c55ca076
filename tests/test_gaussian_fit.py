"""The fit of Gaussian sources against direct sums, SciPy and simulated noise."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from casa_ml_tasks.sources.gaussian_fit import fit_gaussians
from casa_ml_tasks.sources.gaussian_likelihood import GaussianLikelihood
from casa_ml_tasks.sources.gaussians import Gaussians
from tests.gaussian_sources import Field, sampled

FIELDS = ("x", "y", "major", "minor", "angle", "flux")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def two_sources(flux=(60.0, 40.0)):
    return Gaussians([20.3, 34.6], [25.2, 18.7], [8.0, 5.0], [4.0, 3.5], [0.6, 2.2], flux)


def parameters(sources):
    return np.column_stack([sources.x, sources.y, sources.covariances(), sources.flux])


@pytest.mark.parametrize("shape", [(48, 48), (51, 62)])
@pytest.mark.parametrize("x", [20.3, 3.0])  # within the field, and cut by its edge
def test_chi2_is_that_of_the_image(shape, x, rng):
    field = Field.random(shape, rng)
    sources = Gaussians([x, 34.6], [25.2, 18.7], [8.0, 0.0], [4.0, 0.0], [0.6, 2.2], [60.0, 40.0])
    dirty, image = rng.normal(size=shape), sources.image(shape)
    likelihood = GaussianLikelihood.of(dirty, field.operator(), 0.5)
    expected = np.sum(image * (field.dirty(image) - 2 * dirty)) / 0.5**2
    assert likelihood.sources(parameters(sources)).chi2 == pytest.approx(expected, rel=3e-4)


@pytest.mark.parametrize("x", [20.3, 3.0])
def test_gradient_and_matrix_are_finite_differences(x, rng):
    field = Field.random((49, 54), rng)
    sources = Gaussians([x, 34.6], [25.2, 18.7], [8.0, 5.0], [4.0, 2.0], [0.6, 2.2], [60.0, 40.0])
    dirty, at = field.dirty(sources.image((49, 54))) + field.noise(rng), parameters(sources)
    likelihood = GaussianLikelihood.of(dirty, field.operator(), 1.0)
    normal = likelihood.linearised(likelihood.sources(at))

    def moved(k, by):
        return at + by * np.eye(12)[k].reshape(2, 6)

    slopes = [likelihood.sources(moved(k, 1e-3)).chi2 - likelihood.sources(moved(k, -1e-3)).chi2 for k in range(12)]
    assert np.allclose(normal.gradient, -np.array(slopes) / 4e-3, atol=1e-3, rtol=1e-4)

    def image(row):
        xx, flux = row[:, 2:5], row[:, 5]
        return Gaussians.from_covariances(row[:, 0], row[:, 1], xx, flux).image((49, 54))

    columns = np.array([(image(moved(k, 1e-3)) - image(moved(k, -1e-3))) / 2e-3 for k in range(12)])
    matrix = [[np.sum(a * field.dirty(b)) for b in columns] for a in columns]
    scale = np.sqrt(np.diag(matrix))
    assert np.allclose(normal.matrix / np.outer(scale, scale), matrix / np.outer(scale, scale), atol=3e-3)


@pytest.mark.parametrize("shape", [(40, 40), (41, 46)])
def test_the_fit_is_that_of_scipy(shape, rng):
    field = Field.random(shape, rng)
    true = Gaussians([15.3, 27.6], [21.2, 14.7], [8.0, 5.0], [4.0, 3.5], [0.6, 2.2], [60.0, 40.0])
    white = rng.normal(size=field.transfer.shape)  # noise of the uv cells, from which SciPy sees the same data
    root = np.sqrt(field.transfer)
    whitened = np.fft.fft2(np.tensordot(true.flux, sampled(true, shape), 1), field.transfer.shape) * root
    whitened = whitened / np.sqrt(field.transfer.size) + np.fft.fft2(white, norm="ortho")
    dirty = np.fft.ifft2(whitened * root, norm="ortho").real[: shape[0], : shape[1]]

    def residual(values):
        x, y, major, minor, angle, flux = values.reshape(6, -1)
        sources = Gaussians(x, y, np.exp(major), np.exp(minor), angle, flux)
        image = np.tensordot(flux, sampled(sources, shape), 1)
        left = (whitened - np.fft.fft2(image, field.transfer.shape, norm="ortho") * root)[field.transfer > 0]
        return np.concatenate([left.real, left.imag])

    start = np.array([true.x, true.y, np.log(true.major), np.log(true.minor), true.angle, true.flux])
    solution = least_squares(residual, start.ravel(), xtol=1e-9, ftol=1e-10)
    scipy_errors = np.sqrt(np.diag(np.linalg.inv(solution.jac.T @ solution.jac))).reshape(6, -1)
    expected = solution.x.reshape(6, -1)
    expected[2:4] = np.exp(expected[2:4])
    scipy_errors[2:4] *= expected[2:4]
    begin = Gaussians(true.x + 0.6, true.y - 0.5, true.major * 1.3, true.minor * 0.8, true.angle + 0.3, [0, 0])
    fitted = fit_gaussians(begin, dirty, field.operator(), 1.0)
    for k, name in enumerate(FIELDS):
        error = getattr(fitted.errors, name)
        assert np.allclose(error, scipy_errors[k], rtol=0.03), name
        assert np.all(np.abs(getattr(fitted.gaussians, name) - expected[k]) < 0.1 * error), name
    assert not fitted.at_bound.any()


def test_delta_chi2_is_the_rise_of_chi2_without_the_source(rng):
    shape = (48, 48)
    field = Field.random(shape, rng)
    true = Gaussians(
        [20.0, 24.0, 36.0], [24.0, 27.0, 30.0], [5.0, 6.0, 4.0], [3.0, 4.0, 4.0], [0.3, 1.0, 0.0], [30.0, 20.0, 9.0]
    )
    dirty = field.dirty(true.image(shape)) + field.noise(rng)
    fitted = fit_gaussians(true, dirty, field.operator(), 1.0)
    images = np.array([fitted.gaussians.chosen([k]).image(shape) for k in range(3)])

    def least_chi2(which):
        matrix = [[np.sum(images[j] * field.dirty(images[k])) for k in which] for j in which]
        products = [np.sum(images[j] * dirty) for j in which]
        return -np.dot(products, np.linalg.solve(matrix, products))

    for k in range(3):
        rise = least_chi2([j for j in range(3) if j != k]) - least_chi2([0, 1, 2])
        assert fitted.delta_chi2[k] == pytest.approx(rise, rel=0.02)


def pulls(true, start, seeds, shape=(48, 48)):
    field = Field.random(shape, np.random.default_rng(8))
    clean, found = field.dirty(true.image(shape)), []
    for seed in range(seeds):
        dirty = clean + field.noise(np.random.default_rng(100 + seed))
        fitted = fit_gaussians(start, dirty, field.operator(), 1.0)
        differences = [getattr(fitted.gaussians, n) - getattr(true, n) for n in FIELDS]
        found.append(np.array(differences) / [getattr(fitted.errors, n) for n in FIELDS])
    return dict(zip(FIELDS, np.moveaxis(found, 1, 0), strict=True))


@pytest.mark.parametrize(("apart", "brighter"), [(5.0, 1), (0.0, 4)])  # a beam further apart, or a bright blend
def test_errors_of_two_neighbours_are_those_of_many_noises(apart, brighter):
    x, flux = [20.0, 25.5 + apart], np.array([50.0, 60.0]) * brighter
    true = Gaussians(x, [22.0, 25.0], [6.0, 7.0], [4.0, 4.0], [0.4, 1.8], flux)
    start = Gaussians(true.x + 0.4, true.y - 0.4, true.major, true.minor * 0.8, true.angle, true.flux)
    found = pulls(true, start, 40)
    for name in ("x", "y", "flux"):
        assert 0.85 < np.sqrt(np.mean(found[name] ** 2)) < 1.15, name
        assert np.abs(np.mean(found[name])) < 0.3, name
    for name in ("major", "minor"):
        assert 0.8 < np.sqrt(np.mean(found[name] ** 2)) < 1.25, name


def test_points_have_finite_errors_that_are_honest_in_place_and_flux():
    true = Gaussians([20.3, 33.0], [22.6, 12.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [50.0, 15.0])
    start = Gaussians(true.x + 0.5, true.y - 0.5, [4.0, 4.0], [3.0, 3.0], [0.3, 0.3], [0.0, 0.0])
    found = pulls(true, start, 40)
    for name in ("x", "y", "flux"):
        assert 0.8 < np.sqrt(np.mean(found[name] ** 2)) < 1.25, name
    assert np.isfinite(found["minor"]).all()
    assert np.mean(found["minor"] == 0) > 0.3


def test_the_error_of_a_points_axis_is_what_its_signal_to_noise_ratio_can_exclude(rng):
    field = Field.random((48, 48), rng)
    point = Gaussians(20.3, 22.6, 0.0, 0.0, 0.0, 100.0)
    dirty = field.dirty(point.image((48, 48)))
    fitted = fit_gaussians(Gaussians(20.0, 22.0, 4.0, 3.0, 0.3, 0.0), dirty, field.operator(), 1.0)
    assert fitted.gaussians.flux == pytest.approx(100, rel=0.01)
    assert fitted.gaussians.minor < 0.7
    assert 0.3 < fitted.errors.minor < 1.5  # pixels, of a beam of 5


def test_errors_with_unequal_weights_take_the_power_spectrum_of_the_noise():
    shape = (48, 48)
    natural = Field.random(shape, np.random.default_rng(8))
    tapered = natural.transfer / (1 + 0.5 * natural.transfer)
    imaging, noise = Field(tapered / tapered.mean()), tapered**2 / np.maximum(natural.transfer, 1e-30)
    noise = Field(noise / noise.mean())
    true, found = two_sources(), []
    for seed in range(40):
        dirty = imaging.dirty(true.image(shape)) + noise.noise(np.random.default_rng(seed))
        fitted = fit_gaussians(true, dirty, imaging.operator(), 1.0, noise.transfer[:, :49])
        found.append((fitted.gaussians.flux - true.flux) / fitted.errors.flux)
    assert 0.85 < np.sqrt(np.mean(np.square(found))) < 1.15


def test_many_sources_are_fitted_in_groups(rng):
    shape = (80, 80)
    field = Field.random(shape, rng)
    x, y = (axis.ravel() for axis in np.meshgrid([12.0, 31.0, 50.0, 69.0], [12.0, 31.0, 50.0, 69.0]))
    ones = np.ones(16)
    true = Gaussians(x, y, 6 * ones, 4 * ones, np.linspace(0, 3, 16), np.linspace(30, 60, 16))
    dirty = field.dirty(true.image(shape))
    start = Gaussians(x + 0.5, y - 0.5, 5 * ones, 5 * ones, 0 * ones, 0 * ones)
    fitted = fit_gaussians(start, dirty, field.operator(), 1.0)
    assert np.abs(fitted.gaussians.x - x).max() < 0.02
    assert np.abs(fitted.gaussians.flux - true.flux).max() < 0.2


def test_no_sources_are_fitted_to_none(rng):
    field = Field.random((48, 48), rng)
    fitted = fit_gaussians(Gaussians.empty(), field.noise(rng), field.operator(), 1.0)
    assert len(fitted.gaussians) == len(fitted.errors) == len(fitted.delta_chi2) == len(fitted.at_bound) == 0
    assert np.all(fitted.gaussians.image((48, 48)) == 0)
    assert fitted.gaussians.boxes().shape == (0, 4)


def test_a_start_far_too_large_does_not_leave_the_bounds(rng):
    field = Field.random((48, 48), rng)
    fitted = fit_gaussians(Gaussians(24.0, 24.0, 90.0, 0.0, 0.3, 0.0), field.noise(rng), field.operator(), 1.0)
    assert fitted.gaussians.major <= 24.001
    assert np.isfinite(fitted.errors.flux).all()
