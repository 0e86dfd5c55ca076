"""When to stop: tclean's criteria, and the convergence that a minor cycle reports itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class StopCode(IntEnum):
    """tclean's stop codes, and two of our own."""

    NONE = 0
    ITERATION_LIMIT = 1
    THRESHOLD = 2
    NO_CHANGE = 4
    DIVERGED = 6
    NSIGMA = 8
    MAJOR_LIMIT = 9
    CONVERGED = 10

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
}

#: tclean's factor between the smallest peak residual reached and the one at which it gives up.
DIVERGENCE = 3.0
#: Relative change of the peak residual that counts as none.
NEGLIGIBLE_CHANGE = 1e-3


@dataclass(frozen=True)
class ExitCriteria:
    """tclean's exit criteria, checked after every major cycle.

    Attributes:
        niter: minor iterations, all cycles together; negative: no limit.
        nmajor: cycles of minor and major together, the first residual not counted; negative: no limit.
        threshold: peak residual, Jy/beam; 0: not used.
        nsigma: peak residual in units of the noise; 0: not used.
        noise: Jy/beam.
    """

    niter: int = -1
    nmajor: int = -1
    threshold: float = 0.0
    nsigma: float = 0.0
    noise: float = 0.0

    def stop(self, iterations: int, cycles: int, peaks: list[float]) -> StopCode:
        """The reason to stop now, or `StopCode.NONE`.

        Args:
            iterations: minor iterations done.
            cycles: minor cycles done, each followed by a major cycle.
            peaks: largest absolute residual after every major cycle, the newest last, Jy/beam.
        """
        if 0 <= self.niter <= iterations:
            return StopCode.ITERATION_LIMIT
        if peaks[-1] < self.threshold:
            return StopCode.THRESHOLD
        if peaks[-1] < self.nsigma * self.noise:
            return StopCode.NSIGMA
        if peaks[-1] > DIVERGENCE * min(peaks):
            return StopCode.DIVERGED
        if len(peaks) > 2 and max(abs(peak - peaks[-1]) for peak in peaks[-3:]) < NEGLIGIBLE_CHANGE * peaks[-1]:
            return StopCode.NO_CHANGE
        if 0 <= self.nmajor <= cycles:
            return StopCode.MAJOR_LIMIT
        return StopCode.NONE
