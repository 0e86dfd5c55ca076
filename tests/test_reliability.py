"""The probability of a source."""

import numpy as np

from casa_ml_tasks.sources.reliability import probability


def test_a_source_that_the_data_need_more_is_more_probable():
    delta_chi2 = np.geomspace(10, 1000, 20)
    for network in (0.0, 0.5, 1.0):
        found = probability(np.full(20, network), delta_chi2)
        assert np.all(np.diff(found) > 0)
        assert found[-1] > 0.99
    assert np.all(probability(np.full(20, 0.9), delta_chi2) > probability(np.full(20, 0.1), delta_chi2))
