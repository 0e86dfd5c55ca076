"""What may be lines in a spectrum: proposed by the network and by matched filters of the residual, fitted together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from casa_ml_tasks.networks.line_loss import CORE
from casa_ml_tasks.networks.line_network import WIDTHS, LineNetwork, logits
from casa_ml_tasks.sources.fitted_profiles import DOUBLE, SINGLE, Profile
from casa_ml_tasks.sources.line_fit import CONTINUUM, LineFit, NoisySpectrum, fit_lines, model

PROPOSED = -1.5  # logit of the core of a line, from which the network proposes one
FILTERED = 3.5  # signal-to-noise ratio, from which a matched filter of the residual does
MOST = 8  # lines in a spectrum
FEWEST_CHANNELS = 8  # observed, in which lines are looked for
CHANNELS_PER_LINE = 5
RESOLVED = 4.0  # FWHM, channels, from which a line may have two horns
HORNS_SEEN = 8.0  # signal-to-noise ratio, from which
GAUSSIAN_BEFORE = 6.0  # chi^2 by which two horns have to be better still: noise flattens some Gaussians


@dataclass(frozen=True)
class Candidates:
    """All that may be lines.

    Attributes:
        fit: of all of them.
        features: of each, (line, FEATURES); what the probability is computed from.
    """

    fit: LineFit
    features: np.ndarray


def find_candidates(spectrum: NoisySpectrum, flux: np.ndarray, error: np.ndarray, network: LineNetwork) -> Candidates:
    """Find, split and fit what may be lines.

    Args:
        spectrum: its observed channels, three or more.
        flux, error: (channel,).
        network: trained.
    """
    if len(spectrum.channels) < FEWEST_CHANNELS:
        return Candidates(fit_lines(spectrum, []), np.zeros((0, len(network.decision))))
    line, core = logits(network, flux, error)
    room = min(MOST, (len(spectrum.channels) - CONTINUUM) // CHANNELS_PER_LINE)
    fit = _simplest(spectrum, fit_lines(spectrum, proposed(core, room)))
    while len(fit.profiles) < room and (more := strongest(spectrum, fit)):
        better = _simplest(spectrum, fit_lines(spectrum, [*fit.profiles, more]))
        if fit.chi2 - better.chi2 < FILTERED**2 / 2:
            break
        fit = better
    return Candidates(fit, features(fit, line, core, len(network.decision)))


def proposed(core: np.ndarray, most: int) -> list[Profile]:
    """Return a Gaussian for each stretch of channels that the network sees as the core of a line, the surest first."""
    edges = np.flatnonzero(np.diff(np.r_[0, (core > PROPOSED).astype(int), 0])).reshape(-1, 2).tolist()
    surest = sorted(edges, key=lambda edge: -core[edge[0] : edge[1]].max())[:most]
    found = []
    for first, end in surest:
        weight = 1 / (1 + np.exp(-core[first:end]))
        centre = float(weight @ np.arange(first, end) / weight.sum())
        found.append(Profile(SINGLE, centre, max(2.0, (end - first) / (2 * CORE))))
    return found


def strongest(spectrum: NoisySpectrum, fit: LineFit) -> Profile | None:
    """Return the Gaussian that stands out most from the residual; nothing where none reaches FILTERED."""
    residual = np.zeros(spectrum.length)
    weight = np.zeros(spectrum.length)
    places = spectrum.channels.astype(int)
    weight[places] = 1 / spectrum.error**2
    residual[places] = spectrum.flux - model(fit, spectrum)
    best, found = FILTERED, None
    for width in WIDTHS:
        if width > spectrum.length / 2:
            break
        template = Profile(SINGLE, 0.0, width).shape(np.arange(-int(1.3 * width) - 1, int(1.3 * width) + 2.0))
        square = np.convolve(weight, template**2, "full")
        signal = np.convolve(weight * residual, template, "full") / np.sqrt(np.maximum(square, 1e-300))
        begin = len(template) // 2
        # Half the template has to be observed.
        seen = square > 0.3 * (template @ template) * np.median(weight[places])
        signal = np.where(seen, signal, 0.0)[begin : begin + spectrum.length]
        if signal.max() > best:
            best, found = signal.max(), Profile(SINGLE, float(signal.argmax()), width)
    return found


def _simplest(spectrum: NoisySpectrum, fit: LineFit) -> LineFit:
    """Return a fit with two horns, two lines for them, or one line for two, where Schwarz's criterion prefers it."""
    better = True
    while better:
        better = False
        for profiles in _others(fit):
            if CONTINUUM + sum(len(each.parameters) for each in profiles) > len(spectrum.channels):
                continue
            other = fit_lines(spectrum, profiles)
            if _criterion(other, spectrum) < _criterion(fit, spectrum):
                fit, better = other, True
                break
    return fit


