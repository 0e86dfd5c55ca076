r"""Errors of calibration: what visibilities are off by besides their thermal noise, as a function of baseline length.

A residual visibility r has the variance $v + c^2$ in its real and in its imaginary part: $v = s^2/w$ of thermal noise
(s is the noise scale, w the weight) and $c^2$ of errors of calibration. These are common to both hands and to
neighbouring integrations, so the differences that tell s do not contain them; an image that explained them would show
structure that is not on the sky. They grow with the amplitude of the visibilities, and with distance where the
atmosphere causes them. So c is found in bins of baseline length, from the residuals of an image.

Many visibilities share an error of calibration (all of an antenna, for minutes). Each may then be within its noise
while their image is not. Where the residual image says so, a fraction of the visibilities' amplitude is added to c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.solver import Numbers

MOST_BINS = 20
FEWEST_IN_BIN = 100  # visibilities, for an error of 7 %
MOST_IN_BIN = 20_000  # that are looked at
BISECTIONS = 50
MEDIAN = np.log(2)  # of the exponential distribution, which |r|^2 / 2 over its mean has

Array = NDArray[np.floating]


@dataclass(frozen=True)
class CalibrationErrors:
    """Errors of calibration of the visibilities, or of the image alone.

    Attributes:
        uvdist: (node,), rising, wavelengths; empty where no errors are known of visibilities.
        error: (node,), Jy, standard deviation of the real and of the imaginary part; linear in its square and in the
            logarithm of `uvdist` between the nodes, constant beyond.
        amplitude: (node,), root mean square of the visibilities' moduli without noise, Jy.
        factor: noise of the image over its thermal noise, where a major cycle does not hold the visibilities.
    """

    uvdist: Array
    error: Array
    amplitude: Array
    factor: float = 1.0

    @classmethod
    def none(cls) -> CalibrationErrors:
        """Return those of a perfect calibration."""
        return cls(*np.zeros((3, 0)))

    @classmethod
    def of_image(cls, factor: float) -> CalibrationErrors:
        """Return errors that are known from the residual image alone."""
        return replace(cls.none(), factor=factor)

    def __bool__(self) -> bool:
        return bool(np.any(self.error > 0)) or self.factor > 1

    def at(self, uvdist: Array) -> Array:
        """Return the errors, Jy, at uv distances in wavelengths, of the same shape."""
        return self._along(uvdist, self.error)

    def amplitude_at(self, uvdist: Array) -> Array:
        """Return the amplitudes, Jy, at uv distances in wavelengths, of the same shape."""
        return self._along(uvdist, self.amplitude)

    def _along(self, uvdist: Array, values: Array) -> Array:
        if self.uvdist.size == 0:
            return np.zeros(uvdist.shape)
        with np.errstate(divide="ignore"):
            return np.sqrt(np.interp(np.log(uvdist), np.log(self.uvdist), values**2))

    def raised(self, fraction: float) -> CalibrationErrors:
        """Return errors with a fraction of the amplitude added in quadrature.

        They end at the amplitude: more would leave nothing to image.
        """
        error = np.hypot(self.error, fraction * self.amplitude)
        return replace(self, error=np.minimum(error, np.maximum(self.error, self.amplitude)))

    @property
    def fraction(self) -> float:
        """The r.m.s. of the error over that of the amplitude, all baseline lengths alike; 0 without amplitude."""
        amplitude = float(np.sum(self.amplitude**2))
        return float(np.sqrt(np.sum(self.error**2) / amplitude)) if amplitude > 0 else 0.0

    def as_numbers(self) -> Numbers:
        """Return every attribute, and the fraction, as plain numbers."""
        arrays = {name: getattr(self, name).tolist() for name in ("uvdist", "error", "amplitude")}
        return {**arrays, "factor": self.factor, "fraction": self.fraction}

    @classmethod
    def from_numbers(cls, numbers: Numbers | None) -> CalibrationErrors:
        """Return the errors that `as_numbers` gave; those of a perfect calibration from None."""
        if numbers is None:
            return cls.none()
        uvdist, error, amplitude = (np.array(numbers[name], float) for name in ("uvdist", "error", "amplitude"))
        return cls(uvdist, error, amplitude, float(np.array(numbers["factor"])))


def fit_errors(
    residual: NDArray[np.complexfloating], data: NDArray[np.complexfloating], variance: Array, uvdist: Array
) -> CalibrationErrors:
    """Return the errors with which residuals are as large as they should be, in bins of equal numbers.

    Args:
        residual: data minus model, (n,), Jy.
        data: (n,), Jy.
        variance: of the thermal noise in the real, and in the imaginary part, (n,), Jy^2.
        uvdist: (n,), wavelengths.
    """
    order = np.argsort(uvdist, kind="stable")
    count = min(MOST_BINS, order.size // FEWEST_IN_BIN)
    if count == 0:
        return CalibrationErrors.none()
    bins = [part[:: -(-part.size // MOST_IN_BIN)] for part in np.array_split(order, count)]
    bins = [part for part in bins if np.median(uvdist[part]) > 0]
    return CalibrationErrors(
        np.array([np.median(uvdist[part]) for part in bins]),
        np.array([np.sqrt(excess_variance(np.abs(residual[part]) ** 2 / 2, variance[part])) for part in bins]),
        np.array([_amplitude(np.abs(data[part]) ** 2, variance[part]) for part in bins]),
    )


def excess_variance(power: Array, variance: Array) -> float:
    r"""Return the $c^2$ with which the weighted median of $p / (v + c^2)$ is ln 2; 0 where noise explains the power.

    The weights $(v + c^2)^{-2}$ are what each visibility knows of $c^2$: one of large thermal noise knows little. The
    median disregards outliers.

    Args:
        power: half the squared modulus of a residual, p, (n,), Jy^2.
        variance: of the thermal noise, v, (n,), Jy^2.
    """

    def too_small(excess: float) -> bool:
        total = variance + excess
        return _weighted_median(power / total, total**-2) > MEDIAN

    if not too_small(0.0):
        return 0.0
    low, high = np.log(1e-6 * variance.min()), np.log(power.max() / MEDIAN)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_small(float(np.exp(middle))) else (low, middle)
    return float(np.exp((low + high) / 2))


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulated, cumulated[-1] / 2)])


def _amplitude(power: Array, variance: Array) -> float:
    """Return the root of the weighted mean of squared moduli (n,), less the noise's share, Jy."""
    return float(np.sqrt(max(np.sum(power / variance) - 2 * power.size, 0) / np.sum(1 / variance)))
