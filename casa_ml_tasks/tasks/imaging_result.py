"""The result of a task that images in major and minor cycles: its numbers, its summary, the sections of its report."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from casa_ml_tasks.calibration.image_noise import ImageNoise, typical
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import read_beams, read_cell, read_valid
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.solver import CycleRecord
from casa_ml_tasks.quantities import quantity
from casa_ml_tasks.report.imaging_content import ImagingContent
from casa_ml_tasks.report.imaging_sections import imaging_sections
from casa_ml_tasks.request.noise import Noise
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks.imaging import Imaged
from casa_ml_tasks.tasks.result import CONTROLS, TaskResult


def imaging_result(imaged: Imaged, content: ImagingContent, request: Request) -> TaskResult:
    """Return what the result of every imaging task has.

    Args:
        imaged: how the run ended.
        content: of the report, as `shown_plane` reads it.
        request: of the task.
    """
    progress, statistics, residual = imaged.progress, imaged.statistics, content.image_residual
    errors, data_model = imaged.noise.calibration, imaged.data_model
    scale = request.noise.scale_or(imaged.data.noise_scale)
    fitted = None if data_model is None else data_model.as_lists(scale)
    return TaskResult(
        stop=progress.stop,
        iterations=progress.state.iterations,
        controls={name: request.casa[name] for name in CONTROLS},
        cycles=content.cycles,
        numbers={
            "noise_scale": scale,
            "image_noise": typical(imaged.noise.of_planes),
            "thermal_noise": typical(imaged.noise.thermal),
            **({"calibration_error": errors.as_numbers()} if errors else {}),
            "cycles": content.cycles,
            "residual_statistics": {
                "image": None if residual is None else residual.as_numbers(),
                "visibilities": None if statistics is None else statistics.as_lists(),
            },
            **({} if fitted is None else {"data_model": fitted}),
        },
        summary=_summary(imaged, request),
        sections=imaging_sections(content),
    )


def _summary(imaged: Imaged, request: Request) -> dict[str, str]:
    """Short facts for the top of the report."""
    progress, data, planes = imaged.progress, imaged.data, imaged.noise.of_planes
    summary = {
        "major cycles": str(len(progress.records)),
        "minor iterations": str(progress.state.iterations),
        "thermal noise over nominal": _noise_over_nominal(request.noise, data),
        "noise of the image": imaged.noise.sentence(),
        "r.m.s. of the residual": quantity(progress.records[-1].rms_residual, "Jy/beam"),
        "flux of the model": quantity(progress.records[-1].model_flux, "Jy", 4),
        "visibilities": f"{data.visibilities} ({100 * data.flagged_fraction:.1f} % flagged)",
    }
    if len(planes) > 1:
        channel = imaged.brightest_channel
        summary["channels"] = f"{len(planes)}; the images below are of channel {channel}, the brightest"
    if planes.shape[1] > 1:
        summary["stokes"] = f"{request.grid.stokes}; the images below are of {request.grid.planes[0]}"
    if imaged.terms:
        summary["Taylor terms"] = f"{imaged.terms}; the images below are of the first"
    if imaged.data_model is not None:
        summary |= imaged.data_model.facts(request.noise.scale_or(data.noise_scale))
    return summary


def _noise_over_nominal(noise: Noise, data: Survey) -> str:
    measured = f"{data.noise_scale:.3f} (from {data.noise_scale_method})"
    if noise.scale is None:
        return measured
    return f"{noise.scale:.3f} as given; measured {measured}"


def shown_plane(
    imaged: Imaged, workspace: Workspace, request: Request, may_be_negative: bool, model_is_mean: bool
) -> ImagingContent:
    """Read what the report shows: of all channels the brightest, of Stokes planes and Taylor terms the first.

    Args:
        imaged: how the run ended.
        workspace: whose products are in their places.
        request: of the task.
        may_be_negative, model_is_mean: as those of `ImagingContent`.
    """
    progress, channel = imaged.progress, imaged.brightest_channel
    assert progress.dirty is not None
    residual = read_valid(workspace.product("residual"))[channel, 0]
    image = workspace.product("image")
    beam = read_beams(workspace.product("psf"))[channel]
    data_model, scale = imaged.data_model, request.noise.scale_or(imaged.data.noise_scale)
    return ImagingContent(
        dirty=np.where(np.isnan(residual), np.nan, progress.dirty[channel, 0]),
        model=progress.model[channel, 0],
        restored=read_valid(image)[channel, 0] if image.exists() else residual,
        residual=residual,
        cell=read_cell(workspace.product("psf")),
        beam=None if beam is None else (beam.major, beam.minor, beam.angle),
        primary_beam=read_valid(workspace.product("pb"))[channel, 0],
        noise=float(imaged.noise.of_planes[channel, 0]),
        cycles=[_cycle(record, imaged.data, imaged.noise, request) for record in progress.records],
        visibilities=imaged.statistics,
        noise_model={} if data_model is None else data_model.as_lists(scale)["noise"],
        may_be_negative=may_be_negative,
        model_is_mean=model_is_mean,
    )


def _cycle(record: CycleRecord, data: Survey, noise: ImageNoise, request: Request) -> dict[str, float]:
    """Return the record in the user's words.

    chi^2 is absolute where all that is surveyed is imaged and keeps its statistical weights.
    """
    grid = request.grid
    surveyed = request.gridding.native or grid.planes[0] == "I"
    complete = surveyed and (grid.continuum or grid.specmode == "cubedata")
    statistical = complete and request.weighting.is_natural and not request.noise.freedom and not noise.calibration
    scale = request.noise.scale_or(data.noise_scale)
    empty_sky = data.weighted_power / scale**2 if statistical else float("nan")
    chi2 = empty_sky + float(np.sum((np.asarray(record.misfit) / noise.of_planes**2)[:, 0]))
    fields = {name: value for name, value in asdict(record).items() if name != "misfit"}
    return {**fields, "chi2": chi2, "reduced_chi2": chi2 / (2 * data.visibilities)}
