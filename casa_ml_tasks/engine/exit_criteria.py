"""When to stop: tclean's criteria, and the convergence that a minor cycle reports itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class StopCode(IntEnum):
    """tclean's stop codes, and those of our own from 10 on."""

    NONE = 0
    ITERATION_LIMIT = 1
    THRESHOLD = 2
    NO_CHANGE = 4
    DIVERGED = 6
    NSIGMA = 8
    MAJOR_LIMIT = 9
    CONVERGED = 10
    UNSETTLED = 11
    INTERRUPTED = 12
    NOT_IMAGED = 13

    @property
    def description(self) -> str:
        """One line for the log and the returned dictionary."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    StopCode.NONE: "has not stopped",
    StopCode.ITERATION_LIMIT: "iteration limit",
    StopCode.THRESHOLD: "threshold",
    StopCode.NO_CHANGE: "no change in peak residual across two major cycles",
    StopCode.DIVERGED: "peak residual increased by more than 3 times from the minimum reached",
    StopCode.NSIGMA: "peak residual below nsigma times the noise",
    StopCode.MAJOR_LIMIT: "reached nmajor",
    StopCode.CONVERGED: "converged: another minor cycle would change nothing",
    StopCode.UNSETTLED: "not converged: more samples would change the mean and its uncertainty",
    StopCode.INTERRUPTED: "interrupted: more minor cycles would fit what is no sky",
    StopCode.NOT_IMAGED: "sources found in a dirty image: nothing was imaged",
}

#: A run that ends so has an image that data may be fitted to; others have not finished theirs, or have lost it.
FINISHED = (StopCode.CONVERGED, StopCode.NO_CHANGE, StopCode.THRESHOLD, StopCode.NSIGMA)
#: tclean's factor between the smallest peak residual reached and the one at which it gives up.
DIVERGENCE = 3.0
#: Relative change of the peak residual that counts as none.
NEGLIGIBLE_CHANGE = 1e-3
#: Relative changes over two major cycles that count as none together: of model flux, and of residual r.m.s. and peak.
NEGLIGIBLE_CHANGE_OF_FLUX, NEGLIGIBLE_CHANGE_OF_RESIDUAL = 1e-3, 0.01
#: Of the noise: a larger residual r.m.s. that two more major cycles have not lowered has other causes than the image.
LARGE_RESIDUAL = 1.15
#: Where the user sets no limit, so that no run goes on for ever.
MOST_MAJOR_CYCLES = 50


class Outcome(Protocol):
    """What the criteria want to know of a major cycle; `engine.solver.CycleRecord` says what its attributes are."""

    @property
    def peak_residual(self) -> float: ...

    @property
    def rms_residual(self) -> float: ...

    @property
    def model_flux(self) -> float: ...


@dataclass(frozen=True)
class ExitCriteria:
    """tclean's exit criteria, checked after every major cycle.

    Attributes:
        niter: minor iterations, all cycles together; negative: no limit.
        nmajor: cycles of minor and major together, the first residual not counted; negative: MOST_MAJOR_CYCLES.
        threshold: peak residual, Jy/beam; 0: not used.
        nsigma: peak residual in units of the noise; 0: not used.
        noise: Jy/beam; 0: not known.
    """

    niter: int = -1
    nmajor: int = -1
    threshold: float = 0.0
    nsigma: float = 0.0
    noise: float = 0.0

    def stop(self, iterations: int, cycles: int, outcomes: Sequence[Outcome]) -> StopCode:
        """The reason to stop now, or `StopCode.NONE`.

        Args:
            iterations: minor iterations done.
            cycles: minor cycles done, each followed by a major cycle.
            outcomes: of every major cycle, the newest last.
        """
        peaks = [each.peak_residual for each in outcomes]
        if 0 <= self.niter <= iterations:
            return StopCode.ITERATION_LIMIT
        if peaks[-1] < self.threshold:
            return StopCode.THRESHOLD
        if peaks[-1] < self.nsigma * self.noise:
            return StopCode.NSIGMA
        if peaks[-1] > DIVERGENCE * min(peaks):
            return StopCode.DIVERGED
        if (len(outcomes) > 2 and _unchanged(outcomes[-3:])) or self.exceeds_noise_for_good(outcomes):
            return StopCode.NO_CHANGE
        if cycles >= (self.nmajor if self.nmajor >= 0 else MOST_MAJOR_CYCLES):
            return StopCode.MAJOR_LIMIT
        return StopCode.NONE

    def exceeds_noise_for_good(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether the r.m.s. of the residual is above the noise, and two more major cycles have not lowered it."""
        residuals = [each.rms_residual for each in outcomes]
        if len(residuals) < 3 or not 0 < LARGE_RESIDUAL * self.noise < residuals[-1]:
            return False
        return min(residuals[-2:]) > (1 - NEGLIGIBLE_CHANGE_OF_RESIDUAL) * min(residuals[:-2])


def _unchanged(outcomes: Sequence[Outcome]) -> bool:
    """Whether the peak residual stays as it is, or the model's flux does and the residual hardly changes."""
    peak, rms, flux = (
        _relative_change([getattr(each, name) for each in outcomes])
        for name in ("peak_residual", "rms_residual", "model_flux")
    )
    if peak < NEGLIGIBLE_CHANGE:
        return True
    return flux < NEGLIGIBLE_CHANGE_OF_FLUX and max(peak, rms) < NEGLIGIBLE_CHANGE_OF_RESIDUAL


def _relative_change(values: Sequence[float]) -> float:
    """The largest difference from the last value, over its modulus; 0 of values that are all zero."""
    difference = max(abs(value - values[-1]) for value in values)
    return difference / abs(values[-1]) if values[-1] else float("inf") if difference else 0.0
