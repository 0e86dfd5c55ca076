"""One pass over the selected visibilities: what there is of them, whether it can be imaged, and how noisy it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from zlib import crc32

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.calibration.noise_scale import (
    NoiseScale,
    ScaleSource,
    Thinned,
    neighbouring_integrations,
    normalised_differences,
    smallest,
)
from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.data.measurement_set import SPEED_OF_LIGHT, Block, Selection, blocks, samples, windows
from casa_ml_tasks.quantities import casa_angle
from casa_ml_tasks.request.grid import ImageGrid

UNLIKE = 1.5  # ratio of the noise scales of two Measurement Sets that is worth a warning


@dataclass(frozen=True)
class Survey:
    """What one pass over the selected visibilities found, all Measurement Sets together."""

    visibilities: int  # samples: selected, unflagged, of positive weight
    flagged_fraction: float  # share of the selected samples lost to FLAG, FLAG_ROW or zero weight
    longest_baseline: float  # wavelengths
    highest_frequency: float  # Hz
    noise_scale: float  # true sigma / nominal sigma
    noise_scale_method: str  # the differences it was measured from
    sum_of_weights: float  # nominal, Jy^-2
    weighted_power: float  # sum of weight * |V|^2, dimensionless: chi^2 of an empty sky
    digest: int = 0  # of the samples, their weights and baselines


@dataclass(frozen=True)
class _Findings:
    """What one Block, or one Measurement Set, adds to the Survey."""

    samples: int = 0
    used: int = 0
    not_finite: int = 0
    bad_weights: int = 0
    unflagged: int = 0
    longest_baseline: float = 0.0
    highest_frequency: float = 0.0
    sum_of_weights: float = 0.0
    weighted_power: float = 0.0
    digest: int = 0

    def __add__(self, other: _Findings) -> _Findings:
        def combine(name: str) -> Any:
            mine, theirs = getattr(self, name), getattr(other, name)
            return max(mine, theirs) if name in ("longest_baseline", "highest_frequency") else mine + theirs

        return _Findings(**{each.name: combine(each.name) for each in fields(self)})


def survey(selections: Sequence[Selection], progress: bool = False, channels: ImageChannels | None = None) -> Survey:
    """Pass once over all selected visibilities: check them, count them, and measure their noise.

    A task calls this once a run, so what a user should know of the data is posted to the CASA log here. The noise scale
    of several Measurement Sets is the one that makes the chi^2 of all noise together right.

    Args:
        selections: of the Measurement Sets.
        progress: show a progress bar.
        channels: of a cube; visibilities that lie outside are not counted, and the log says how many.

    Raises:
        ValueError: a selection selects nothing, or nothing in these channels; everything is flagged, all weights are
            zero, or unflagged visibilities or weights are not finite.
    """
    _warn_of_columns(selections)
    if channels is not None:
        selections = _within(selections, channels)
    found, scales = zip(*(_survey_one(selection, progress, channels) for selection in selections), strict=True)
    total = sum(found, _Findings())
    used = np.array([each.used for each in found])
    _warn_of_noise_scales(selections, scales)
    return Survey(
        visibilities=total.used,
        flagged_fraction=1 - total.used / total.samples,
        longest_baseline=total.longest_baseline,
        highest_frequency=total.highest_frequency,
        noise_scale=float(np.sqrt(np.average([scale.value**2 for scale in scales], weights=used))),
        noise_scale_method=" and ".join(sorted({scale.source for scale in scales})),
        sum_of_weights=total.sum_of_weights,
        weighted_power=total.weighted_power,
        digest=total.digest,
    )


def check_survey(survey: Survey, grid: ImageGrid) -> None:
    """Warn in the CASA log where there are fewer than two pixels to the fringe of the longest baseline."""
    cell = max(grid.cells)
    fringe = 1 / survey.longest_baseline / arcsecond
    if fringe / cell < 2:
        kilometres = survey.longest_baseline * SPEED_OF_LIGHT / survey.highest_frequency / 1e3
        casalog.post(
            f"cell='{casa_angle(cell)}' samples the longest baseline ({kilometres:.3g} km at "
            f"{survey.highest_frequency / 1e9:.4g} GHz) with {fringe / cell:.2g} pixels a fringe; "
            f"use at most {casa_angle(fringe / 3, 2)}",
            "WARN",
            "check_survey",
        )


def _survey_one(selection: Selection, progress: bool, channels: ImageChannels | None) -> tuple[_Findings, NoiseScale]:
    hands, neighbours = Thinned(), Thinned()
    found = _Findings()
    for block in blocks(selection, progress, channels):
        visibility, weight, good = samples(block)
        usable = (weight > 0) & np.isfinite(weight) & np.isfinite(visibility)
        found += _findings(block, visibility, weight, usable)
        hands.add(_between_hands(block, usable & good.all(axis=0)))
        neighbours.add(_between_neighbours(block, visibility, good, usable))
    _check_findings(selection, found)
    return found, smallest(hands.values, neighbours.values)


def _findings(
    block: Block,
    visibility: NDArray[np.complexfloating],
    weight: NDArray[np.floating],
    usable: NDArray[np.bool_],
) -> _Findings:
    visibility, weight = visibility[usable], weight[usable]
    wavelengths = np.outer(block.frequency / SPEED_OF_LIGHT, np.hypot(*block.uvw[:2]))
    unflagged = ~(block.flag | block.flagged)
    bad_weight = ((~np.isfinite(block.weight) | (block.weight < 0)) & unflagged).any(axis=0)
    not_finite = (~np.isfinite(block.visibility) & (block.weight > 0) & unflagged).any(axis=0)
    return _Findings(
        samples=usable.size,
        unflagged=int(np.count_nonzero(~block.flagged)),
        used=visibility.size,
        not_finite=int(np.count_nonzero(not_finite)),
        bad_weights=int(np.count_nonzero(bad_weight)),
        longest_baseline=float(wavelengths[usable].max(initial=0)),
        highest_frequency=float(block.frequency[usable.any(axis=1)].max(initial=0)),
        sum_of_weights=float(weight.sum()),
        weighted_power=float(np.sum(weight * np.abs(visibility) ** 2)),
        digest=_digest(visibility, weight, wavelengths[usable]),
    )


def _digest(*arrays: NDArray[Any]) -> int:
    """Return a number that other visibilities do not have; those of several Blocks are added."""
    value = 0
    for array in arrays:
        value = crc32(array.tobytes(), value)
    return value


def _between_hands(block: Block, both: NDArray[np.bool_]) -> NDArray[np.float64]:
    if len(block.visibility) < 2:
        return np.empty(0)
    (first, second), (first_weight, second_weight) = block.visibility[:, both], block.weight[:, both]
    return normalised_differences(first, second, 1 / first_weight, 1 / second_weight)


def _between_neighbours(
    block: Block, visibility: NDArray[np.complexfloating], good: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return normalised differences of neighbours that have the same hands: those of a polarised source differ."""
    earlier, later = neighbouring_integrations(block.streams, block.time)
    both = usable[:, earlier] & usable[:, later] & (good[..., earlier] == good[..., later]).all(axis=0)
    count = np.maximum(np.count_nonzero(good, axis=0), 1)
    variance = np.sum(good / np.where(good, block.weight, 1), axis=0) / count**2
    return normalised_differences(
        visibility[:, earlier][both], visibility[:, later][both], variance[:, earlier][both], variance[:, later][both]
    )


