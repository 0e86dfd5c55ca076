"""The data step that compares the flux scales of data sets with each image, and corrects them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.calibration.flux_scale import FluxScales
from casa_ml_tasks.engine.alternation import Verdict
from casa_ml_tasks.engine.exit_criteria import FINISHED
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.engine.solver import Numbers, Progress
from casa_ml_tasks.quantities import with_error

MOST_FITS = 10

Factors = NDArray[np.floating]


class FluxScaleStep:
    """Fits the flux scales of data sets to each image, and images with data that are divided by them.

    Attributes:
        factors: what the data are divided by now, (set,).
        scales: of the data as observed, at the last fit; None before.
    """

    name = "flux_scale"

    def __init__(
        self,
        names: Sequence[str],
        compare: Callable[[Image], FluxScales],
        divide: Callable[[Factors], None],
        known: Numbers | None = None,
    ):
        """Begin with the data as observed, or with the factors of a killed run.

        Args:
            names: of the data sets.
            compare: gives the scales of the data as they are divided now, by a model.
            divide: images with the data as observed over these factors from now on.
            known: what `as_numbers` gave in a killed run.
        """
        self.factors: Factors = np.ones(len(names))
        self.scales: FluxScales | None = None
        self._compare, self._divide, self._fits = compare, divide, 0
        if known:
            self.factors = np.array(known["factors"])
            divide(self.factors)

    def fit(self, progress: Progress) -> Verdict:
        """Fit to a finished image. Returns CHANGED where its data are divided by other factors now."""
        if progress.stop not in FINISHED:
            casalog.post(f"the flux scales are not fitted again: {progress.stop.description}", "WARN", self.name)
            return Verdict.SETTLED
        self._fits += 1
        found = self._compare(progress.model)
        self.scales = found.after(self.factors)
        for each in self.scales.scales:
            if each.error > 0:
                said = f"{each.name}: flux scale {with_error(each.factor, each.error)}"
                casalog.post(said, "INFO", self.name)
        if found.settled():
            return Verdict.SETTLED
        if self._fits > MOST_FITS:
            casalog.post(f"the flux scales still change after {MOST_FITS} rounds; the last ones are used", "WARN")
            return Verdict.SETTLED
        self.factors = self.scales.factors
        self._divide(self.factors)
        return Verdict.CHANGED

    def interrupts(self, progress: Progress) -> bool:
        """Return False: only a finished image tells the scales."""
        return False

    def as_numbers(self) -> Numbers:
        """Return what the data are divided by."""
        return {"factors": self.factors.tolist()}