def _criterion(fit: LineFit, spectrum: NoisySpectrum) -> float:
    doubles = sum(profile.kind == DOUBLE for profile in fit.profiles)
    return fit.chi2 + fit.parameters * np.log(len(spectrum.channels)) + GAUSSIAN_BEFORE * doubles


def _others(fit: LineFit) -> list[list[Profile]]:
    """Return the sets of lines that may describe the spectrum as well as these."""
    found = []
    for index, profile in enumerate(fit.profiles):
        rest = [other for other in fit.profiles if other is not profile]
        if profile.kind == SINGLE and profile.fwhm > RESOLVED and fit.snr[index] > HORNS_SEEN:
            found.append([*rest, Profile(DOUBLE, profile.centre, profile.fwhm, horns=0.5)])
        if profile.kind == DOUBLE:
            halves = [Profile(SINGLE, profile.centre + side * profile.fwhm / 4, profile.fwhm / 2) for side in (-1, 1)]
            found += [[*rest, *halves], [*rest, halves[0]], [*rest, halves[1]]]
        for other in fit.profiles[index + 1 :]:
            if abs(profile.centre - other.centre) < profile.fwhm + other.fwhm:
                rest = [each for each in fit.profiles if each is not profile and each is not other]
                low = min(each.centre - each.fwhm / 2 for each in (profile, other))
                high = max(each.centre + each.fwhm / 2 for each in (profile, other))
                one = (low + high) / 2, high - low
                found += [[*rest, Profile(SINGLE, *one)], [*rest, Profile(DOUBLE, *one, horns=1.0)]]
    return found


def features(fit: LineFit, line: np.ndarray, core: np.ndarray, count: int) -> np.ndarray:
    """Return what the probability of each line is computed from, (line, count).

    Args:
        fit: of the lines.
        line, core: logits of the network, (channel,).
        count: of features, as the network has them.
    """
    rows = []
    for profile, snr in zip(fit.profiles, np.minimum(fit.snr, 12.0), strict=True):
        inner, outer = (_stretch(profile, reach, len(line)) for reach in (CORE, 1.0))
        others = [
            abs(profile.centre - other.centre) / (profile.fwhm + other.fwhm)
            for other, theirs in zip(fit.profiles, fit.snr, strict=True)
            if other is not profile and theirs > snr
        ]
        alone = min([1.0, *others])
        limits = np.clip(core[inner].max(), -8, 8), np.clip(line[outer].mean(), -8, 8)
        rows.append([1.0, snr, snr**2 / 10, *limits, np.log(profile.fwhm), np.log(len(line)), alone])
    return np.array(rows).reshape(len(rows), count)


def _stretch(profile: Profile, reach: float, length: int) -> slice:
    """Return the channels within so many FWHM of the centre, at least one."""
    first = int(np.clip(np.floor(profile.centre - reach * profile.fwhm), 0, length - 1))
    last = int(np.clip(np.ceil(profile.centre + reach * profile.fwhm), 0, length - 1))
    return slice(first, last + 1)
