"""What a task has found: the dictionary that it returns, and the summary and the sections of its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.report.section import Section

#: Parameters that tclean repeats in what it returns.
CONTROLS = ("niter", "threshold", "nsigma", "cycleniter", "cyclefactor", "minpsffraction", "maxpsffraction", "nmajor")


@dataclass(frozen=True)
class TaskResult:
    """The result of a run, beside its products.

    Attributes:
        stop: why it ended.
        iterations: of all minor cycles together.
        controls: the parameters that tclean repeats in what it returns.
        cycles: one record a major cycle, with `iterations`, `peak_residual` (Jy/beam) and `model_flux` (Jy).
        numbers: what the task returns beside tclean's entries.
        summary: short facts for the top of the report.
        sections: of the report, in their order.
    """

    stop: StopCode
    iterations: int = 0
    controls: Mapping[str, Any] = field(default_factory=dict)
    cycles: Sequence[Mapping[str, float]] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, str] = field(default_factory=dict)
    sections: Sequence[Section] = ()

    def as_dictionary(self) -> dict[str, Any]:
        """tclean's dictionary, and what the task adds."""
        return {
            "stopcode": int(self.stop),
            "stopDescription": self.stop.description,
            "iterdone": self.iterations,
            "nmajordone": len(self.cycles),
            **self.controls,
            "summarymajor": np.array([cycle["iterations"] for cycle in self.cycles], int),
            "summaryminor": {0: {0: {0: self._minor_summary()}}},
            **self.numbers,
        }

    def _minor_summary(self) -> dict[str, list[float]]:
        """tclean's columns, one entry a minor cycle."""
        return {
            "iterDone": np.diff([cycle["iterations"] for cycle in self.cycles]).tolist(),
            "startPeakRes": [cycle["peak_residual"] for cycle in self.cycles[:-1]],
            "peakRes": [cycle["peak_residual"] for cycle in self.cycles[1:]],
            "startModelFlux": [cycle["model_flux"] for cycle in self.cycles[:-1]],
            "modelFlux": [cycle["model_flux"] for cycle in self.cycles[1:]],
        }
