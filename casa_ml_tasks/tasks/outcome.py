"""What a task tells the user: log lines, the returned dictionary, the report."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import read_beams, read_cell, read_direction, read_valid
from casa_ml_tasks.data.input_checks import ARCSEC, CONTINUUM, SINGLE_POINTING, cells_in_arcsec
from casa_ml_tasks.data.measurement_set import Survey, selections
from casa_ml_tasks.data.stokes import stokes_planes
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.data.workspace import Workspace, taylor_terms
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.engine.solver import CycleRecord, Progress
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.major.data_model import DataModel, Freedom
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.residual_visibilities import ResidualStatistics, read_residuals
from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation
from casa_ml_tasks.report.content import ReportContent
from casa_ml_tasks.report.page import write_report
from casa_ml_tasks.tasks.cycle_choice import noise_scale, typical

#: Parameters that tclean repeats in what it returns.
CONTROLS = ("niter", "threshold", "nsigma", "cycleniter", "cyclefactor", "minpsffraction", "maxpsffraction", "nmajor")
MOST_COMPARED = 1 << 20  # visibilities with the model, where they have to be read for it


def describe_data(data: Survey) -> str:
    """One sentence for the log."""
    return (
        f"{data.visibilities} visibilities ({100 * data.flagged_fraction:.1f} % flagged), longest baseline "
        f"{data.longest_baseline:.4g} wavelengths; the noise is {data.noise_scale:.3f} times what WEIGHT claims "
        f"(from {data.noise_scale_method})"
    )


def log_cycle(record: CycleRecord) -> None:
    """One line a major cycle."""
    casalog.post(
        f"major cycle {record.cycle}: peak residual {record.peak_residual:.4g} Jy/beam, r.m.s. "
        f"{record.rms_residual:.4g} Jy/beam, model flux {record.model_flux:.4g} Jy, "
        f"{record.iterations} minor iterations, {record.seconds:.1f} s",
        "INFO",
        "solver",
    )


def residual_statistics(
    major: CasaMajorCycle, model: Image, data: Survey, workspace: Workspace, parameters: Mapping[str, Any]
) -> ResidualStatistics | None:
    """What the model leaves unexplained, by uv distance; None where F is more than a Fourier transform of Stokes I.

    Our own major cycle has the visibilities. For CASA's they are read once more; of many, a random sample is enough for
    errors far below a percent.
    """
    scale = noise_scale(parameters, data)
    if isinstance(major, NativeMajorCycle):
        return major.residual_visibilities(model).statistics(scale)
    oblong = len(set(cells_in_arcsec(parameters["cell"]))) > 1
    if oblong or parameters["gridder"] not in SINGLE_POINTING or parameters["specmode"] not in CONTINUUM:
        return None
    if workspace.outliers or taylor_terms(parameters) or stokes_planes(parameters["stokes"])[0] != "I":
        return None
    image = major.product("residual")
    frame, cell = ImageFrame(*read_direction(image)), read_cell(image) * ARCSEC
    share = min(1.0, MOST_COMPARED / data.visibilities)
    sums = read_residuals(selections(parameters), frame, model[0, 0], cell, share)
    return sums.statistics(scale) if sums.count.any() else None


def report(
    task: str,
    progress: Progress,
    data: Survey,
    plane_noise: NDArray[np.floating],
    workspace: Workspace,
    products: Sequence[str],
    parameters: Mapping[str, Any],
    visibilities: ResidualStatistics | None,
    data_model: DataModel | None,
    validation: CrossValidation | None = None,
    outliers: Mapping[str, float] | None = None,
    posterior: Posterior | None = None,
) -> dict[str, Any]:
    """Write the report; return tclean's dictionary and what we add.

    Args:
        task: its name.
        progress: how the run ended.
        data: the survey, with the noise scale that was found.
        plane_noise: (channel, stokes), Jy/beam.
        workspace: where the products are.
        products: their paths.
        parameters: of the task.
        visibilities: what the model leaves unexplained; None where it is not known.
        data_model: what was fitted to the visibilities besides the image.
        validation: the search for the regularisers' strengths.
        outliers: flux of the model of each outlier field by imagename, Jy.
        posterior: of which the model is the mean.
    """
    noise = typical(plane_noise)
    cycles = [_cycle(record, data, plane_noise, parameters) for record in progress.records]
    brightest = _brightest(progress, len(plane_noise))
    summary = {
        "stopped because": progress.stop.description,
        "major cycles": str(len(cycles)),
        "minor iterations": str(progress.state.iterations),
        "noise over nominal": _noise_over_nominal(parameters, data),
        "noise of the image": f"{noise:.4g} Jy/beam",
        "r.m.s. of the residual": f"{progress.records[-1].rms_residual:.4g} Jy/beam",
        "flux of the model": f"{progress.records[-1].model_flux:.4g} Jy",
        "visibilities": f"{data.visibilities} ({100 * data.flagged_fraction:.1f} % flagged)",
    }
    if len(plane_noise) > 1:
        summary["channels"] = f"{len(plane_noise)}; the images below are of channel {brightest}, the brightest"
    if plane_noise.shape[1] > 1:
        summary["stokes"] = f"{parameters['stokes']}; the images below are of {stokes_planes(parameters['stokes'])[0]}"
    if workspace.terms:
        summary["Taylor terms"] = f"{workspace.terms}; the images below are of the first"
    if outliers:
        summary["outlier fields"] = ", ".join(f"{name}: {flux:.4g} Jy" for name, flux in outliers.items())
        summary["r.m.s. of the residual"] += ", of all fields"
        summary["flux of the model"] += ", of all fields"
    fitted = None
    if data_model is not None:
        fitted = data_model.as_lists(noise_scale(parameters, data))
        summary |= data_model.facts(noise_scale(parameters, data))
    if posterior is not None:
        summary |= _facts(posterior.plane(brightest))
    if validation is not None:
        strengths = ", ".join(f"{strength:.2g}" for strength in validation.chosen.strengths)
        summary["strengths"] = f"{strengths}, by cross-validation"
    noise_shown = float(plane_noise[brightest, 0])
    content = _content(
        task,
        progress,
        brightest,
        noise_shown,
        cycles,
        summary,
        workspace,
        parameters,
        visibilities,
        validation,
        fitted,
        posterior,
    )
    page = write_report(content, workspace.product("report"))
    casalog.post(f"stopped: {progress.stop.description}; report: {page}", "INFO", task)
    return {
        "stopcode": int(progress.stop),
        "stopDescription": progress.stop.description,
        "iterdone": progress.state.iterations,
        "nmajordone": len(cycles),
        **{name: parameters[name] for name in CONTROLS},
        "summarymajor": np.array([cycle["iterations"] for cycle in cycles], int),
        "summaryminor": {0: {0: {0: _minor_summary(cycles)}}},
        "noise_scale": noise_scale(parameters, data),
        "image_noise": noise,
        "cycles": cycles,
        "residual_statistics": {
            "image": None if content.image_residual is None else content.image_residual.as_numbers(),
            "visibilities": None if visibilities is None else visibilities.as_lists(),
        },
        **({} if validation is None else {"cross_validation": validation.as_numbers()}),
        **({} if fitted is None else {"data_model": fitted}),
        **({"outlier_flux": dict(outliers)} if outliers else {}),
        **({} if posterior is None else {"posterior": _as_numbers(posterior)}),
        "products": list(products),
        "report": str(page),
    }


def _facts(posterior: Posterior) -> dict[str, str]:
    """Of one plane, for the top of the report."""
    flux = posterior.fluxes
    state = f"NOT CONVERGED: {posterior.problem}" if posterior.problem else "converged"
    return {
        "flux of the model": f"{flux.mean():.4g} ± {flux.std(ddof=1):.2g} Jy",
        "posterior": f"{len(flux)} samples after {len(posterior.iterations)} global iterations, {state}",
    }


def _as_numbers(posterior: Posterior) -> dict[str, Any]:
    """Flux and its uncertainty, (channel or term, stokes), Jy; what became of the inference."""
    return {
        "samples": len(posterior.samples),
        "flux": posterior.fluxes.mean(axis=0).tolist(),
        "flux_uncertainty": posterior.fluxes.std(axis=0, ddof=1).tolist(),
        "converged": posterior.converged,
        "problem": posterior.problem,
        "iterations": [asdict(iteration) for iteration in posterior.iterations],
    }


def _noise_over_nominal(parameters: Mapping[str, Any], data: Survey) -> str:
    measured = f"{data.noise_scale:.3f} (from {data.noise_scale_method})"
    if parameters["noisescale"] == "auto":
        return measured
    return f"{noise_scale(parameters, data):.3f} as given; measured {measured}"


def _minor_summary(cycles: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """tclean's columns, one entry a minor cycle."""
    return {
        "iterDone": np.diff([cycle["iterations"] for cycle in cycles]).tolist(),
        "startPeakRes": [cycle["peak_residual"] for cycle in cycles[:-1]],
        "peakRes": [cycle["peak_residual"] for cycle in cycles[1:]],
        "startModelFlux": [cycle["model_flux"] for cycle in cycles[:-1]],
        "modelFlux": [cycle["model_flux"] for cycle in cycles[1:]],
    }


