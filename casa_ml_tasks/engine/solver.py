"""The one loop of every task: major cycles find the residual, minor cycles update the model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from casa_ml_tasks.engine.exit_criteria import ExitCriteria, StopCode
from casa_ml_tasks.engine.protocols import Image, MajorCycle, MinorCycle, MinorState


@dataclass(frozen=True)
class CycleRecord:
    """What one major cycle found.

    Attributes:
        cycle: 0 for the residual of the first model.
        iterations: minor iterations so far.
        misfit: chi^2 minus the chi^2 of an empty sky, in units of sigma^2 Jy/beam^2: -<model, dirty + residual>.
        peak_residual, rms_residual: Jy/beam.
        model_flux: Jy.
        prediction_error: largest difference from the residual that the minor cycle predicted, Jy/beam; NaN for the first.
        seconds: since the start.
    """

    cycle: int
    iterations: int
    misfit: float
    peak_residual: float
    rms_residual: float
    model_flux: float
    prediction_error: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Everything the loop knows after a step; what a checkpoint holds.

    Attributes:
        model: Jy/pixel, (1, 1, ny, nx).
        residual: of this model, Jy/beam; None while the major cycle is due.
        dirty: the residual of an empty sky, Jy/beam; None before the first major cycle.
        state: of the minor cycle.
        records: one a major cycle.
    """

    model: Image
    residual: Image | None = None
    dirty: Image | None = None
    state: MinorState = field(default_factory=MinorState)
    records: tuple[CycleRecord, ...] = ()
    stop: StopCode = StopCode.NONE


class Checkpoint(Protocol):
    """Remembers the progress across a killed process."""

    def save(self, progress: Progress) -> None: ...


def solve(
    major: MajorCycle,
    minor: MinorCycle,
    criteria: ExitCriteria,
    progress: Progress,
    checkpoint: Checkpoint,
    on_cycle: Callable[[CycleRecord], None] = lambda record: None,
) -> Progress:
    """Alternate major and minor cycles until a criterion is met.

    Each step begins from what the last one saved, so that a run resumed from a checkpoint takes the same steps.

    Args:
        progress: a first model, or what a checkpoint held.
        checkpoint: saves after every minor and every major cycle.
        on_cycle: told of every major cycle.
    """
    start = time.monotonic() - (progress.records[-1].seconds if progress.records else 0.0)
    while True:
        if progress.residual is None:
            progress = _major_step(major, progress, start)
            checkpoint.save(progress)
            on_cycle(progress.records[-1])
        cycles = len(progress.records) - 1
        peaks = [record.peak_residual for record in progress.records]
        stop = criteria.stop(progress.state.iterations, cycles, peaks)
        if stop is not StopCode.NONE:
            return replace(progress, stop=stop)
        assert progress.residual is not None
        model, state = minor.update(progress.residual, progress.model, progress.state)
        if state.converged:
            return replace(progress, state=state, stop=StopCode.CONVERGED)
        progress = replace(progress, model=model, state=state, residual=None)
        checkpoint.save(progress)


def _major_step(major: MajorCycle, progress: Progress, start: float) -> Progress:
    dirty = major.residual(np.zeros_like(progress.model)) if progress.dirty is None else progress.dirty
    residual = major.residual(progress.model) if progress.model.any() else dirty
    predicted = progress.state.predicted_residual
    record = CycleRecord(
        cycle=len(progress.records),
        iterations=progress.state.iterations,
        misfit=-float(np.vdot(progress.model.astype(float), dirty + residual)),
        peak_residual=float(np.abs(residual).max()),
        rms_residual=float(np.sqrt(np.mean(residual**2))),
        model_flux=float(progress.model.sum(dtype=float)),
        prediction_error=float("nan") if predicted is None else float(np.abs(residual - predicted).max()),
        seconds=time.monotonic() - start,
    )
    return replace(progress, residual=residual, dirty=dirty, records=(*progress.records, record))

