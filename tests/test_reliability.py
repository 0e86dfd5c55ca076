"""The probability of a source."""

import numpy as np

from casa_ml_tasks.sources.reliability import probability


def test_a_source_that_the_data_need_more_is_more_probable():
    delta_chi2 = np.linspace(10, 39, 20)
    for network in (0.0, 0.5, 1.0):
        assert np.all(np.diff(probability(np.full(20, network), delta_chi2)) > 0)
    assert probability(np.array([0.99]), np.array([100.0])) > 0.99
    assert probability(np.array([0.99]), np.array([15.0])) < 0.9
    assert np.all(probability(np.full(20, 0.9), delta_chi2) > probability(np.full(20, 0.1), delta_chi2))
