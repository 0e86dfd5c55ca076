"""The image and the data model in turn: each round is a whole solution with the data model of the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.measurement_set import Survey
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.exit_criteria import ExitCriteria, Outcome, StopCode
from casa_ml_tasks.engine.protocols import Image, MajorCycle, MinorCycle, MinorState
from casa_ml_tasks.engine.solver import Checkpoint, Progress, solve
from casa_ml_tasks.major.calibration_errors import CalibrationErrors
from casa_ml_tasks.major.data_model import DataModel, Freedom
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.residual_visibilities import ResidualStatistics
from casa_ml_tasks.tasks import cycle_choice, outcome
from casa_ml_tasks.tasks.warnings_at_end import Ending

#: The residual exceeds the noise if it does so by this factor.
EXCESS = 1.15
#: Beside the image by this one: the noise of a small image scatters. Where errors of calibration are known already, the
#: factor above is enough.
EXCESS_BESIDE = 1.5
MOST_ROUNDS_OF_ERRORS = 3  # or what the image lacks would be taken for errors again and again
#: A run that ends so has an image to fit the data model to, and may go on.
GOES_ON = (StopCode.CONVERGED, StopCode.NO_CHANGE, StopCode.THRESHOLD, StopCode.NSIGMA)


class Rounds:
    """Solutions with the same data, each with the noise and the data model that the last has led to.

    Attributes:
        data: the survey, with the scale of the thermal noise.
        calibration: errors of calibration as they are known by now.
        noise: of the images in the round that is due, or in the last, with errors of calibration, (channel, stokes),
            Jy/beam.
        unsettled: whether a round is due.
        statistics: of the residual visibilities after the last; None where there are none.
        beside: r.m.s. of the residual in the field next to the image after the last, (channel, stokes), Jy/beam; None
            where the major cycle does not hold the visibilities.
    """

    def __init__(
        self,
        major: MajorCycle,
        workspace: Workspace,
        parameters: Mapping[str, Any],
        data: Survey,
        start: Progress,
    ):
        """start: what a killed run left, or a first model."""
        self.data = data
        self.noise_scale = cycle_choice.noise_scale(parameters, data)
        self.calibration = CalibrationErrors.from_numbers(start.calibration)
        self.unsettled = True
        self.statistics: ResidualStatistics | None = None
        self.beside: NDArray[np.floating] | None = None
        self._major, self._workspace, self._parameters = major, workspace, parameters
        if self.calibration and isinstance(major, NativeMajorCycle):
            major.count_errors(self.calibration, self.noise_scale)
        self._start = begin(major, start, self.noise_scale)
        self.noise = self._image_noise()
        self._done: list[Progress] = []
        self._sketches = 0

    @property
    def image_noise(self) -> outcome.ImageNoise:
        """The noise of the last round, and its two causes."""
        return outcome.ImageNoise(self.noise, self._major.thermal_noise() * self.noise_scale, self.calibration)

    def _image_noise(self) -> NDArray[np.floating]:
        return self._major.noise() * self.noise_scale * self.calibration.factor

    def run(self, minor: MinorCycle, criteria: ExitCriteria, checkpoint: Checkpoint) -> None:
        """Solve; then see what the residual tells of errors of calibration, and fit the data model to the image."""
        major, intensity = self._major, np.s_[: len(self.noise), :1]
        criteria = left(criteria, self._done[self._sketches :])
        self._done.append(solve(major, minor, criteria, self._start, checkpoint, outcome.log_cycle, intensity))
        last = self._done[-1]
        scale = self.noise_scale * self.calibration.factor
        self.statistics = outcome.residual_statistics(
            major, last.model, scale, self.data.visibilities, self._workspace, self._parameters
        )
        self.beside = major.noise_beside(last.model) if isinstance(major, NativeMajorCycle) else None
        self.unsettled = self._found_errors() or refit(major, last, self.noise_scale)
        numbers = self.calibration.as_numbers() if self.calibration else None
        self._start = replace(again(last), calibration=numbers)
        if self.unsettled:
            self.noise = self._image_noise()

    def _found_errors(self) -> bool:
        """Whether the residual exceeds the noise, so that errors of calibration are counted from now on."""
        last, major = self._done[-1], self._major
        if not may_have_errors(self._parameters, last.stop, len(self._done)):
            return False
        factor = residual_over_noise(self.statistics, last.residual, self.noise)
        seen = np.isfinite(self.noise)
        beside = 1.0 if self.beside is None else float(np.median(self.beside[seen] / self.noise[seen]))
        if factor < EXCESS and beside < (EXCESS if self.calibration else EXCESS_BESIDE):
            return False
        if isinstance(major, NativeMajorCycle) and self.beside is not None:
            errors = major.calibration_errors(last.model, self.noise_scale, self.beside)
            if not errors:
                return False
            major.count_errors(errors, self.noise_scale)
        else:
            errors = CalibrationErrors.of_image(factor * self.calibration.factor)
        self.calibration = errors
        casalog.post(
            f"The residual is {max(factor, beside):.3g} times the noise. Errors of calibration are counted from now on"
            f"{_named(errors)}, and the image is made again.",
            "INFO",
            "data_rounds",
        )
        return True

    def ending(self, progress: Progress, noise: outcome.ImageNoise, workspace: Workspace) -> Ending:
        """How the run ended, for its warnings; the products are in their places.

        progress: of the main field; noise: `image_noise`, while the major cycle was open.
        """
        return Ending(
            progress,
            noise.of_planes,
            noise.thermal,
            noise.calibration,
            self.beside,
            self.statistics,
            read_image(workspace.product("pb")),
            cycle_choice.beam_areas(workspace),
        )

    def another(self) -> None:
        """A round is due, for another minor cycle goes on from the sketches so far, whose major cycles do not count."""
        self.unsettled, self._sketches = True, len(self._done)

    @property
    def progress(self) -> Progress:
        """The last round with the records of all."""
        return joined(self._done)


def data_model(major: MajorCycle) -> DataModel | None:
    """What was fitted to the visibilities besides the image, if anything was to be."""
    return major.data_model if isinstance(major, NativeMajorCycle) else None


def may_tell(major: MajorCycle, parameters: Mapping[str, Any]) -> bool:
    """Whether a first image, however simple, may change what is believed of the data."""
    has_visibilities = isinstance(major, NativeMajorCycle) and parameters["niter"] != 0
    return has_visibilities and (_is_free(parameters) or bool(Freedom.from_parameters(parameters)))


def _is_free(parameters: Mapping[str, Any]) -> bool:
    """Whether a residual may raise the noise."""
    return parameters.get("minorcycle") != "clean" and parameters["noisescale"] == "auto"


def may_have_errors(parameters: Mapping[str, Any], stop: StopCode, rounds: int) -> bool:
    """Whether a residual that exceeds the noise is taken for errors of calibration.

    These are common to both polarisations and to neighbouring integrations, so the survey has not seen them. An image
    that explained them would show structure that is not on the sky.

    Args:
        parameters: of the task; a `noisescale` that is given is all the noise, and a data model has its own ways.
        stop: how the last round ended. An image that is not finished leaves more than the noise; one that diverged
            may have done so because it followed the errors.
        rounds: so far.
    """
    free = _is_free(parameters) and not Freedom.from_parameters(parameters)
    return free and stop in (*GOES_ON, StopCode.DIVERGED) and rounds <= MOST_ROUNDS_OF_ERRORS


def _named(errors: CalibrationErrors) -> str:
    """How large errors of calibration are, in words for the log."""
    return f" ({100 * errors.fraction:.2g} % of the visibilities)" if errors.fraction else ""


def residual_over_noise(
    statistics: ResidualStatistics | None, residual: Image | None, noise: NDArray[np.floating]
) -> float:
    """The residual over the noise: of the visibilities, or else of the image.

    Medians, which do not mind what an image cannot hold: the flux of the shortest baselines, or a few pixels.

    Args:
        statistics: of the residual visibilities.
        residual: (channel or term, stokes, ny, nx), Jy/beam, zero where there is no data.
        noise: (channel or 1, stokes), Jy/beam.
    """
    if statistics is not None:
        return float(np.sqrt(np.median(statistics.reduced_chi2)))
    if residual is None:
        return 1.0
    in_noise = residual[: len(noise)] / noise[..., None, None]
    imaged = in_noise[np.isfinite(in_noise) & (in_noise != 0)]
    return float(median_abs_deviation(imaged, scale="normal")) if imaged.size else 1.0


def refit(major: MajorCycle, progress: Progress, noise_scale: float) -> bool:
    """Fit the data model to the image where there is one. Returns whether the image has to be found anew.

    Args:
        major: with the visibilities.
        progress: how the last round ended.
        noise_scale: true noise over the noise that WEIGHT claims, of all visibilities together.
    """
    if not isinstance(major, NativeMajorCycle) or major.data_model is None:
        return False
    if progress.stop not in GOES_ON:
        casalog.post(f"the data model is not fitted again: {progress.stop.description}", "WARN", "data_rounds")
        return False
    return major.refit(progress.model, noise_scale)


def begin(major: MajorCycle, progress: Progress, noise_scale: float) -> Progress:
    """Where the first round begins: from a model, of a killed run or the user's, with the data model that follows."""
    if not isinstance(major, NativeMajorCycle) or major.data_model is None:
        return progress
    if not progress.model.any():
        return progress
    major.refit(progress.model, noise_scale)
    return again(progress)


