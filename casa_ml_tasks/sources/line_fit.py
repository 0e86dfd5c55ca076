"""Lines and a straight continuum fitted together to one spectrum, with errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from casa_ml_tasks.sources.fitted_profiles import DOUBLE, Profile

NARROWEST = 1.2  # FWHM of a line, channels
MOST_HORNS = 8.0
CONTINUUM = 2  # parameters


@dataclass(frozen=True)
class NoisySpectrum:
    """The channels of a spectrum that were observed.

    Attributes:
        channels, flux, error: (observed,).
        length: channels of the spectrum.
    """

    channels: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    length: int

    @staticmethod
    def of(flux: np.ndarray, error: np.ndarray) -> NoisySpectrum:
        """Leave out channels without a number or a positive error. flux, error: (channel,)."""
        observed = np.isfinite(flux) & np.isfinite(error) & (error > 0)
        channels = np.flatnonzero(observed)
        return NoisySpectrum(channels.astype(float), flux[observed], error[observed], len(flux))

    @property
    def middle(self) -> float:
        """The channel where the level of the continuum is given."""
        return (self.length - 1) / 2


@dataclass(frozen=True)
class LineFit:
    """A spectrum as continuum and lines.

    Attributes:
        level, slope: of the continuum in the middle channel, and per channel; with their errors of 1 sigma.
        profiles: of the lines.
        snr: peak of the matched filter of each line, continuum and other lines taken into account, (line,).
        flux, flux_error: sum over the channels of the spectrum, (line,).
        centre_error, fwhm_error: channels, (line,).
        chi2: of the fit.
    """

    level: float
    slope: float
    level_error: float
    slope_error: float
    profiles: tuple[Profile, ...]
    snr: np.ndarray
    flux: np.ndarray
    flux_error: np.ndarray
    centre_error: np.ndarray
    fwhm_error: np.ndarray
    chi2: float

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return CONTINUUM + sum(len(profile.parameters) for profile in self.profiles)


def fit_lines(spectrum: NoisySpectrum, start: Sequence[Profile]) -> LineFit:
    """Fit all lines and the continuum by least squares; lines whose flux becomes zero are left out.

    Args:
        spectrum: with at least as many channels as parameters.
        start: the lines, whose amplitudes are ignored.
    """
    profiles = list(start)
    while True:
        level, slope, profiles = _minimum(spectrum, profiles)
        present = [profile for profile in profiles if profile.amplitude > 1e-6 * np.median(spectrum.error)]
        if len(present) == len(profiles):
            return _with_errors(spectrum, level, slope, profiles)
        profiles = present


def model(fit: LineFit, spectrum: NoisySpectrum) -> np.ndarray:
    """Return continuum and lines in the observed channels."""
    return _model(spectrum, fit.level, fit.slope, fit.profiles)


def _model(spectrum: NoisySpectrum, level: float, slope: float, profiles: Sequence[Profile]) -> np.ndarray:
    lines = sum(profile.amplitude * profile.shape(spectrum.channels) for profile in profiles)
    return level + slope * (spectrum.channels - spectrum.middle) + lines


def _columns(spectrum: NoisySpectrum, profiles: Sequence[Profile]) -> np.ndarray:
    """Return the linear part of the model over the errors: level, slope and each line's shape, (observed, column)."""
    shapes = [profile.shape(spectrum.channels) for profile in profiles]
    straight = [np.ones_like(spectrum.channels), spectrum.channels - spectrum.middle]
    return np.stack([*straight, *shapes], 1) / spectrum.error[:, None]


