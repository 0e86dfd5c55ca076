"""What a task tells the user: log lines, the returned dictionary, the report."""

from __future__ import annotations

import importlib
import inspect
import shutil
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import casatools
import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import read_beams, read_cell, read_direction, read_valid
from casa_ml_tasks.data.directions import tracked
from casa_ml_tasks.data.input_checks import ARCSEC, CONTINUUM, SINGLE_POINTING, cells_in_arcsec
from casa_ml_tasks.data.measurement_set import Survey, selections
from casa_ml_tasks.data.stokes import stokes_planes
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.data.workspace import Workspace, taylor_terms
from casa_ml_tasks.engine.protocols import Image, MajorCycle
from casa_ml_tasks.engine.solver import CycleRecord, Progress
from casa_ml_tasks.major.calibration_errors import CalibrationErrors
from casa_ml_tasks.major.data_model import DataModel, Freedom
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.residual_visibilities import ResidualStatistics, read_residuals
from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation
from casa_ml_tasks.quantities import measurement, quantity
from casa_ml_tasks.report.content import ReportContent
from casa_ml_tasks.report.page import write_report
from casa_ml_tasks.tasks.cycle_choice import noise_scale, typical
from casa_ml_tasks.version import __version__, commit, version_and_commit

#: Parameters that tclean repeats in what it returns.
CONTROLS = ("niter", "threshold", "nsigma", "cycleniter", "cyclefactor", "minpsffraction", "maxpsffraction", "nmajor")
MOST_COMPARED = 1 << 20  # visibilities with the model, where they have to be read for it


@dataclass(frozen=True)
class ImageNoise:
    """Noise of the images, and its two causes.

    Attributes:
        of_planes: with errors of calibration, (channel, stokes), Jy/beam.
        thermal: without, (channel, stokes), Jy/beam.
        calibration: errors of calibration.
    """

    of_planes: NDArray[np.floating]
    thermal: NDArray[np.floating]
    calibration: CalibrationErrors

    def sentence(self) -> str:
        """For the top of the report."""
        total = quantity(typical(self.of_planes), "Jy/beam")
        if not self.calibration:
            return total
        fraction = self.calibration.fraction
        size = f", about {100 * fraction:.2g} % of the visibilities" if fraction else ""
        return f"{total}: thermal {quantity(typical(self.thermal), 'Jy/beam')}, the rest errors of calibration{size}"


def describe_data(data: Survey) -> str:
    """One sentence for the log."""
    return (
        f"{data.visibilities} visibilities ({100 * data.flagged_fraction:.1f} % flagged), longest baseline "
        f"{quantity(data.longest_baseline, 'λ')}; the thermal noise is {data.noise_scale:.3f} times what WEIGHT claims "
        f"(from {data.noise_scale_method})"
    )


def log_cycle(record: CycleRecord) -> None:
    """One line a major cycle."""
    casalog.post(
        f"major cycle {record.cycle}: peak residual {quantity(record.peak_residual, 'Jy/beam')}, r.m.s. "
        f"{quantity(record.rms_residual, 'Jy/beam')}, model flux {quantity(record.model_flux, 'Jy', 4)}, "
        f"{record.iterations} minor iterations, {record.seconds:.1f} s",
        "INFO",
        "solver",
    )


def residual_statistics(
    major: MajorCycle,
    model: Image,
    scale: float,
    visibilities: int,
    workspace: Workspace,
    parameters: Mapping[str, Any],
) -> ResidualStatistics | None:
    """What the model leaves unexplained, by uv distance; None where F is more than a Fourier transform of Stokes I.

    Our own major cycle has the visibilities. For CASA's they are read once more; of many, a random sample is enough for
    errors far below a percent.

    Args:
        major: made the images.
        model: (channel or term, stokes, ny, nx), Jy/pixel.
        scale: true noise over the noise that the weights of the major cycle claim.
        visibilities: how many are selected.
        workspace, parameters: of the task.
    """
    if isinstance(major, NativeMajorCycle):
        return major.residual_visibilities(model).statistics(scale)
    oblong = len(set(cells_in_arcsec(parameters["cell"]))) > 1
    if oblong or parameters["gridder"] not in SINGLE_POINTING or parameters["specmode"] not in CONTINUUM:
        return None
    if workspace.outliers or taylor_terms(parameters) or stokes_planes(parameters["stokes"])[0] != "I":
        return None
    image = major.product("residual")
    frame = ImageFrame(*read_direction(image), tracks=tracked(parameters["phasecenter"]))
    cell = read_cell(image) * ARCSEC
    share = min(1.0, MOST_COMPARED / visibilities)
    sums = read_residuals(selections(parameters), frame, model[0, 0], cell, share)
    return sums.statistics(scale) if sums.count.any() else None


