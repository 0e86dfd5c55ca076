"""What a task tells the user: log lines, the returned dictionary, the report."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from casatasks import casalog

from casa_ml_tasks.data.casa_image import read_beam, read_cell, read_valid
from casa_ml_tasks.data.measurement_set import Survey
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.solver import CycleRecord, Progress
from casa_ml_tasks.report.content import ReportContent
from casa_ml_tasks.report.page import write_report
from casa_ml_tasks.tasks.cycle_choice import noise_scale

#: Parameters that tclean repeats in what it returns.
CONTROLS = ("niter", "threshold", "nsigma", "cycleniter", "cyclefactor", "minpsffraction", "maxpsffraction", "nmajor")


def describe_data(data: Survey) -> str:
    """One sentence for the log."""
    return (
        f"{data.visibilities} visibilities of Stokes I ({100 * data.flagged_fraction:.1f} % flagged), longest baseline "
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


def report(
    progress: Progress,
    data: Survey,
    noise: float,
    workspace: Workspace,
    products: Sequence[str],
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the report; return tclean's dictionary and what we add. noise: Jy/beam."""
    cycles = [_cycle(record, data, noise, parameters) for record in progress.records]
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
    page = write_report(_content(progress, noise, cycles, summary, workspace, parameters), workspace.product("report"))
    casalog.post(f"stopped: {progress.stop.description}; report: {page}", "INFO", "rmlclean")
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
        "products": list(products),
        "report": str(page),
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


def _cycle(record: CycleRecord, data: Survey, noise: float, parameters: Mapping[str, Any]) -> dict[str, float]:
    """The record in the user's words: chi^2 is absolute where the imaging weights are the statistical ones."""
    statistical = parameters["weighting"] == "natural" and not any(parameters["uvtaper"])
    empty_sky = data.weighted_power / noise_scale(parameters, data) ** 2 if statistical else float("nan")
    chi2 = empty_sky + record.misfit / noise**2
    fields = {name: value for name, value in asdict(record).items() if name != "misfit"}
    return {**fields, "chi2": chi2, "reduced_chi2": chi2 / (2 * data.visibilities)}


def _content(
    progress: Progress,
    noise: float,
    cycles: Sequence[Mapping[str, float]],
    summary: Mapping[str, str],
    workspace: Workspace,
    parameters: Mapping[str, Any],
) -> ReportContent:
    from casa_ml_tasks.wrappers.rmlclean import rmlclean

    residual = read_valid(workspace.product("residual"))[0, 0]
    image = workspace.product("image")
    beam = read_beam(workspace.product("psf"))
    signature = inspect.signature(type(rmlclean).__call__).parameters
    assert progress.dirty is not None
    return ReportContent(
        task="rmlclean",
        imagename=str(workspace.imagename),
        parameters=parameters,
        defaults={name: signature[name].default for name in parameters},
        dirty=np.where(np.isnan(residual), np.nan, progress.dirty[0, 0]),
        model=progress.model[0, 0],
        restored=read_valid(image)[0, 0] if image.exists() else residual,
        residual=residual,
        cell=read_cell(workspace.product("psf")),
        beam=None if beam is None else (beam.major, beam.minor, beam.angle),
        primary_beam=read_valid(workspace.product("pb"))[0, 0],
        noise=noise,
        cycles=cycles,
        summary=summary,
    )