def _minimum(spectrum: NoisySpectrum, start: Sequence[Profile]) -> tuple[float, float, list[Profile]]:
    linear = np.linalg.lstsq(_columns(spectrum, start), spectrum.flux / spectrum.error, rcond=None)[0]
    if not start:
        return float(linear[0]), float(linear[1]), []
    least = 0.01 * float(np.median(spectrum.error))
    begin = [
        replace(profile, amplitude=max(float(amplitude), least))
        for profile, amplitude in zip(start, linear[CONTINUUM:], strict=True)
    ]
    values = np.concatenate([linear[:CONTINUUM], *(profile.parameters for profile in begin)])
    low, high = np.concatenate([np.full((2, CONTINUUM), np.nan), *(_bounds(each, spectrum) for each in begin)], 1)
    bounded = np.isfinite(low)
    half, middle = np.where(bounded, (high - low) / 2, 1.0), np.where(bounded, (high + low) / 2, 0.0)
    places = np.cumsum([CONTINUUM, *(len(profile.parameters) for profile in begin)])

    def within(free: np.ndarray) -> np.ndarray:
        """Parameters between their bounds, of numbers without."""
        return middle + half * np.where(bounded, np.tanh(free), free)

    def profiles_of(values: np.ndarray) -> list[Profile]:
        return [each.with_parameters(values[place:]) for each, place in zip(begin, places, strict=False)]

    def residual(free: np.ndarray) -> np.ndarray:
        values = within(free)
        return (_model(spectrum, values[0], values[1], profiles_of(values)) - spectrum.flux) / spectrum.error

    def jacobian(free: np.ndarray) -> np.ndarray:
        steepness = half * np.where(bounded, 1 - np.tanh(free) ** 2, 1.0)
        return _jacobian(spectrum, profiles_of(within(free))) * steepness

    scaled = (values - middle) / half
    free = np.where(bounded, np.arctanh(np.clip(scaled, -0.99, 0.99)), scaled)
    # MINPACK is ten times faster than SciPy's own methods, and knows no bounds.
    result = least_squares(residual, free, jacobian, method="lm", ftol=1e-5, xtol=1e-5, gtol=1e-9, max_nfev=40)
    values = within(result.x)
    return float(values[0]), float(values[1]), profiles_of(values)


def _bounds(profile: Profile, spectrum: NoisySpectrum) -> np.ndarray:
    """Return lowest and highest values of the parameters, (2, parameter), not numbers where there are none."""
    reach = profile.fwhm + 2
    low = [profile.centre - reach, np.log(NARROWEST), np.nan]
    high = [profile.centre + reach, np.log(max(2 * NARROWEST, spectrum.length)), np.nan]
    return np.array([[*low, 0.0], [*high, MOST_HORNS]] if profile.kind == DOUBLE else [low, high])


def _jacobian(spectrum: NoisySpectrum, profiles: Sequence[Profile]) -> np.ndarray:
    """Return the derivatives of the model over the errors by all parameters, (observed, parameter)."""
    straight = np.stack([np.ones_like(spectrum.channels), spectrum.channels - spectrum.middle], 1)
    of_lines = [profile.derivatives(spectrum.channels) for profile in profiles]
    return np.concatenate([straight, *of_lines], 1) / spectrum.error[:, None]


def _with_errors(spectrum: NoisySpectrum, level: float, slope: float, profiles: Sequence[Profile]) -> LineFit:
    covariance = _inverse(_jacobian(spectrum, profiles))
    of_linear = _inverse(_columns(spectrum, profiles))
    every = np.arange(spectrum.length, dtype=float)
    place, rows = CONTINUUM, []
    for profile in profiles:
        mine = slice(place, place := place + len(profile.parameters))
        change = profile.derivatives(every).sum(0)
        total = profile.amplitude * profile.shape(every).sum()
        variances = np.diag(covariance)[mine]
        rows.append(
            (total, np.sqrt(change @ covariance[mine, mine] @ change), *np.sqrt([1, profile.fwhm**2] * variances[:2]))
        )
    flux, flux_error, centre_error, fwhm_error = np.array(rows).reshape(-1, 4).T
    amplitudes = np.array([profile.amplitude for profile in profiles])
    misfit = (_model(spectrum, level, slope, profiles) - spectrum.flux) / spectrum.error
    level_error, slope_error = np.sqrt(np.diag(covariance)[:CONTINUUM])
    amplitude_errors = np.sqrt(np.maximum(np.diag(of_linear)[CONTINUUM:], 1e-300))
    return LineFit(
        level,
        slope,
        float(level_error),
        float(slope_error),
        tuple(profiles),
        amplitudes / amplitude_errors,
        flux,
        flux_error,
        centre_error,
        fwhm_error,
        float(misfit @ misfit),
    )


def _inverse(columns: np.ndarray) -> np.ndarray:
    """Return the covariance of the parameters of a linear model in noise of 1, scaled so that its inversion is safe."""
    scale = np.maximum(np.linalg.norm(columns, axis=0), 1e-30)
    return np.linalg.pinv((columns / scale).T @ (columns / scale), rcond=1e-12, hermitian=True) / np.outer(scale, scale)
