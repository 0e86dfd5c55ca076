"""Errors of calibration from residual visibilities whose true errors are known."""

import numpy as np
import pytest

from casa_ml_tasks.calibration.calibration_errors import CalibrationErrors, excess_variance, fit_errors


def noise(rng, deviation, count):
    return deviation * (rng.normal(size=count) + 1j * rng.normal(size=count))


@pytest.mark.parametrize("error", [0.0, 0.3, 3.0])
def test_the_variance_beyond_the_noise_is_found_among_unlike_weights_and_outliers(error):
    rng = np.random.default_rng(1)
    variance = 10 ** rng.uniform(-2, 2, 4000)  # of baselines of small and of large antennas
    residual = noise(rng, np.sqrt(variance + error**2), variance.size)
    residual[:40] *= 100
    found = np.sqrt(excess_variance(np.abs(residual) ** 2 / 2, variance))
    assert found == pytest.approx(error, rel=0.1, abs=0.03)


def test_errors_follow_the_baseline_length():
    rng = np.random.default_rng(2)
    uvdist = 10 ** rng.uniform(3, 6, 40_000)
    error = 0.02 * (uvdist / 1e3) ** 0.5
    residual = noise(rng, np.hypot(0.1, error), uvdist.size)
    data = 5.0 + residual
    errors = fit_errors(residual, data, np.full(uvdist.size, 0.01), uvdist)
    lengths = np.array([2e4, 1e5, 5e5])
    np.testing.assert_allclose(errors.at(lengths), 0.02 * np.sqrt(lengths / 1e3), rtol=0.1)
    np.testing.assert_allclose(errors.amplitude_at(lengths), np.hypot(5, np.sqrt(2) * errors.at(lengths)), rtol=0.02)


def test_noise_alone_has_no_errors_of_calibration():
    rng = np.random.default_rng(3)
    residual = noise(rng, 0.1, 20_000)
    errors = fit_errors(residual, 5 + residual, np.full(residual.size, 0.01), np.linspace(1e3, 1e5, residual.size))
    assert errors.error.max() < 0.03
    assert errors.fraction < 0.005


def test_a_fraction_of_the_amplitude_is_added_up_to_the_amplitude():
    errors = CalibrationErrors(np.array([1e3, 1e4]), np.array([0.3, 0.0]), np.array([4.0, 1.0]))
    np.testing.assert_allclose(errors.raised(0.1).error, [0.5, 0.1])
    np.testing.assert_allclose(errors.raised(9.0).error, [4.0, 1.0])


def test_they_are_the_same_after_a_checkpoint():
    errors = CalibrationErrors(np.array([1e3, 1e4]), np.array([0.3, 0.1]), np.array([4.0, 1.0]), 1.5)
    again = CalibrationErrors.from_numbers(errors.as_numbers())
    assert again.as_numbers() == errors.as_numbers()
    assert errors
    assert not CalibrationErrors.from_numbers(None)


def test_too_few_visibilities_tell_nothing():
    few = np.ones(50)
    assert not fit_errors(few.astype(complex), few.astype(complex), few, few)