def report(
    task: str,
    progress: Progress,
    data: Survey,
    noise: ImageNoise,
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
        data: the survey.
        noise: of the images, and what it is made of.
        workspace: where the products are.
        products: their paths.
        parameters: of the task.
        visibilities: what the model leaves unexplained; None where it is not known.
        data_model: what was fitted to the visibilities besides the image.
        validation: the search for the regularisers' strengths.
        outliers: flux of the model of each outlier field by imagename, Jy.
        posterior: of which the model is the mean.
    """
    plane_noise = noise.of_planes
    cycles = [_cycle(record, data, noise, parameters) for record in progress.records]
    brightest = _brightest(progress, len(plane_noise))
    summary = {
        "stopped because": progress.stop.description,
        "major cycles": str(len(cycles)),
        "minor iterations": str(progress.state.iterations),
        "thermal noise over nominal": _noise_over_nominal(parameters, data),
        "noise of the image": noise.sentence(),
        "r.m.s. of the residual": quantity(progress.records[-1].rms_residual, "Jy/beam"),
        "flux of the model": quantity(progress.records[-1].model_flux, "Jy", 4),
        "visibilities": f"{data.visibilities} ({100 * data.flagged_fraction:.1f} % flagged)",
    }
    if len(plane_noise) > 1:
        summary["channels"] = f"{len(plane_noise)}; the images below are of channel {brightest}, the brightest"
    if plane_noise.shape[1] > 1:
        summary["stokes"] = f"{parameters['stokes']}; the images below are of {stokes_planes(parameters['stokes'])[0]}"
    if workspace.terms:
        summary["Taylor terms"] = f"{workspace.terms}; the images below are of the first"
    if outliers:
        summary["outlier fields"] = ", ".join(f"{name}: {quantity(flux, 'Jy', 4)}" for name, flux in outliers.items())
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
    summary["made with"] = f"casa_ml_tasks {version_and_commit()}; CASA {casatools.version_string()}"
    if "seed" in parameters:
        summary["made with"] += f"; seed {parameters['seed']}"
    noise_shown = float(plane_noise[brightest, 0])
    content, page = None, ""
    try:
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
        page = str(write_report(content, workspace.product("report")))
    except Exception as error:  # noqa: BLE001  (whatever it is, it must not cost the images, which are complete)
        _tell_of_missing_report(error, workspace, task)
    casalog.post(f"stopped: {progress.stop.description}; report: {page or 'none'}", "INFO", task)
    return {
        "stopcode": int(progress.stop),
        "stopDescription": progress.stop.description,
        "iterdone": progress.state.iterations,
        "nmajordone": len(cycles),
        **{name: parameters[name] for name in CONTROLS},
        "summarymajor": np.array([cycle["iterations"] for cycle in cycles], int),
        "summaryminor": {0: {0: {0: _minor_summary(cycles)}}},
        "noise_scale": noise_scale(parameters, data),
        "image_noise": typical(plane_noise),
        "thermal_noise": typical(noise.thermal),
        **({"calibration_error": noise.calibration.as_numbers()} if noise.calibration else {}),
        "cycles": cycles,
        "residual_statistics": {
            "image": None if content is None or content.image_residual is None else content.image_residual.as_numbers(),
            "visibilities": None if visibilities is None else visibilities.as_lists(),
        },
        **({} if validation is None else {"cross_validation": validation.as_numbers()}),
        **({} if fitted is None else {"data_model": fitted}),
        **({"outlier_flux": dict(outliers)} if outliers else {}),
        **({} if posterior is None else {"posterior": _as_numbers(posterior)}),
        "products": list(products),
        "report": page,
        "version": __version__,
        "commit": commit(),
        **({"seed": parameters["seed"]} if "seed" in parameters else {}),
    }


def _tell_of_missing_report(error: Exception, workspace: Workspace, task: str) -> None:
    """Say why there is no report, and remove what there is of it."""
    shutil.rmtree(workspace.product("report"), ignore_errors=True)
    casalog.post(f"the images are complete, but not the report: {type(error).__name__} ({error})", "WARN", task)
    casalog.post("".join(traceback.format_exception(error)), "INFO", task)


def _facts(posterior: Posterior) -> dict[str, str]:
    """Of one plane, for the top of the report."""
    flux = posterior.fluxes
    state = f"NOT CONVERGED: {posterior.problem}" if posterior.problem else "converged"
    return {
        "flux of the model": measurement(flux.mean(), flux.std(ddof=1), "Jy"),
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


def _cycle(record: CycleRecord, data: Survey, noise: ImageNoise, parameters: Mapping[str, Any]) -> dict[str, float]:
    """The record in the user's words: chi^2 is absolute where all that is surveyed keeps its statistical weights."""
    surveyed = parameters["gridder"] == "native" or stokes_planes(parameters["stokes"])[0] == "I"
    complete = parameters["specmode"] in (*CONTINUUM, "cubedata") and surveyed
    statistical = complete and parameters["weighting"] == "natural" and not any(parameters["uvtaper"])
    statistical &= not Freedom.from_parameters(parameters) and not noise.calibration
    empty_sky = data.weighted_power / noise_scale(parameters, data) ** 2 if statistical else float("nan")
    chi2 = empty_sky + float(np.sum((np.asarray(record.misfit) / noise.of_planes**2)[:, 0]))
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
