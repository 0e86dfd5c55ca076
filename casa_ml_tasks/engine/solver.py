"""The one loop of every task: major cycles find the residual, minor cycles update the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from casa_ml_tasks.engine.exit_criteria import ExitCriteria, StopCode
from casa_ml_tasks.engine.protocols import Image, MajorCycle, MinorCycle, MinorState

#: What a checkpoint keeps of something that is found besides the image.
Numbers = Mapping[str, float | list[float]]

#: A step whose best length is below this is shortened.
SHORT_STEP = 0.9


@dataclass(frozen=True)
class CycleRecord:
    """What one major cycle found.

    Attributes:
        cycle: 0 for the residual of the first model.
        iterations: minor iterations so far.
        misfit: of every plane, (channel or term, stokes), chi^2 minus the chi^2 of an empty sky, in units of
            sigma^2 Jy/beam^2: -<model, dirty + residual>.
        peak_residual: of all planes, Jy/beam.
        rms_residual: of the planes of total intensity, Jy/beam.
        model_flux: of the planes of total intensity, Jy.
        prediction_error: largest difference from what the minor cycle predicted, Jy/beam; NaN for the first.
        seconds: since the start.
    """

    cycle: int
    iterations: int
    misfit: Sequence[Sequence[float]]
    peak_residual: float
    rms_residual: float
    model_flux: float
    prediction_error: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Everything the loop knows after a step; what a checkpoint holds.

    Attributes:
        model: Jy/pixel, (channel or term, stokes, ny, nx).
        residual: of this model, Jy/beam; None while the major cycle is due.
        dirty: the residual of an empty sky, Jy/beam; None before the first major cycle.
        last_model, last_residual: what the last minor cycle began with; None before the first.
        state: of the minor cycle.
        records: one a major cycle.
        calibration: what each data step has found, by its name, as plain numbers; None where none has found anything.
    """

    model: Image
    residual: Image | None = None
    dirty: Image | None = None
    last_model: Image | None = None
    last_residual: Image | None = None
    state: MinorState = field(default_factory=MinorState)
    records: tuple[CycleRecord, ...] = ()
    stop: StopCode = StopCode.NONE
    calibration: Mapping[str, Numbers] | None = None


class Checkpoint(Protocol):
    """Remembers the progress across a killed process."""

    def save(self, progress: Progress) -> None: ...


def never(progress: Progress) -> bool:
    """Return no: for loops that nothing but their criteria ends."""
    return False


def solve(
    major: MajorCycle,
    minor: MinorCycle,
    criteria: ExitCriteria,
    progress: Progress,
    checkpoint: Checkpoint,
    on_cycle: Callable[[CycleRecord], None] = lambda record: None,
    intensity: tuple[slice, slice] = (slice(None), slice(None)),
    interrupts: Callable[[Progress], bool] = never,
) -> Progress:
    """Alternate major and minor cycles until a criterion is met.

    Each step begins from what the last one saved, so that a run resumed from a checkpoint takes the same steps. A loop
    that diverges returns the model of the smallest peak residual.

    Args:
        progress: a first model, or what a checkpoint held.
        checkpoint: saves after every minor and every major cycle, and within a minor cycle wherever it is unfinished.
        on_cycle: told of every major cycle.
        intensity: channels or terms, and Stokes planes, whose flux and noise the records state; all by default.
        interrupts: asked after every major cycle that no criterion ends the loop after; ends it where it says yes.
    """
    start = time.monotonic() - (progress.records[-1].seconds if progress.records else 0.0)
    best = progress
    while True:
        if progress.residual is None:
            progress = _major_step(major, progress, start, intensity)
            checkpoint.save(progress)
            on_cycle(progress.records[-1])
        if not progress.state.unfinished:
            if best.residual is None or progress.records[-1].peak_residual <= np.abs(best.residual).max():
                best = progress
            stop = criteria.stop(progress.state.iterations, len(progress.records) - 1, progress.records)
            if stop is StopCode.DIVERGED:
                return _back_to(best, progress, stop)
            if stop is not StopCode.NONE:
                return replace(progress, stop=stop)
            if interrupts(progress):
                return replace(progress, stop=StopCode.INTERRUPTED)
        assert progress.residual is not None
        model, state = minor.update(progress.residual, progress.model, progress.state)
        if state.converged:
            return replace(progress, state=state, stop=StopCode.CONVERGED)
        if state.unfinished:
            progress = replace(progress, state=state)
        else:
            before = replace(progress, last_model=progress.model, last_residual=progress.residual)
            progress = replace(before, model=model, residual=None, state=state)
        checkpoint.save(progress)


def _back_to(best: Progress, last: Progress, stop: StopCode) -> Progress:
    """The best model, with the records of all major cycles, and its own once more at the end."""
    record = replace(best.records[-1], cycle=len(last.records), seconds=last.records[-1].seconds)
    return replace(best, stop=stop, records=(*last.records, record))


def _major_step(major: MajorCycle, progress: Progress, start: float, intensity: tuple[slice, slice]) -> Progress:
    dirty = major.residual(np.zeros_like(progress.model)) if progress.dirty is None else progress.dirty
    model = progress.model
    residual = major.residual(model) if model.any() else dirty
    predicted = progress.state.predicted_residual
    prediction_error = float("nan") if predicted is None else float(np.abs(residual - predicted).max())
    if progress.last_model is not None and progress.last_residual is not None and predicted is not None:
        length = step_length(model - progress.last_model, progress.last_residual, residual, predicted)
        if length < SHORT_STEP:
            model = progress.last_model + np.float32(length) * (model - progress.last_model)
            residual = progress.last_residual + np.float32(length) * (residual - progress.last_residual)
    record = CycleRecord(
        cycle=len(progress.records),
        iterations=progress.state.iterations,
        misfit=(-np.sum(model.astype(float) * (dirty + residual), axis=(2, 3))).tolist(),
        peak_residual=float(np.abs(residual).max()),
        rms_residual=float(np.sqrt(np.mean(residual[intensity] ** 2))),
        model_flux=float(model[intensity].sum(dtype=float)),
        prediction_error=prediction_error,
        seconds=time.monotonic() - start,
    )
    return replace(progress, model=model, residual=residual, dirty=dirty, records=(*progress.records, record))


def step_length(change: Image, before: Image, after: Image, predicted: Image) -> float:
    r"""How much of a model change to keep: $\Delta^T \hat H \Delta / \Delta^T H \Delta$, at most 1.

    The minor cycle went to the minimum along its change, where the slope that it began with balances the curvature of
    its operator $\hat H$. The true curvature follows from the residuals at both ends, because they are linear in the
    model. Where $\hat H$ is exact the answer is 1; where it is too small, this keeps the loop from running away, at no
    further major cycle.

    Args:
        change: $\Delta$, new model minus old, Jy/pixel.
        before, after: residuals of the old and the new model, Jy/beam.
        predicted: the residual of the new model as the minor cycle expected it, Jy/beam.
    """
    change = change.astype(float)
    expected_curvature = float(np.vdot(change, before - predicted))
    curvature = float(np.vdot(change, before - after))
    if not curvature > expected_curvature > 0:
        return 1.0
    return expected_curvature / curvature
