"""What tasks that image in major and minor cycles have in common, between the run shell and their families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np

from casa_ml_tasks.calibration.data_model import DataModel
from casa_ml_tasks.calibration.data_steps import DataSteps
from casa_ml_tasks.calibration.image_noise import ImageNoise
from casa_ml_tasks.calibration.residual_statistics import residual_statistics
from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics
from casa_ml_tasks.calibration.survey import Survey, check_survey, survey
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.data.stokes import check_stokes
from casa_ml_tasks.data.tracking import check_tracking
from casa_ml_tasks.data.workspace import Product, Workspace
from casa_ml_tasks.engine.alternation import Alternation
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Image, MajorCycle, MinorCycle
from casa_ml_tasks.engine.solver import Checkpoint, Progress, never, solve
from casa_ml_tasks.kernels.cuda.device import check_gpu
from casa_ml_tasks.major.cube_channels import check_channels, image_channels
from casa_ml_tasks.request.products import check_outputs
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks.ending import Ending
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.first_model import first_progress
from casa_ml_tasks.tasks.log_lines import log_cycle, log_data
from casa_ml_tasks.tasks.major_cycles import beam_areas, check_image, main_field, opened
from casa_ml_tasks.tasks.second_reading import second_reading

MODEL = Product("model", is_rewritten=True)
#: What major cycles and the restoration leave; alpha and beta are of the spectrum, from Taylor terms.
IMAGES = (
    Product("residual", is_rewritten=True),
    *(Product(name) for name in ("psf", "pb", "weight", "sumwt")),
    *(Product(name, is_rewritten=True) for name in ("mask", "image", "image.pbcor")),
    *(Product(name) for name in ("alpha", "alpha.error", "beta")),
)


@dataclass(frozen=True)
class Imaged:
    """What major and minor cycles have made, in all rounds together.

    Attributes:
        progress: how the last round ended, of the main field, with the records of all rounds.
        data: the survey.
        noise: of the images.
        beside: r.m.s. of the residual in the field next to the image, (channel, stokes), Jy/beam; None where it is not
            known.
        statistics: residual visibilities by uv distance; None where they are not known.
        data_model: what was fitted to the visibilities besides the image; None where nothing was to be.
        terms: Taylor terms of the spectrum; 0 where the images are of channels.
        outlier_flux: flux of the model of each outlier field by imagename, first Stokes plane, Jy.
    """

    progress: Progress
    data: Survey
    noise: ImageNoise
    beside: Image | None
    statistics: ResidualStatistics | None
    data_model: DataModel | None
    terms: int
    outlier_flux: dict[str, float]

    @property
    def brightest_channel(self) -> int:
        """The channel of the largest dirty image; the first of Taylor terms, which have one channel."""
        assert self.progress.dirty is not None
        dirty = self.progress.dirty[: len(self.noise.of_planes), 0]
        return int(np.argmax(np.abs(dirty).max(axis=(1, 2))))


@dataclass(frozen=True)
class ImagingCall:
    """A call that images one field or several.

    Attributes:
        fields: the request of each field, the main field first.
        channels: of a cube, where they have been asked for already.
    """

    fields: tuple[Request, ...]
    channels: ImageChannels | None

    @property
    def request(self) -> Request:
        """Of the main field."""
        return self.fields[0]

    @property
    def parameters(self) -> list[Mapping[str, Any]]:
        """Every parameter of each field, as the task takes it."""
        return [field.casa for field in self.fields]

    @property
    def terms(self) -> int:
        """Taylor terms of the spectrum that have images of their own."""
        return self.request.grid.taylor_terms

    def renamed(self, imagenames: Sequence[str]) -> Self:
        """Return the same call for products of other names."""
        pairs = zip(self.fields, imagenames, strict=True)
        return replace(self, fields=tuple(field.changed(imagename=name) for field, name in pairs))


def check_call(call: ImagingCall, task: str, samples: int = 0) -> Survey:
    """Check the call against disk and data before anything is written, and survey the data.

    Args:
        call: of the task.
        task: its name.
        samples: images of a posterior that are written too.

    Raises:
        ValueError: for the first parameter that does not suit them.
    """
    request = call.request
    for field in call.fields:
        check_outputs(field, samples)
    if request.runs_on_workers:
        from casa_ml_tasks.parallel.clusters import check_cluster  # dask is optional

        check_cluster(request.distribution.cluster)
    if request.gridding.device == "gpu":
        try:
            check_gpu()
        except RuntimeError as error:
            raise ValueError(f"device='gpu' cannot be used: {error}") from error
    selections = request.selection.selections
    check_stokes(selections, request.grid.stokes)
    channels = call.channels or image_channels(request)
    check_channels(request, channels)
    check_tracking(selections, request.grid.phasecenter, min(request.grid.cells))
    data = survey(selections, progress=True, channels=channels)
    check_survey(data, request.grid)
    log_data(data, task)
    return data


@contextmanager
def opened_major_cycle(call: ImagingCall, workspace: Workspace, folds: int = 0) -> Iterator[MajorCycle]:
    """Open the major cycle, and let go of every file in the end.

    Args:
        call: of the task.
        workspace: of the run.
        folds: of the visibilities for cross-validation that our own kernels keep.

    Raises:
        ValueError: the visibilities make no image.
    """
    main, *outliers = call.fields
    with opened(workspace, main, outliers, folds) as major:
        check_image(major, main)
        yield major


def begin_data_steps(major: MajorCycle, call: ImagingCall, context: Context) -> DataSteps:
    """Return what is fitted to the visibilities besides images, after what a killed run left or a first model."""
    request, noise = call.request, call.request.noise
    reading = None if major.visibilities is not None else second_reading(major, request, context.survey)
    return DataSteps(
        major,
        noise.scale_or(context.survey.noise_scale),
        noise.freedom,
        may_count_errors=noise.is_measured and not request.cleans,
        compare=partial(residual_statistics, major.visibilities, reading),
        start=context.interrupted or first_progress(major, context.workspace, call.fields),
    )


def run_round(
    rounds: Alternation,
    major: MajorCycle,
    minor: MinorCycle,
    criteria: ExitCriteria,
    checkpoint: Checkpoint,
    may_end_early: bool = False,
) -> None:
    """Solve for the image of the round that is due, and ask the data steps about it.

    Args:
        rounds: of the run.
        major, minor: cycles with the noise of this round.
        criteria: when the run ends, all rounds together.
        checkpoint: of the run.
        may_end_early: whether the data steps may interrupt the round, whose first minor cycle ends early for them.
    """
    intensity = np.s_[: len(major.noise()), :1]
    criteria = rounds.criteria_of_round(criteria)
    interrupts = rounds.interrupts if may_end_early else never
    found = solve(major, minor, criteria, rounds.start, checkpoint, log_cycle, intensity, interrupts)
    rounds.finish_round(found)


def imaged_by(major: MajorCycle, steps: DataSteps, progress: Progress, context: Context) -> Imaged:
    """Gather what all rounds have made, while the major cycle is open.

    Args:
        major: of the run.
        steps: that have settled.
        progress: of all fields, with the records of all rounds.
        context: of the run.
    """
    main, outlier_flux = main_field(major, context.workspace, progress)
    return Imaged(
        main,
        context.survey,
        steps.errors.image_noise,
        steps.errors.beside,
        steps.errors.statistics,
        steps.data_model,
        context.workspace.terms,
        outlier_flux,
    )


def ending_of(imaged: Imaged, workspace: Workspace) -> Ending:
    """Return how the run ended, for its warnings; the products are in their places."""
    return Ending(
        imaged.progress,
        imaged.noise.of_planes,
        imaged.noise.thermal,
        imaged.noise.calibration,
        imaged.beside,
        imaged.statistics,
        read_image(workspace.product("pb")),
        beam_areas(workspace),
    )
