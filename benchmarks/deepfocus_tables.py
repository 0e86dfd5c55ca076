"""The tables of `benchmarks.deepfocus`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.deepfocus_own import LINE_BINS, OwnCounts
from benchmarks.deepfocus_scores import BINS, ELONGATED, FAINTEST, WITHIN_ANGLE, WITHIN_FLUX, Scores
from casa_ml_tasks.sources.line_scores import calibration_error

DETECTION = (
    "method",
    "complete",
    ">= 12",
    *(f"{low:g}-{high:g}" for low, high in BINS[:-1]),
    ">= 30",
    "centred, >= 6",
    "detections",
    "unmatched",
    "spurious",
    "published",
    "cpu s a cube",
)
CHARACTER = ("method", "flux, S/N >= 12", "flux, S/N >= 6", "pull", "angle")
EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
CALIBRATION = ("said / true", "number", *(f"{low:g}-{high:g}" for low, high in pairwise(EDGES)), "calibration error")
LINES = ("lines, S/N 4-6", "S/N >= 6", "lines found", "spurious")


def best(of: dict[float, Scores]) -> tuple[float, Scores]:
    """Return the growth of the boxes with the highest completeness, and its scores."""
    return max(of.items(), key=lambda item: item[1].share("complete"))


def detection_rows(scores: dict[str, dict[float, Scores]]) -> Iterator[list[str]]:
    """Rows of completeness and reliability."""
    for name, of in scores.items():
        growth, each = best(of)
        count = max(each.found, 1)
        yield [
            name if len(of) == 1 else f"{name}, boxes x {growth:g}",
            *(f"{each.share('complete', *limits):.2f}" for limits in ((FAINTEST, np.inf), (12.0, np.inf), *BINS)),
            f"{each.share('centred', 6.0):.3f}",
            str(each.found),
            f"{np.concatenate(each.unmatched).mean() if each.found else 0:.3f}",
            f"{np.concatenate(each.spurious).sum() if each.found else 0}",
            f"{each.excess / count:.4f}",
            f"{each.seconds / each.planes:.2f}",
        ]


def character_rows(scores: dict[str, dict[float, Scores]]) -> Iterator[list[str]]:
    """Rows of fluxes and angles, of the methods that have them."""
    for name, of in scores.items():
        each = of[1.0]
        if not each.matches:
            continue
        bright, every = each.of_matches(12.0), each.of_matches(6.0)
        long = bright[bright[:, 3] < ELONGATED]
        yield [
            name,
            *(f"{_share(np.abs(rows[:, 0]) < WITHIN_FLUX)}" for rows in (bright, every)),
            f"{1.4826 * np.median(np.abs(every[:, 1])) if len(every) else np.nan:.2f}",
            _share(long[:, 2] < WITHIN_ANGLE),
        ]


def calibration_rows(counts: OwnCounts, scores: Scores) -> Iterator[list[str]]:
    """Rows of probabilities: said, true, and the expected calibration error."""
    sets = {
        "candidates of the first look": (np.concatenate(counts.said), np.concatenate(counts.real)),
        "sources of the catalogue": (np.concatenate(scores.probability), ~np.concatenate(scores.spurious)),
    }
    for name, (said, real) in sets.items():
        parts = []
        for low, high in pairwise(EDGES):
            inside = (said >= low) & ((said < high) | (high == 1))
            parts.append(f"{said[inside].mean():.2f} / {real[inside].mean():.2f}" if inside.any() else "")
        yield [name, str(len(said)), *parts, f"{calibration_error(said, real):.3f}"]


def line_row(counts: OwnCounts) -> list[str]:
    """Completeness of lines by S/N, lines found, and which of them are spurious."""
    snr, complete = np.array(counts.line_snr), np.array(counts.line_complete, bool)
    shares = [_share(complete[(snr >= low) & (snr < high)]) for low, high in LINE_BINS]
    return [*shares, str(len(counts.line_spurious)), _share(np.array(counts.line_spurious, bool))]


def _share(hits: NDArray[np.bool_]) -> str:
    return f"{hits.mean():.3f}" if hits.size else ""
