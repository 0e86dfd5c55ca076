"""Prolate spheroidal wave functions against the integral equation that defines them."""

import numpy as np
import pytest

from casa_ml_tasks.kernels.prolate import prolate_terms

PHASES = [0.01, 1.0, 7.0, 40.0]


@pytest.mark.parametrize("largest_phase", PHASES)
def test_the_terms_are_eigenfunctions_of_the_fourier_transform_of_an_interval(largest_phase):
    t, weights = np.polynomial.legendre.leggauss(200)
    kernel = np.exp(1j * largest_phase * np.multiply.outer(t, t)) * weights
    for term in prolate_terms(largest_phase, 1e-10):
        psi = term.times(t, np.ones_like(t), 1)
        np.testing.assert_allclose(kernel @ psi, term.eigenvalue * psi, atol=1e-10)
        assert np.sum(weights * psi**2) == pytest.approx(1, abs=1e-9)
        np.testing.assert_allclose(psi[::-1], -psi if term.odd else psi, atol=1e-10)


@pytest.mark.parametrize("largest_phase", PHASES)
@pytest.mark.parametrize(("precision", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-11)])
def test_the_sum_of_the_terms_is_the_exponential(largest_phase, precision, tolerance):
    s, t = np.random.default_rng(4).uniform(-1, 1, (2, 3001)).astype(precision)
    s[:2], t[:2] = (1, -1), (1, 1)
    terms = prolate_terms(largest_phase, tolerance)
    total = np.zeros(s.size, np.result_type(precision, np.complex64))
    for term in terms:
        term.add(s, term.times(t, np.ones_like(t), 1), total, 2, term.eigenvalue)
    exact = np.exp(1j * largest_phase * s.astype(float) * t)
    assert np.sqrt(np.mean(np.abs(total - exact) ** 2)) < tolerance + 20 * np.finfo(precision).eps
    assert len(terms) < 2 / np.pi * largest_phase + 25