def _check_findings(selection: Selection, found: _Findings) -> None:
    vis = f"vis='{selection.vis}'"
    if found.samples == 0:
        raise ValueError(f"{vis} holds only autocorrelations in this selection; select cross-correlations")
    if found.unflagged == 0:
        raise ValueError(f"{vis} {_why_flagged(selection)}")
    if found.bad_weights:
        raise ValueError(
            f"{vis} holds {found.bad_weights} unflagged visibilities with infinite, NaN or negative WEIGHT; "
            "flag them with flagdata, or set the weights anew with statwt or initweights"
        )
    if found.not_finite:
        raise ValueError(
            f"{vis} holds {found.not_finite} unflagged visibilities that are NaN or infinite; "
            "flag them with flagdata(mode='clip')"
        )
    if found.used == 0:
        raise ValueError(
            f"{vis} has no unflagged visibility with WEIGHT > 0; set the weights with initweights or statwt"
        )


def _warn_of_columns(selections: Sequence[Selection]) -> None:
    for selection in selections:
        if selection.fallback:
            casalog.post(f"vis='{selection.vis}' has no CORRECTED_DATA; its DATA are read instead", "WARN")


def _why_flagged(selection: Selection) -> str:
    """Return what makes all samples flagged, and the remedy."""
    if selection.imager == "casa" and _has_unflagged(replace(selection, imager="native")):
        return (
            "has a flagged correlation in every sample of this selection, and CASA's imager drops such samples; use "
            "gridder='native', which images parallel hands whatever the flags of the others"
        )
    if selection.stokes != "pseudoI" and _has_unflagged(replace(selection, stokes="pseudoI")):
        return (
            f"has one polarisation flagged throughout this selection, and stokes='{selection.stokes}' needs it; use "
            "stokes='pseudoI', which images the other"
        )
    return "is entirely flagged in this selection; select other data or restore its flags"


def _has_unflagged(selection: Selection) -> bool:
    return any(not block.flagged.all() for block in blocks(selection))


def _within(selections: Sequence[Selection], channels: ImageChannels) -> list[Selection]:
    """Return the selections with data in the channels, and log how many visibilities lie outside."""
    found = [windows(selection) for selection in selections]
    total = sum(each.rows * each.frequency.size for listed in found for each in listed)
    inside = [
        sum(each.rows * int(np.count_nonzero(channels.of(each.frequency) >= 0)) for each in listed) for listed in found
    ]
    extent = f"{channels.edges[0] / 1e9:.7g} to {channels.edges[-1] / 1e9:.7g} GHz"
    if not any(inside):
        raise ValueError(
            f"no selected channel of the data lies in those of the image, {extent}; change start, width or nchan, or "
            "select other data with spw"
        )
    if outside := total - sum(inside):
        casalog.post(f"{outside} of {total} visibilities lie outside the image's channels, {extent}: left out")
    return [selection for selection, count in zip(selections, inside, strict=True) if count]


def _warn_of_noise_scales(selections: Sequence[Selection], scales: Sequence[NoiseScale]) -> None:
    for selection, scale in zip(selections, scales, strict=True):
        if scale.source is ScaleSource.WEIGHT:
            casalog.post(
                f"vis='{selection.vis}' has neither two parallel hands nor neighbouring integrations to measure its "
                "noise from; WEIGHT is taken as it is, and noisescale can be given by hand",
                "WARN",
            )
    if max(scale.value for scale in scales) > UNLIKE * min(scale.value for scale in scales):
        listed = ", ".join(f"{each.vis}: {scale.value:.3g}" for each, scale in zip(selections, scales, strict=True))
        casalog.post(
            f"the Measurement Sets differ in their noise scale ({listed}), so one of them outweighs the others; "
            "rescale their weights with statwt",
            "WARN",
        )
