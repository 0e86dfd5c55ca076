"""The data step that fits the data model: noise scales, outliers, and terms of execution blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from casatasks import casalog

from casa_ml_tasks.calibration.data_model import DataModel, Freedom
from casa_ml_tasks.engine.alternation import Verdict, same_model_for_other_data
from casa_ml_tasks.engine.exit_criteria import FINISHED
from casa_ml_tasks.engine.protocols import HoldsVisibilities, Image
from casa_ml_tasks.engine.solver import Numbers, Progress

MOST_FITS = 10
SETTLED_WEIGHTS = 0.01  # relative change of the weights that is none


class DataModelStep:
    """Fits the data model to each image, and images with the visibilities and weights that it gives.

    Attributes:
        data_model: by now.
    """

    name = "data_model"

    def __init__(self, visibilities: HoldsVisibilities, freedom: Freedom, noise_scale: float):
        """Begin with the visibilities and weights as they are.

        Args:
            visibilities: of the major cycle.
            freedom: what is fitted.
            noise_scale: true noise over the noise that WEIGHT claims, of all visibilities together.
        """
        self.data_model = DataModel.none(freedom, visibilities.origins)
        self._visibilities, self._noise_scale = visibilities, noise_scale
        self._weight = visibilities.observed.weight

    def begin(self, start: Progress) -> Progress:
        """Fit to the model of a killed run or of the user, where there is one. Returns where the first round begins."""
        if not start.model.any():
            return start
        self.fit_model(start.model)
        return same_model_for_other_data(start)

    def fit(self, progress: Progress) -> Verdict:
        """Fit to a finished image. Returns CHANGED where its visibilities or weights are others now."""
        if progress.stop not in FINISHED:
            casalog.post(f"the data model is not fitted again: {progress.stop.description}", "WARN", self.name)
            return Verdict.SETTLED
        return self.fit_model(progress.model)

    def fit_model(self, model: Image) -> Verdict:
        """Fit to the visibilities of an image, (1, 1, ny, nx), Jy/pixel. Returns CHANGED if it images with others."""
        before, observed, scale = self.data_model, self._visibilities.observed, self._noise_scale
        predicted = self._visibilities.predicted(model)
        self.data_model = before.fitted(observed, predicted, scale)
        corrected, credence = self.data_model.corrected(observed, predicted, scale)
        weight = corrected.weight * credence
        change = float(np.sum(np.abs(weight - self._weight), dtype=float) / np.sum(self._weight, dtype=float))
        self._log(before, change)
        if change < SETTLED_WEIGHTS and not self.data_model.differs_in_blocks(before):
            return Verdict.SETTLED
        if self.data_model.rounds > MOST_FITS:
            casalog.post(f"the data model still changes after {MOST_FITS} rounds; the last one is used", "WARN")
            return Verdict.SETTLED
        self._weight = weight
        self._visibilities.image_with(replace(corrected, weight=weight), corrected.weight, corrected.weight)
        return Verdict.CHANGED

    def interrupts(self, progress: Progress) -> bool:
        """Return no: the data model is fitted to finished images."""
        return False

    def as_numbers(self) -> Numbers:
        """Return nothing: the model of a killed run tells the data model again."""
        return {}

    def _log(self, before: DataModel, change: float) -> None:
        """Log what was fitted, each round; what could not be, only where the round before has not said so."""
        rounds = self.data_model.rounds
        casalog.post(f"data model, round {rounds}: weights change by {100 * change:.2g} %", "INFO", self.name)
        known = before.failures() if before.rounds else []
        for sentence in (each for each in self.data_model.failures() if each not in known):
            casalog.post(f"data model: {sentence}", "WARN", self.name)
        for name, fact in self.data_model.facts(self._noise_scale).items():
            casalog.post(f"{name}: {fact}", "INFO", self.name)
