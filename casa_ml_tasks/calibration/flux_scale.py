r"""The relative flux scale of data sets that are imaged together: do they agree where their uv ranges overlap?

Set s measures $V_s = g_s M_s + n$, with M the visibilities of one sky through the beams of the set, and g its flux
scale relative to a reference set. The overlapping range is cut into annuli of uv distance. In annulus b the model is
multiplied by a free amplitude $a_b$, because what the model lacks there is common to all sets:

$$\chi^2 = \sum_{sb} A_{sb} (\hat g_{sb} - g_s a_b)^2, \qquad A = \sum w |M|^2,
  \quad \hat g = \sum w\,\mathrm{Re}(V \bar M) / A.$$

The minimum over g and a compares each set with the other sets, not with the model. An annulus with one set tells
nothing, and two sets contribute $A_1 A_2 / (A_1 + A_2)$ to the inverse of the variance.

The model was fitted to the same sets and has followed each of them, so that the factors found so are nearer to 1 than
the true ones: $\ln g^{found} = K \ln g$. K is known where the change of the model with the scale of each set is
(`SetOfVisibilities.changes`). Then one fit gives the true factors and their errors. Without it, the factors are found
by imaging rescaled data until they settle, and the errors are too small, by up to a factor of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

from casa_ml_tasks.quantities import with_error

ANNULI = 10
WARNED = 3.0  # sigma
SETTLED = 0.3  # of the error: a smaller change of a factor is none
IMPROBABLE = 0.01  # chance of so large a scatter between annuli by noise alone
MOST_STEPS, SMALL_STEP = 50, 1e-9
PROBE = 1e-4  # relative change of a data set, for the derivative of the factors

Array = NDArray[np.floating]
Visibility = NDArray[np.complexfloating]
#: The shortest uv distance above 0, and the longest, wavelengths.
Span = tuple[float, float]


@dataclass(frozen=True)
class SetOfVisibilities:
    """A data set and its model: the visibilities of a Measurement Set, or the Fourier modes of a single-dish map.

    Attributes:
        name: of the Measurement Set or the map.
        uvdist: (n,), wavelengths.
        data, model: (n,), Jy.
        weight: (n,), 1 / variance of the real, and of the imaginary part, Jy^-2.
        changes: (set, n), Jy: derivative of `model` by the relative flux scale of each set; None where it is not known.
        is_map: whether these are modes of a single-dish map.
        independent: how many independent samples there are for each one.
    """

    name: str
    uvdist: Array
    data: Visibility
    model: Visibility
    weight: Array
    changes: Visibility | None = None
    is_map: bool = False
    independent: float = 1.0


@dataclass(frozen=True)
class FluxScale:
    """The flux scale of a data set relative to the reference.

    Attributes:
        name: of the set.
        factor: data over what the sky of the reference gives.
        error: standard deviation; 0 of the reference, infinite where nothing overlaps.
    """

    name: str
    factor: float
    error: float

    @property
    def sigma(self) -> float:
        """How far the factor is from 1, in errors."""
        return abs(self.factor - 1) / self.error if self.error > 0 else 0.0

    def as_numbers(self) -> dict[str, str | float]:
        """Return everything as plain values."""
        return {"name": self.name, "factor": self.factor, "error": self.error, "sigma": self.sigma}


@dataclass(frozen=True)
class FluxScales:
    """The flux scales of data sets that are imaged together.

    Attributes:
        scales: of each set.
        reference: number of the set whose factor is 1.
    """

    scales: tuple[FluxScale, ...]
    reference: int

    @property
    def factors(self) -> NDArray[np.float64]:
        """What the data of each set are to be divided by, and their weights multiplied by twice, (set,)."""
        return np.array([each.factor for each in self.scales])

    def settled(self) -> bool:
        """Whether all factors are 1 within a fraction of their errors."""
        return all(abs(each.factor - 1) <= SETTLED * each.error for each in self.scales)

    def after(self, before: Array) -> FluxScales:
        """Return the scales of the data as observed. before: (set,), what the data had been divided by."""
        scaled = [
            replace(each, factor=each.factor * float(factor), error=each.error * float(factor))
            for each, factor in zip(self.scales, before, strict=True)
        ]
        return replace(self, scales=tuple(scaled))

    def warnings(self, corrected: bool = False) -> list[str]:
        """Return a sentence for every set that disagrees with the reference, or cannot be compared with it.

        Args:
            corrected: whether the data were divided by the factors.
        """
        reference = self.scales[self.reference].name
        remedy = (
            "its data were divided by this factor"
            if corrected
            else "check its calibration, or set fluxscale='fit' to divide its data by this factor"
        )
        found = []
        for each in self.scales:
            if math.isinf(each.error):
                found.append(
                    f"{each.name} has no spatial frequencies in common with {reference}, directly or through other "
                    "sets; its flux scale is not compared"
                )
            elif each.sigma > WARNED:
                found.append(
                    f"the flux scale of {each.name} is {with_error(each.factor, each.error)} times that of "
                    f"{reference} ({each.sigma:.1f} sigma); {remedy}"
                )
        return found

    def as_numbers(self) -> list[dict[str, str | float]]:
        """Return name, factor, error and sigma of each set."""
        return [each.as_numbers() for each in self.scales]


def scales_of(names: Sequence[str], sums: Sequence[Array], reference: int, knows_changes: bool) -> FluxScales:
    """Return the flux scale of each set relative to the reference.

    The errors are those of the weights. They are larger by the scatter between annuli where noise does not explain it.

    Args:
        names: of the sets.
        sums: `annulus_sums` of each.
        reference: number of the set whose factor is 1.
        knows_changes: whether the sums have the derivatives of the model.
    """
    total = np.stack(sums, axis=2)
    power, aligned = total[:, 0]
    compared = _connected(power, reference)
    others = compared[compared != reference]
    factor, error = np.ones(len(names)), np.full(len(names), np.inf)
    error[reference] = 0
    if others.size:
        found, covariance = _fit(power, aligned, reference, others)
        logarithm = np.log(found[others])
        if knows_changes:
            response = _response(total, found, reference, others)
            inverse = np.linalg.inv(response)
            logarithm, covariance = inverse @ logarithm, inverse @ covariance @ inverse.T
        factor[others] = np.exp(logarithm)
        error[others] = factor[others] * np.sqrt(np.diagonal(covariance))
    scales = (FluxScale(*each) for each in zip(names, factor.tolist(), error.tolist(), strict=True))
    return FluxScales(tuple(scales), reference)


def span(each: SetOfVisibilities) -> Span:
    """Return the shortest uv distance above 0 of a set, and the longest, wavelengths."""
    return span_of(each.uvdist)


def span_of(uvdist: Array) -> Span:
    """Return the shortest uv distance above 0, and the longest; infinity and 0 of none."""
    return float(uvdist[uvdist > 0].min(initial=np.inf)), float(uvdist.max(initial=0))


def overlap(spans: Sequence[Span]) -> Span | None:
    """Return the shortest and the longest uv distance, wavelengths, that two sets share; None where none is shared."""
    shared = [(max(a[0], b[0]), min(a[1], b[1])) for a, b in combinations(spans, 2)]
    shared = [(low, high) for low, high in shared if low < high]
    return (min(low for low, _ in shared), max(high for _, high in shared)) if shared else None


def annulus_edges(spans: Sequence[Span], annuli: int = ANNULI) -> Array:
    """Return the edges of the annuli that cover what sets share, wavelengths; none where nothing is shared."""
    shared = overlap(spans)
    return np.zeros(0) if shared is None else np.geomspace(*shared, annuli + 1)


def annulus_sums(each: SetOfVisibilities, number: int, count: int, edges: Array) -> NDArray[np.float64]:
    """Return w |M|^2, w Re V M* and their derivatives by the scales, (2, 1 + set, annulus), of one set or a part of it.

    Args:
        each: the set.
        number: of it.
        count: of all sets.
        edges: of the annuli, wavelengths.
    """
    annuli = max(edges.size - 1, 1)
    total = np.zeros((2, 1 + count, annuli))
    if not edges.size:
        return total
    inside = (each.uvdist >= edges[0]) & (each.uvdist <= edges[-1])
    annulus = np.clip(np.searchsorted(edges, each.uvdist[inside], "right") - 1, 0, annuli - 1)
    data, model, weight = each.data[inside], each.model[inside], each.independent * each.weight[inside]

    def summed(product: Visibility) -> NDArray[Any]:
        return np.bincount(annulus, weight * product.real, annuli)

    total[:, 0] = summed(model * model.conj()), summed(data * model.conj())
    for other, change in enumerate(() if each.changes is None else each.changes[:, inside]):
        aligned = summed(data * change.conj()) + (total[1, 0] if other == number else 0)
        total[:, 1 + other] = 2 * summed(change * model.conj()), aligned
    return total


def _connected(power: Array, reference: int) -> NDArray[np.intp]:
    """Return the numbers of the sets that share annuli with the reference, directly or through others.

    Args:
        power: w |M|^2, (set, annulus).
    """
    seen = (power > 0).astype(int)
    _, group = connected_components(seen @ seen.T, directed=False)
    return np.flatnonzero(group == group[reference])


def _fit(power: Array, aligned: Array, reference: int, others: NDArray[np.intp]) -> tuple[Array, Array]:
    r"""Minimise $\chi^2$ over the factors of `others` and the amplitudes of the annuli by steps of Gauss and Newton.

    Args:
        power, aligned: w |M|^2 and w Re V M*, (set, annulus).
        reference, others: numbers of sets; the factors of all but `others` are 1.

    Returns:
        The factors, (set,), and the covariance of those of `others`.
    """
    compared = np.append(others, reference)
    factor, covariance = np.ones(len(power)), np.zeros((others.size, others.size))
    power, aligned = (np.where(np.isin(np.arange(len(power)), compared)[:, None], each, 0) for each in (power, aligned))
    for _ in range(MOST_STEPS):
        g = factor[:, None]
        total = np.sum(g**2 * power, axis=0)
        amplitude = np.divide(np.sum(g * aligned, axis=0), total, where=total > 0, out=np.zeros_like(total))
        score = np.sum(amplitude * (aligned - g * amplitude * power), axis=1)
        shared = amplitude * g * power / np.sqrt(np.where(total > 0, total, 1))
        information = np.diag(np.sum(amplitude**2 * power, axis=1)) - shared @ shared.T
        covariance = np.linalg.inv(information[np.ix_(others, others)])
        step = covariance @ score[others]
        factor[others] *= np.exp(np.clip(step / factor[others], -1, 1))
        if np.max(np.abs(step)) < SMALL_STEP:
            break
    # Logarithms are what the response is about.
    covariance /= np.multiply.outer(factor[others], factor[others])
    return factor, covariance * _excess_scatter(power, aligned, factor, amplitude, others.size)


def _excess_scatter(power: Array, aligned: Array, factor: Array, amplitude: Array, fitted: int) -> float:
    r"""Return the reduced $\chi^2$ where noise does not explain it, else 1."""
    seen = power > 0
    freedom = np.count_nonzero(seen) - np.count_nonzero(seen.any(axis=0)) - fitted
    difference = aligned - factor[:, None] * amplitude * power
    misfit = float(np.sum(np.divide(difference**2, power, where=seen, out=np.zeros_like(power))))
    return misfit / freedom if freedom > 0 and misfit > chi2.isf(IMPROBABLE, freedom) else 1.0


def _response(sums: Array, factor: Array, reference: int, others: NDArray[np.intp]) -> Array:
    """Return K, (others, others): the derivative of the logarithms of the factors found by those of the true ones."""
    columns = []
    for number in others:
        power, aligned = sums[:, 0] + PROBE * sums[:, 1 + number]
        found, _ = _fit(power, aligned, reference, others)
        columns.append(np.log(found[others] / factor[others]) / PROBE)
    return np.stack(columns, axis=1)
