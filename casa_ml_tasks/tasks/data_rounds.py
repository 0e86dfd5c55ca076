"""The image and the data model in turn: each round is a whole solution with the data model of the last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from casa_ml_tasks.data.measurement_set import Survey
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.exit_criteria import ExitCriteria, StopCode
from casa_ml_tasks.engine.protocols import Image, MinorCycle, MinorState
from casa_ml_tasks.engine.solver import Checkpoint, Progress, solve
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.major.data_model import DataModel, Freedom
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.residual_visibilities import ResidualStatistics
from casa_ml_tasks.tasks import cycle_choice, outcome

#: The residual is louder than the noise if it is so by more than this factor.
LOUDER = 1.15
#: Beside the image by more than this: the noise of one small image scatters, and a source between pixels has sidelobes.
#: Where a residual has been louder before, the calibration is known to err, and the factor above is enough.
LOUDER_BESIDE = 1.5
LOUDER_RESIDUAL = "what the model leaves"  # has told the noise scale
MOST_LOUDER_ROUNDS = 2  # or what the image lacks, for the noise is too high, would be taken for noise again and again
#: A run that ends so has an image to fit the data model to, and may go on.
GOES_ON = (StopCode.CONVERGED, StopCode.NO_CHANGE, StopCode.THRESHOLD, StopCode.NSIGMA)


class Rounds:
    """Solutions with the same data, each with the noise and the data model that the last has led to.

    Attributes:
        data: the survey, with the noise scale as it is known by now.
        noise: of the images in the round that is due, or in the last, (channel, stokes), Jy/beam.
        unsettled: whether a round is due.
        statistics: of the residual visibilities after the last; None where there are none.
    """

    def __init__(
        self,
        major: CasaMajorCycle,
        workspace: Workspace,
        parameters: Mapping[str, Any],
        data: Survey,
        start: Progress,
    ):
        """start: what a killed run left, or a first model."""
        self.data = data if start.noise_scale is None else with_noise_scale(data, start.noise_scale)
        self.unsettled = True
        self.statistics: ResidualStatistics | None = None
        self._major, self._workspace, self._parameters = major, workspace, parameters
        self._start = begin(major, start, self.noise_scale)
        self.noise = major.noise() * self.noise_scale
        self._done: list[Progress] = []
        self._sketches = 0

    @property
    def noise_scale(self) -> float:
        """Of the round that is due, over what WEIGHT claims."""
        return cycle_choice.noise_scale(self._parameters, self.data)

    def run(self, minor: MinorCycle, criteria: ExitCriteria, checkpoint: Checkpoint) -> None:
        """Solve; then hear what the residual says of the noise, and fit the data model to the image."""
        major, parameters = self._major, self._parameters
        intensity = np.s_[: len(self.noise), :1]
        criteria = left(criteria, self._done[self._sketches :])
        self._done.append(solve(major, minor, criteria, self._start, checkpoint, outcome.log_cycle, intensity))
        last = self._done[-1]
        self.statistics = outcome.residual_statistics(major, last.model, self.data, self._workspace, parameters)
        beside = major.noise_beside(last.model) if isinstance(major, NativeMajorCycle) else None
        heard = with_noise_of_residual(self.data, self.statistics, beside, self.noise, parameters, self._done)
        self.unsettled = heard is not self.data or refit(major, last, self.noise_scale)
        noise_scale = last.noise_scale if heard is self.data else heard.noise_scale
        self._start = replace(again(last), noise_scale=noise_scale)
        self.data = heard
        if self.unsettled:
            self.noise = major.noise() * self.noise_scale

    def another(self) -> None:
        """A round is due, for another minor cycle goes on from the sketches so far, whose major cycles do not count."""
        self.unsettled, self._sketches = True, len(self._done)

    @property
    def progress(self) -> Progress:
        """The last round with the records of all."""
        return joined(self._done)


def data_model(major: CasaMajorCycle) -> DataModel | None:
    """What was fitted to the visibilities besides the image, if anything was to be."""
    return major.data_model if isinstance(major, NativeMajorCycle) else None


def may_tell(major: CasaMajorCycle, parameters: Mapping[str, Any]) -> bool:
    """Whether a first image, however simple, may change what is believed of the data."""
    has_visibilities = isinstance(major, NativeMajorCycle) and parameters["niter"] != 0
    return has_visibilities and (_is_free(parameters) or bool(Freedom.from_parameters(parameters)))


def _is_free(parameters: Mapping[str, Any]) -> bool:
    """Whether a residual may raise the noise."""
    return parameters.get("minorcycle") != "clean" and parameters["noisescale"] == "auto"


def with_noise_of_residual(
    data: Survey,
    statistics: ResidualStatistics | None,
    beside: NDArray[np.floating] | None,
    noise: NDArray[np.floating],
    parameters: Mapping[str, Any],
    rounds: Sequence[Progress],
) -> Survey:
    """The survey with the noise scale of what is left, where that is louder than the noise is.

    Errors of calibration are common to both polarisations and to neighbouring integrations, where the survey has
    looked. An image that explained them would show structure that is not on the sky, so they count as noise. Where
    many visibilities share an error, each may be quiet and their image loud.

    Args:
        data: the survey.
        statistics: of the residual visibilities of the last round; None where there are none.
        beside: noise of the residual beside the image, (channel, stokes), Jy/beam; None where it is not known.
        noise: of the images, (channel, stokes), Jy/beam.
        parameters: of the task; a `noisescale` that is given stays, and a data model has its own ways.
        rounds: so far.
    """
    if (
        not _is_free(parameters)
        or Freedom.from_parameters(parameters)
        or rounds[-1].stop not in GOES_ON
        or len(rounds) > MOST_LOUDER_ROUNDS
    ):
        return data
    factor = residual_over_noise(statistics, rounds[-1].residual, noise)
    least = LOUDER if data.noise_scale_method == LOUDER_RESIDUAL else LOUDER_BESIDE
    if beside is not None and (shared := float(np.median(beside / noise))) > least:
        factor = max(factor, shared)
    if factor < LOUDER:
        return data
    casalog.post(
        f"what the model leaves is {factor:.3g} times louder than the noise of the data, as errors of calibration are: "
        "it is taken for noise, and the image is made again; set noisescale to keep to a noise of yours",
        "WARN",
        "data_rounds",
    )
    return with_noise_scale(data, factor * data.noise_scale)


def with_noise_scale(data: Survey, noise_scale: float) -> Survey:
    """That a residual has told."""
    return replace(data, noise_scale=noise_scale, noise_scale_method=LOUDER_RESIDUAL)


def residual_over_noise(
    statistics: ResidualStatistics | None, residual: Image | None, noise: NDArray[np.floating]
) -> float:
    """How much louder than the noise the residual is: of the visibilities, or else of the image.

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


def refit(major: CasaMajorCycle, progress: Progress, noise_scale: float) -> bool:
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


def begin(major: CasaMajorCycle, progress: Progress, noise_scale: float) -> Progress:
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
    return Progress(progress.model, state=state, noise_scale=progress.noise_scale)


class LaterRound(ExitCriteria):
    """The first residual of a later round is of a model that was found with other weights: no sign of divergence."""

    def stop(self, iterations: int, cycles: int, peaks: list[float]) -> StopCode:
        """As that of `ExitCriteria`."""
        return super().stop(iterations, cycles, peaks[1:] or peaks)


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
