r"""How noisy visibilities are, group by group and by baseline length, and which are outliers: from their residuals.

A residual visibility r of weight w has noise of variance $f^2/w$ in its real and in its imaginary part, f the factor by
which the noise exceeds what the weight claims. Its power $p = w|r|^2$ is $f^2\chi^2$ with two degrees of freedom, whose
median is $2 f^2 \ln 2$; the median disregards outliers. So f is that of the bulk of the data, Gaussian or nearly so.

Outliers follow Student's t-distribution with $\nu$ degrees of freedom: Gaussian noise whose weight is multiplied by an
unknown $\tau \sim \Gamma(\nu/2, \nu/2)$. Given p, with two real components, the mean of $\tau$ is
$(\nu + 2) / (\nu + p/f^2)$. To image with the weights multiplied by it, and to begin again with the new residuals, is
the EM algorithm for the likelihood of that distribution: no step lowers it (Lange, Little & Taylor 1989, JASA 84, 881).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gmean

DEGREES_OF_FREEDOM = 4.0  # of Student's t; Lange, Little & Taylor's choice where the data do not tell
FEWEST = 100  # visibilities that a factor is measured from, for an error of 7 %
MOST_BINS = 8  # of baseline length
FEWEST_IN_BIN = 500  # visibilities, for an error of 3 %
SWEEPS = 3  # alternations between groups and baseline lengths
MEDIAN = 2 * np.log(2)  # of chi^2 with two degrees of freedom

Array = NDArray[np.floating]


@dataclass(frozen=True)
class NoiseFactors:
    """The noise over what the weights claim: one factor for each group, times a curve along baseline length.

    Attributes:
        group: (group,), dimensionless; 1 where it was not measured.
        measured: (group,), False for groups of too few visibilities.
        uvdist: (node,), rising, wavelengths; empty where the noise does not depend on it.
        curve: (node,), dimensionless, interpolated in the logarithm of both, constant beyond the nodes; of geometric
            mean 1 where groups have factors of their own.
    """

    group: Array
    measured: NDArray[np.bool_]
    uvdist: Array
    curve: Array

    @classmethod
    def none(cls, groups: int) -> NoiseFactors:
        """Return the factors of weights that claim the noise truly."""
        return cls(np.ones(groups), np.zeros(groups, bool), np.empty(0), np.empty(0))

    def of(self, group: NDArray[np.integer], uvdist: Array) -> Array:
        """Return the factors, (n,), of visibilities in groups (n,) at uv distances (n,), wavelengths."""
        return self.group[group] * self.along(uvdist)

    def along(self, uvdist: Array) -> Array:
        """Return the curve at uv distances (n,), wavelengths."""
        if self.uvdist.size == 0:
            return np.ones(uvdist.shape)
        with np.errstate(divide="ignore"):
            return np.exp(np.interp(np.log(uvdist), np.log(self.uvdist), np.log(self.curve)))


def fit_noise(
    power: Array, group: NDArray[np.integer], groups: int, by_group: bool = True, uvdist: Array | None = None
) -> NoiseFactors:
    """Return the factors of groups and baseline lengths that give every one of them its expected median.

    Args:
        power: w |r|^2, (n,), dimensionless.
        group: (n,), from 0 to groups - 1.
        groups: how many.
        by_group: False leaves the factors of the groups at 1.
        uvdist: (n,), wavelengths; None for no curve.
    """
    factors = NoiseFactors.none(groups)
    nodes, bins = (np.empty(0), None) if uvdist is None else _bins(uvdist)
    for _ in range(SWEEPS if by_group and nodes.size else 1):
        if by_group:
            along = 1.0 if uvdist is None else factors.along(uvdist)
            scale, measured = _factor(power / along**2, group, groups)
            factors = NoiseFactors(scale, measured, factors.uvdist, factors.curve)
        if bins is not None:
            curve, _ = _factor(power / factors.group[group] ** 2, bins, nodes.size)
            curve /= gmean(curve) if by_group else 1  # the groups have the level
            factors = NoiseFactors(factors.group, factors.measured, nodes, curve)
    return factors


def student_t_weights(power: Array, degrees_of_freedom: float = DEGREES_OF_FREEDOM) -> Array:
    r"""Return $(\nu + 2) / (\nu + p)$: what Student's t multiplies a weight by.

    Args:
        power: w |r|^2 of weights that state the noise truly, (n,), dimensionless.
        degrees_of_freedom: nu.
    """
    return (degrees_of_freedom + 2) / (degrees_of_freedom + power)


def _factor(power: Array, label: NDArray[np.integer], labels: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return the factors and whether each was measured, (labels,).

    It is not measured from too few visibilities, nor where most residuals are exactly zero.
    """
    order = np.argsort(label.astype(np.uint16), kind="stable")  # which is a radix sort
    parts = np.split(power[order], np.cumsum(np.bincount(label, minlength=labels))[:-1])
    medians = np.array([np.median(part) if part.size >= FEWEST else 0.0 for part in parts], float)
    measured = medians > 0
    return np.sqrt(np.where(measured, medians, MEDIAN) / MEDIAN), measured


def _bins(uvdist: Array) -> tuple[Array, NDArray[np.intp] | None]:
    """Return median uv distances of bins of equal numbers, (node,), and each visibility's bin; none of a single bin."""
    count = min(MOST_BINS, uvdist.size // FEWEST_IN_BIN)
    if count < 2:
        return np.empty(0), None
    quantiles = np.quantile(uvdist, np.arange(1, 2 * count) / (2 * count))
    nodes, inner_edges = quantiles[::2], quantiles[1::2]
    if not (nodes[0] > 0 and (np.diff(nodes) > 0).all()):
        return np.empty(0), None
    return nodes, np.searchsorted(inner_edges, uvdist)