def _cycle(
    record: CycleRecord, data: Survey, noise: NDArray[np.floating], parameters: Mapping[str, Any]
) -> dict[str, float]:
    """The record in the user's words: chi^2 is absolute where all that is surveyed keeps its statistical weights."""
    surveyed = parameters["gridder"] == "native" or stokes_planes(parameters["stokes"])[0] == "I"
    complete = parameters["specmode"] in (*CONTINUUM, "cubedata") and surveyed
    statistical = complete and parameters["weighting"] == "natural" and not any(parameters["uvtaper"])
    statistical &= not Freedom.from_parameters(parameters)
    empty_sky = data.weighted_power / noise_scale(parameters, data) ** 2 if statistical else float("nan")
    chi2 = empty_sky + float(np.sum((np.asarray(record.misfit) / noise**2)[:, 0]))
    fields = {name: value for name, value in asdict(record).items() if name != "misfit"}
    return {**fields, "chi2": chi2, "reduced_chi2": chi2 / (2 * data.visibilities)}


def _brightest(progress: Progress, channels: int) -> int:
    """The channel of the largest dirty image; the first of Taylor terms, which have one channel."""
    assert progress.dirty is not None
    return int(np.argmax(np.abs(progress.dirty[:channels, 0]).max(axis=(1, 2))))


