"""How well lines are found in simulated spectra, and the probability of a line that follows from it.

A line is complete where its range, centre +- FWHM, has an overlap over union of IOU with a range found, one to one.
A line found is spurious where its range overlaps that of no true line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import expit
from tqdm import tqdm

from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.simulation.random_spectra import Spectrum, draw_spectra
from casa_ml_tasks.sources.line_candidates import Candidates, find_candidates
from casa_ml_tasks.sources.line_finder import LEAST_PROBABILITY, chosen, line_range
from casa_ml_tasks.sources.line_fit import NoisySpectrum

Ranges = Sequence[tuple[float, float]]
Truth = tuple[np.ndarray, np.ndarray, Ranges, np.ndarray]  # flux, error, ranges and S/N of the lines
IOU = 0.6
OWN = 0.25  # overlap over union of a candidate with the true line that it is
LENGTHS = ((64, 16), (128, 64), (256, 128), (512, 256))  # longest and shortest spectra of a batch
SNR_BINS = {"4-6": (4.0, 6.0), ">6": (6.0, np.inf)}
RIDGE = 1e-3  # of the logistic regression
FITTED_ON, JUDGED_ON = (1_000_001, 1200), (1_000_002, 2000)  # seed and number of spectra


@dataclass(frozen=True)
class LineScores:
    """Counts over spectra.

    Attributes:
        complete: of the true lines in each of SNR_BINS.
        found: lines.
        spurious: of them that overlap no true line, a share.
        unmatched: of them that are no true line's own one, a share.
        spectra_with_spurious: share of the spectra.
    """

    complete: dict[str, float]
    found: int
    spurious: float
    unmatched: float
    spectra_with_spurious: float

    def by_name(self) -> dict[str, float]:
        """Return the scores by what they are called in a model card."""
        complete = {f"completeness, S/N {name}": value for name, value in self.complete.items()}
        return complete | {
            "spurious, of the lines found": self.spurious,
            "spectra with a spurious line": self.spectra_with_spurious,
        }


def one_spectrum(spectra: Spectrum, index: int) -> Truth:
    """Return flux, error (channel,), and ranges and S/N of the true lines of one spectrum of a batch, its end cut off.

    Channels behind the last one observed are cut off.
    """
    error = np.asarray(spectra.error[index], dtype=float)
    n = int(np.flatnonzero(np.isfinite(error))[-1]) + 1
    there = np.asarray(spectra.lines.snr[index]) > 0
    centre, fwhm, snr = (
        np.asarray(each[index], dtype=float)[there]
        for each in (spectra.lines.centre, spectra.lines.fwhm, spectra.lines.snr)
    )
    ranges = list(zip(centre - fwhm, centre + fwhm, strict=True))
    return np.asarray(spectra.flux[index], dtype=float)[:n], error[:n], ranges, snr


def held_out(seed: int, count: int) -> list[Truth]:
    """Return spectra of 16 to 512 channels with their truth; see `one_spectrum`. seed: none that was trained with."""
    each = -(-count // len(LENGTHS))
    batches = [
        draw_spectra(jax.random.fold_in(jax.random.PRNGKey(seed), number), each, *lengths)
        for number, lengths in enumerate(LENGTHS)
    ]
    return [one_spectrum(batch, index) for batch in batches for index in range(each)][:count]


def score(found: Sequence[Ranges], true: Sequence[Ranges], snr: Sequence[np.ndarray]) -> LineScores:
    """Compare the ranges found in each spectrum with the true ones. snr: of the true lines."""
    hits = np.concatenate([matched(theirs, ours) >= IOU for ours, theirs in zip(found, true, strict=True)])
    every = np.concatenate(snr)
    own = np.concatenate([matched(ours, theirs) >= OWN for ours, theirs in zip(found, true, strict=True)])
    of_none = [(overlaps(ours, theirs) > 0).sum(1) == 0 for ours, theirs in zip(found, true, strict=True)]
    complete = {name: float(hits[(every >= low) & (every < high)].mean()) for name, (low, high) in SNR_BINS.items()}
    count = max(len(own), 1)
    spectra = float(np.mean([each.any() for each in of_none]))
    spurious = float(sum(each.sum() for each in of_none)) / count
    return LineScores(complete, len(own), spurious, float(np.sum(~own)) / count, spectra)


def matched(one: Ranges, other: Ranges) -> np.ndarray:
    """Return overlap over union of each of one set of ranges with its own one of the other, 0 without, (one,)."""
    overlap = overlaps(one, other)
    own = np.zeros(len(one))
    if overlap.size:
        rows, columns = linear_sum_assignment(-overlap)
        own[rows] = overlap[rows, columns]
    return own


def overlaps(one: Ranges, other: Ranges) -> np.ndarray:
    """Return overlap over union of ranges, (one, other)."""
    ours, theirs = (np.array(each, dtype=float).reshape(-1, 2) for each in (one, other))
    both = np.minimum(ours[:, None, 1], theirs[None, :, 1]) - np.maximum(ours[:, None, 0], theirs[None, :, 0])
    either = np.maximum(ours[:, None, 1], theirs[None, :, 1]) - np.minimum(ours[:, None, 0], theirs[None, :, 0])
    return np.clip(both, 0, None) / either


def judged_lines(network: LineNetwork) -> tuple[LineNetwork, dict[str, float]]:
    """Return the trained network with its decision, and its scores on spectra that neither has seen."""
    network = decided(network, *_features_and_truth(candidates_of(network, held_out(*FITTED_ON))))
    judged = candidates_of(network, held_out(*JUDGED_ON))
    features, real = _features_and_truth(judged)
    error = calibration_error(expit(features @ np.asarray(network.decision, dtype=float)), real)
    return network, scores_of(network, judged).by_name() | {"expected calibration error": error}


def candidates_of(network: LineNetwork, spectra: Sequence[Truth]) -> list[tuple[Truth, Candidates]]:
    """Return the candidates in each spectrum beside it."""
    bar = tqdm(spectra, desc="candidates", disable=None)
    return [(each, find_candidates(NoisySpectrum.of(each[0], each[1]), each[0], each[1], network)) for each in bar]


def scores_of(
    network: LineNetwork, judged: Sequence[tuple[Truth, Candidates]], least_probability: float = LEAST_PROBABILITY
) -> LineScores:
    """Return the scores of the candidates that are probable enough."""
    fits = [
        chosen(NoisySpectrum.of(flux, error), found, network, least_probability)
        for (flux, error, _, _), found in judged
    ]
    found = [[line_range(profile) for profile in fit.profiles] for fit in fits]
    return score(found, [truth[2] for truth, _ in judged], [truth[3] for truth, _ in judged])


def _features_and_truth(judged: Sequence[tuple[Truth, Candidates]]) -> tuple[np.ndarray, np.ndarray]:
    """Return features (candidate, FEATURES) of all candidates, and which of them are lines."""
    real = [
        matched([line_range(profile) for profile in found.fit.profiles], ranges) >= OWN
        for (_, _, ranges, _), found in judged
    ]
    return np.concatenate([found.features for _, found in judged]), np.concatenate(real)


def decided(network: LineNetwork, features: np.ndarray, real: np.ndarray) -> LineNetwork:
    """Return the network with the logistic regression that tells candidates that are lines from others.

    Args:
        network: trained.
        features: (candidate, FEATURES).
        real: which of them are lines.
    """
    scale = np.maximum(np.abs(features).max(0), 1e-9)
    scaled, sign = features / scale, np.where(real, 1.0, -1.0)

    def cost(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (scaled @ weights)
        slope = -sign / (1 + np.exp(np.clip(margin, -50, 50)))
        loss = np.logaddexp(0, -margin).sum() + RIDGE * weights @ weights
        return loss, slope @ scaled + 2 * RIDGE * weights

    weights = minimize(cost, np.zeros(len(scale)), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x / scale
    return eqx.tree_at(lambda each: each.decision, network, jnp.asarray(weights, dtype=network.decision.dtype))


def calibration_error(probability: np.ndarray, real: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error (Naeini et al. 2015, AAAI): the mean of |said - true| over bins."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = [abs(probability[place == each].sum() - real[place == each].sum()) for each in range(bins)]
    return float(np.sum(gaps) / max(len(real), 1))