def again(progress: Progress) -> Progress:
    """The same model before other data: all that depends on them is forgotten, the minor iterations are not."""
    state = MinorState(progress.state.iterations, latent=progress.state.latent)
    return Progress(progress.model, state=state, calibration=progress.calibration)


class LaterRound(ExitCriteria):
    """The first residual of a later round is of a model that was found with other weights: no sign of divergence."""

    def stop(self, iterations: int, cycles: int, outcomes: Sequence[Outcome]) -> StopCode:
        """As that of `ExitCriteria`."""
        return super().stop(iterations, cycles, outcomes[1:] or outcomes)


def left(criteria: ExitCriteria, rounds: Sequence[Progress]) -> ExitCriteria:
    """The criteria of the next round, with the major cycles of those before subtracted from `nmajor`."""
    if not rounds:
        return criteria
    done = sum(len(each.records) for each in rounds)
    nmajor = criteria.nmajor if criteria.nmajor < 0 else max(criteria.nmajor - done, 0)
    return LaterRound(**{**asdict(criteria), "nmajor": nmajor})


def joined(rounds: Sequence[Progress]) -> Progress:
    """The last round with the records of all, as those of one run."""
    records = list(rounds[0].records)
    for each in rounds[1:]:
        count, seconds = len(records), records[-1].seconds
        records += [
            replace(record, cycle=count + number, seconds=seconds + record.seconds)
            for number, record in enumerate(each.records)
        ]
    return replace(rounds[-1], records=tuple(records))
