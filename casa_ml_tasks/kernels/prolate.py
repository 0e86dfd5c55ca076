r"""The shortest sums of products that are exp(iX s t) for s and t in [-1, 1].

The prolate spheroidal wave functions are the eigenfunctions of the Fourier transform of an interval,
$\int_{-1}^1 e^{iXst}\psi_j(t)\,dt = \lambda_j\psi_j(s)$ (Slepian & Pollak 1961, BSTJ 40, 43). Normalised to
$\int\psi_j^2 = 1$ they give $e^{iXst} = \sum_j\lambda_j\psi_j(s)\psi_j(t)$. No other sum of as many products is closer
in the mean square: about $2X/\pi$ terms are needed, and a few more for every digit.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev, legendre
from numpy.typing import NDArray

from casa_ml_tasks.kernels.compiled import compiled
from casa_ml_tasks.kernels.threads import pieces, run

CHUNK = 512  # values of a series that are summed together, in the first cache
NEGLIGIBLE = 0.01  # coefficients of a series, relative to the tolerance


@dataclass(frozen=True)
class ProlateTerm:
    r"""One term, $\lambda\psi(s)\psi(t)$.

    Attributes:
        eigenvalue: lambda, real where psi is even and imaginary where it is odd.
        series: psi, even or s times even: coefficients of Chebyshev polynomials of 2s^2 - 1.
        odd: whether psi is.
    """

    eigenvalue: complex
    series: NDArray[np.float64]
    odd: bool

    def times(self, s: NDArray[np.floating], values: NDArray[Any], threads: int, factor: complex = 1.0) -> NDArray[Any]:
        """Return factor psi(s) values, of the values' shape and precision."""
        product = np.zeros_like(values)
        self.add(s, values, product, threads, factor)
        return product

    def add(
        self,
        s: NDArray[np.floating],
        values: NDArray[Any],
        total: NDArray[Any],
        threads: int,
        factor: complex = 1.0,
    ) -> None:
        """Add factor psi(s) values to the total, all of the same shape; ValueError where they are not."""
        if not s.shape == values.shape == total.shape:
            raise ValueError(f"array of shape {values.shape} for a plan of {s.shape}; sort visibilities")
        flat = (s.reshape(-1), values.reshape(-1), total.reshape(-1))
        series = self.series.astype(s.dtype)
        scale = total.dtype.type(factor)
        run(lambda a, b: _add(a, b, series, self.odd, scale, s.dtype.type(2), *flat), pieces(s.size, threads), threads)


def prolate_terms(largest_phase: float, tolerance: float) -> list[ProlateTerm]:
    """Return the fewest terms whose sum is exp(iX s t) within the tolerance.

    Args:
        largest_phase: X, radians.
        tolerance: root mean square of the difference.
    """
    found = sorted(_eigenfunctions(largest_phase), key=lambda term: -abs(term[0]))
    terms: list[ProlateTerm] = []
    samples = np.linspace(-1, 1, 101 + int(4 * largest_phase))
    missing = np.exp(1j * largest_phase * np.multiply.outer(samples, samples))
    for eigenvalue, coefficients, odd in found:
        term = ProlateTerm(eigenvalue, _series(coefficients, odd, NEGLIGIBLE * tolerance), odd)
        terms.append(term)
        psi = term.times(samples, np.ones_like(samples), 1)
        missing -= term.eigenvalue * np.multiply.outer(psi, psi)
        if np.sqrt(np.mean(np.abs(missing) ** 2)) < tolerance:
            break
    return terms


def _eigenfunctions(largest_phase: float) -> list[tuple[complex, NDArray[np.float64], bool]]:
    """Return (lambda, coefficients of psi in Legendre polynomials, odd) of each psi.

    From the matrix of the kernel in these polynomials: the even and the odd ones do not mix.
    """
    size = 2 * (int(largest_phase) // 2 + 20)
    nodes, weights = legendre.leggauss(size)
    norm = np.sqrt(np.arange(size) + 0.5)
    projection = (legendre.legvander(nodes, size - 1) * norm * weights[:, None]).T
    phase = largest_phase * np.multiply.outer(nodes, nodes)
    terms = []
    for odd, kernel, unit in ((False, np.cos(phase), 1), (True, np.sin(phase), 1j)):
        matrix = (projection @ kernel @ projection.T)[odd::2, odd::2]
        eigenvalues, vectors = np.linalg.eigh(matrix)
        for eigenvalue, vector in zip(eigenvalues, vectors.T, strict=True):
            coefficients = np.zeros(size)
            coefficients[odd::2] = vector * norm[odd::2]
            terms.append((unit * eigenvalue, coefficients, odd))
    return terms


def _series(coefficients: NDArray[np.float64], odd: bool, negligible: float) -> NDArray[np.float64]:
    """Return the coefficients in Chebyshev's polynomials of y = 2 s^2 - 1, times s if odd, from those in Legendre's."""

    def psi(y: NDArray[np.float64]) -> NDArray[np.float64]:
        s = np.sqrt((1 + y) / 2)
        return legendre.legval(s, coefficients) / (s if odd else 1)

    return np.asarray(Chebyshev.interpolate(psi, coefficients.size // 2).trim(negligible).coef, float)


@compiled
def _add(first, last, series, odd, factor, two, s, values, total):
    """Add factor psi(s) values to the total, from `first` to `last`; `two` has the precision.

    psi is evaluated by Clenshaw's recurrence.
    """
    twice_y, latest, before = np.empty(CHUNK, s.dtype), np.empty(CHUNK, s.dtype), np.empty(CHUNK, s.dtype)
    for begin in range(first, last, CHUNK):
        count = min(CHUNK, last - begin)
        for i in range(count):
            twice_y[i] = two * two * s[begin + i] * s[begin + i] - two
            latest[i] = before[i] = 0
        for power in range(series.size - 1, 0, -1):
            coefficient = series[power]
            for i in range(count):
                next = coefficient + twice_y[i] * latest[i] - before[i]
                before[i] = latest[i]
                latest[i] = next
        for i in range(count):
            psi = series[0] + twice_y[i] * latest[i] / two - before[i]
            if odd:
                psi *= s[begin + i]
            total[begin + i] += factor * psi * values[begin + i]