def _content(
    task: str,
    progress: Progress,
    channel: int,
    noise: float,
    cycles: Sequence[Mapping[str, float]],
    summary: Mapping[str, str],
    workspace: Workspace,
    parameters: Mapping[str, Any],
    visibilities: ResidualStatistics | None,
    validation: CrossValidation | None,
    data_model: Mapping[str, Any] | None,
    posterior: Posterior | None,
) -> ReportContent:
    wrapper = getattr(importlib.import_module(f"casa_ml_tasks.wrappers.{task}"), task)
    residual = read_valid(workspace.product("residual"))[channel, 0]
    image = workspace.product("image")
    beam = read_beams(workspace.product("psf"))[channel]
    signature = inspect.signature(type(wrapper).__call__).parameters
    assert progress.dirty is not None
    return ReportContent(
        task=task,
        imagename=str(workspace.imagename),
        parameters=parameters,
        defaults={name: signature[name].default for name in parameters},
        dirty=np.where(np.isnan(residual), np.nan, progress.dirty[channel, 0]),
        model=progress.model[channel, 0],
        restored=read_valid(image)[channel, 0] if image.exists() else residual,
        residual=residual,
        cell=read_cell(workspace.product("psf")),
        beam=None if beam is None else (beam.major, beam.minor, beam.angle),
        primary_beam=read_valid(workspace.product("pb"))[channel, 0],
        noise=noise,
        cycles=cycles,
        summary=summary,
        visibilities=visibilities,
        validation=validation,
        data_model=data_model,
        posterior=None if posterior is None else posterior.plane(channel),
    )
