"""Profiles of spectral lines with their derivatives, for fits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import erf

SINGLE, DOUBLE = "single", "double"
STEEPNESS = 4.0  # of the edges of two horns, in units of the half width
NONLINEAR = {SINGLE: 2, DOUBLE: 3}  # parameters besides the amplitude


@dataclass(frozen=True)
class Profile:
    """A line as it is fitted.

    Attributes:
        kind: SINGLE (a Gaussian) or DOUBLE (two horns).
        centre: channels.
        fwhm: channels; of two horns the distance of the outer edges.
        amplitude: peak of a Gaussian; of two horns the value in the middle.
        horns: how much higher the horns are than the middle; 0 of a Gaussian.
    """

    kind: str
    centre: float
    fwhm: float
    amplitude: float = 0.0
    horns: float = 0.0

    @property
    def parameters(self) -> list[float]:
        """Centre, logarithm of the width, amplitude, and the horns of two."""
        return [self.centre, float(np.log(self.fwhm)), self.amplitude, *([self.horns] if self.kind == DOUBLE else [])]

    def with_parameters(self, values: np.ndarray) -> Profile:
        """Return the profile that has these parameters."""
        horns = float(values[3]) if self.kind == DOUBLE else 0.0
        return replace(
            self, centre=float(values[0]), fwhm=float(np.exp(values[1])), amplitude=float(values[2]), horns=horns
        )

    def shape(self, channels: np.ndarray) -> np.ndarray:
        """Return the profile of amplitude 1, (channel,)."""
        if self.kind == SINGLE:
            return np.exp(-4 * np.log(2) * ((channels - self.centre) / self.fwhm) ** 2)
        u = 2 * (channels - self.centre) / self.fwhm
        return _edges(u) * (1 + self.horns * u**2)

    def derivatives(self, channels: np.ndarray) -> np.ndarray:
        """Return the derivatives of the profile by its parameters, (channel, parameter)."""
        offset, shape = channels - self.centre, self.shape(channels)
        if self.kind == SINGLE:
            by_log = shape * 8 * np.log(2) * (offset / self.fwhm) ** 2
            by_centre = shape * 8 * np.log(2) * offset / self.fwhm**2
            return np.stack([self.amplitude * by_centre, self.amplitude * by_log, shape], 1)
        u = 2 * offset / self.fwhm
        left, right = 1 + erf(STEEPNESS * (1 + u)), 1 + erf(STEEPNESS * (1 - u))
        bell = [2 / np.sqrt(np.pi) * STEEPNESS * np.exp(-((STEEPNESS * (1 + sign * u)) ** 2)) for sign in (1, -1)]
        by_u = (bell[0] * right - left * bell[1]) / 4 * (1 + self.horns * u**2) + _edges(u) * 2 * self.horns * u
        by_centre, by_log = -2 / self.fwhm * by_u, -u * by_u
        by_horns = _edges(u) * u**2
        return np.stack([self.amplitude * by_centre, self.amplitude * by_log, shape, self.amplitude * by_horns], 1)


def _edges(u: np.ndarray) -> np.ndarray:
    return (1 + erf(STEEPNESS * (1 + u))) * (1 + erf(STEEPNESS * (1 - u))) / 4
