"""Find the lines in the spectrum of a source, and measure them.

Two lines closer than the sum of their widths are two where two Gaussians describe the spectrum better than one line or
two horns (Schwarz's criterion); else they are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.sources.fitted_profiles import Profile
from casa_ml_tasks.sources.line_candidates import Candidates, find_candidates
from casa_ml_tasks.sources.line_fit import LineFit, NoisySpectrum, fit_lines

LEAST_PROBABILITY = 0.75  # of a line that is given; see `line_scores` for what it costs


@dataclass(frozen=True)
class Line:
    """A line.

    Attributes:
        first, last: channels of its range, inclusive: centre +- FWHM.
        centre, centre_error: channels.
        fwhm, fwhm_error: channels; of two horns the distance of their outer edges.
        flux, flux_error: sum over the channels, in the unit of the spectrum; the error is of 1 sigma, with continuum
            and neighbouring lines as unknown as they are.
        snr: peak of the matched filter.
        probability: that it is a line.
        kind: 'single' or 'double', a Gaussian or two horns.
    """

    first: int
    last: int
    centre: float
    centre_error: float
    fwhm: float
    fwhm_error: float
    flux: float
    flux_error: float
    snr: float
    probability: float
    kind: str


@dataclass(frozen=True)
class SpectralFit:
    """A spectrum as a straight continuum and lines.

    Attributes:
        lines: by their channels.
        level, level_error: of the continuum in the middle channel, in the unit of the spectrum.
        slope, slope_error: of the continuum, per channel.
        profiles: of the lines, in their order.
        channels: of the spectrum.
    """

    lines: tuple[Line, ...]
    level: float
    level_error: float
    slope: float
    slope_error: float
    profiles: tuple[Profile, ...]
    channels: int

    def continuum(self) -> np.ndarray:
        """Return the continuum, (channel,)."""
        return self.level + self.slope * (np.arange(self.channels) - (self.channels - 1) / 2)

    def line(self) -> np.ndarray:
        """Return the sum of the lines, (channel,)."""
        every = np.arange(self.channels, dtype=float)
        return sum((profile.amplitude * profile.shape(every) for profile in self.profiles), np.zeros(self.channels))


def find_lines(
    flux: Sequence[float] | np.ndarray,
    error: Sequence[float] | np.ndarray,
    network: LineNetwork,
    least_probability: float = LEAST_PROBABILITY,
) -> SpectralFit:
    """Return lines and continuum of a spectrum.

    Args:
        flux: (channel,), in any unit; not a number in channels that were not observed.
        error: 1 sigma, (channel,), same unit; infinite or not a number in channels that were not observed.
        network: trained.
        least_probability: of a line that is given.

    Raises:
        ValueError: shapes differ, or there is no channel.
    """
    flux, error = np.asarray(flux, dtype=float), np.asarray(error, dtype=float)
    if flux.ndim != 1 or flux.shape != error.shape or not len(flux):
        raise ValueError(f"flux and error have the shapes {flux.shape} and {error.shape}; give two of (channel,)")
    spectrum = NoisySpectrum.of(flux, error)
    if len(spectrum.channels) < 2:
        return _constant(spectrum)
    return chosen(spectrum, find_candidates(spectrum, flux, error, network), network, least_probability)


def chosen(
    spectrum: NoisySpectrum, found: Candidates, network: LineNetwork, least_probability: float = LEAST_PROBABILITY
) -> SpectralFit:
    """Return the candidates that are probable enough, fitted again without the others.

    Args:
        spectrum: two observed channels or more.
        found: in it.
        network: with its decision.
        least_probability: of a line that is given.
    """
    probable = probabilities(found, network)
    fit = found.fit
    if (probable < least_probability).any():
        kept = [profile for profile, p in zip(fit.profiles, probable, strict=True) if p >= least_probability]
        fit = fit_lines(spectrum, kept)
        # A line whose neighbour went has another width; its probability stays.
        probable = np.array([probable[_nearest(profile.centre, found.fit)] for profile in fit.profiles])
    order = np.argsort([profile.centre for profile in fit.profiles])
    lines = tuple(_line(fit, index, float(probable[index]), spectrum.length) for index in order)
    profiles = tuple(fit.profiles[index] for index in order)
    return SpectralFit(lines, fit.level, fit.level_error, fit.slope, fit.slope_error, profiles, spectrum.length)


def probabilities(found: Candidates, network: LineNetwork) -> np.ndarray:
    """Return the probability of each candidate to be a line, (line,)."""
    return expit(found.features @ np.asarray(network.decision, dtype=float))


def _line(fit: LineFit, index: int, probability: float, channels: int) -> Line:
    profile = fit.profiles[index]
    first, last = (int(np.clip(np.round(edge), 0, channels - 1)) for edge in line_range(profile))
    return Line(
        first,
        last,
        profile.centre,
        float(fit.centre_error[index]),
        profile.fwhm,
        float(fit.fwhm_error[index]),
        float(fit.flux[index]),
        float(fit.flux_error[index]),
        float(fit.snr[index]),
        probability,
        profile.kind,
    )


def line_range(profile: Profile) -> tuple[float, float]:
    """Return the range of a line, centre +- FWHM, channels."""
    return profile.centre - profile.fwhm, profile.centre + profile.fwhm


def _nearest(centre: float, fit: LineFit) -> int:
    return int(np.argmin([abs(profile.centre - centre) for profile in fit.profiles]))


def _constant(spectrum: NoisySpectrum) -> SpectralFit:
    """Return what one channel says of the continuum, or none."""
    level, error = (*spectrum.flux, np.nan)[0], (*spectrum.error, np.inf)[0]
    return SpectralFit((), float(level), float(error), 0.0, np.inf, (), spectrum.length)
