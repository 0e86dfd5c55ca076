"""Scores of an image for the pipeline's quality assurance, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10

from casa_ml_tasks.engine.exit_criteria import FINISHED, StopCode
from casa_ml_tasks.pipeline.record import Outcome, Record
from casa_ml_tasks.quantities import quantity

#: The pipeline's own score of a target that tclean could not image.
FAILED = 0.34
#: Of an image whose task ended before it had converged: the pipeline warns from 0.66 down, and sees errors from 0.33.
UNFINISHED, DIVERGED = 0.5, 0.3
#: Noise over thermal noise up to which errors of calibration are not worth a word.
NEGLIGIBLE = 1.01


@dataclass(frozen=True)
class Score:
    """A score and its reason.

    Attributes:
        value: from 0 to 1.
        reason: a sentence.
        summary: in a few words.
        metric: name of what was measured.
        measured: its number, or a word.
        unit: of the number.
    """

    value: float
    reason: str
    summary: str
    metric: str
    measured: float | str
    unit: str = ""


def scores_of(outcome: Outcome) -> list[Score]:
    """Return the scores of one target: of its residual, its convergence and its calibration."""
    what, record = outcome.identity.sentence, outcome.record
    if record is None:
        return [Score(FAILED, f"{what}: {outcome.error}", "Imaging failed", "imaging", "failed")]
    scores = [_of_convergence(what, record), _of_calibration(what, record)]
    return scores if record.residual is None else [_of_residual(what, record, record.residual), *scores]


def falling(ratio: float) -> float:
    """Return 1 up to a ratio of one, 0 from ten on, and 1 - log10(ratio) between."""
    return min(1.0, max(0.0, 1 - log10(max(ratio, 1.0))))


def _of_residual(what: str, record: Record, ratio: float) -> Score:
    """Whether noise is left: the standard deviation of the residual over that of the noise."""
    value = falling(ratio)
    return Score(
        value,
        f"{what}: the residual is {ratio:.2f} times the expected noise of {quantity(record.noise, 'Jy/beam')}, "
        f"its largest pixel {record.largest:+.1f} times",
        "Residual at the noise" if value > 0.9 else "Residual above the noise",
        "residual over noise",
        ratio,
    )


def _of_convergence(what: str, record: Record) -> Score:
    converged = record.stop in FINISHED and not record.problem
    value = 1.0 if converged else DIVERGED if record.stop == StopCode.DIVERGED else UNFINISHED
    because = f"{record.stop.description}; {record.problem}" if record.problem else record.stop.description
    return Score(
        value,
        f"{what}: stopped after {record.cycles} major cycles ({because})",
        "Converged" if converged else "Not converged",
        "stop code",
        float(record.stop),
    )


def _of_calibration(what: str, record: Record) -> Score:
    """Whether errors of calibration, and not thermal noise, limit the image."""
    ratio = record.noise / record.thermal_noise if record.thermal_noise > 0 else 1.0
    negligible = ratio < NEGLIGIBLE
    value, thermal = 1.0 if negligible else falling(ratio), quantity(record.thermal_noise, "Jy/beam")
    if negligible:
        reason = f"no errors of calibration were found above the thermal noise of {thermal}"
    else:
        share = f" ({100 * record.calibration_error:.2g} % of the amplitude)" if record.calibration_error else ""
        reason = (
            f"errors of calibration{share} raise the noise from {thermal} "
            f"to {quantity(record.noise, 'Jy/beam')}; consider self-calibration"
        )
    return Score(
        value,
        f"{what}: {reason}",
        "Thermal noise" if value > 0.9 else "Errors of calibration",
        "noise over thermal noise",
        ratio,
    )
