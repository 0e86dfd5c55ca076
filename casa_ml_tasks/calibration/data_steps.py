"""The data steps of a run that finds images and data in turn."""

from __future__ import annotations

from casa_ml_tasks.calibration.data_model import DataModel, Freedom
from casa_ml_tasks.calibration.data_model_step import DataModelStep
from casa_ml_tasks.calibration.error_step import CalibrationErrorStep, CompareVisibilities
from casa_ml_tasks.engine.alternation import DataStep
from casa_ml_tasks.engine.protocols import HoldsVisibilities, MajorCycle
from casa_ml_tasks.engine.solver import Progress


class DataSteps:
    """What is fitted to the visibilities besides an image, and what it says of the noise.

    A residual above the noise is an error of calibration only where no data model is fitted, which has its own ways to
    explain it.

    Attributes:
        start: where the first round begins.
        errors: the step that compares the residual with the noise.
        may_change: whether an image, however simple, may change what is believed of the visibilities.
    """

    def __init__(
        self,
        major: MajorCycle,
        noise_scale: float,
        freedom: Freedom,
        may_count_errors: bool,
        compare: CompareVisibilities,
        start: Progress,
    ):
        """Take up what a killed run has found, or fit the data model to the first model.

        Args:
            major: makes the images; a data model needs one that holds the visibilities.
            noise_scale: true thermal noise over the noise that WEIGHT claims.
            freedom: what of the data model is fitted.
            may_count_errors: whether a residual may raise the noise.
            compare: compares the visibilities with a model.
            start: what a killed run has left, or a first model.
        """
        visibilities, may_count = major.visibilities, may_count_errors and not freedom
        known = (start.calibration or {}).get(CalibrationErrorStep.name)
        self.errors = CalibrationErrorStep(major, noise_scale, may_count, compare, known)
        self.start = start
        self._data_model: DataModelStep | None = None
        if freedom and isinstance(visibilities, HoldsVisibilities):
            self._data_model = DataModelStep(visibilities, freedom, noise_scale)
            self.start = self._data_model.begin(start)
        self.may_change = visibilities is not None and (may_count or bool(freedom))

    @property
    def in_order(self) -> list[DataStep]:
        """The steps in the order in which they are asked: what can be corrected is no error of calibration."""
        return [self._data_model, self.errors] if self._data_model else [self.errors]

    @property
    def data_model(self) -> DataModel | None:
        """What was fitted besides the image and the noise, if anything was to be."""
        return self._data_model.data_model if self._data_model else None
