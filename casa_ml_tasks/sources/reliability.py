"""The probability that a source is real, from what the network said of it and from what the data say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

#: Of 1, the log odds of the network and the logarithm of delta chi^2: python -m benchmarks.deepfocus_reliability
COEFFICIENTS = (-14.04, 0.704, 4.533)
SURE = 1e-3  # the network's probability is taken to be as far from 0 and 1
ENOUGH = 40.0  # delta chi^2 above which a source is no surer


def features(network: NDArray[np.floating], delta_chi2: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return what the probability follows from, (source, 3).

    Args:
        network: its probability, (source,).
        delta_chi2: rise of chi^2 without the source, (source,).
    """
    odds = logit(np.clip(network, SURE, 1 - SURE))
    return np.column_stack([np.ones(len(odds)), odds, np.log(np.clip(delta_chi2, 1.0, ENOUGH))])


def probability(network: NDArray[np.floating], delta_chi2: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the probability that each source is real, (source,): logistic regression on simulated fields.

    Args:
        network: its probability, (source,).
        delta_chi2: rise of chi^2 without the source, (source,).
    """
    return expit(features(network, delta_chi2) @ np.array(COEFFICIENTS))
