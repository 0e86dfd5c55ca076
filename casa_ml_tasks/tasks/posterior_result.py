"""What a posterior adds to the result of a task: its numbers, its facts, its section of the report."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.quantities import measurement
from casa_ml_tasks.report.imaging_content import ImagingContent
from casa_ml_tasks.report.posterior_section import posterior_section
from casa_ml_tasks.tasks.result import TaskResult


def with_posterior(result: TaskResult, content: ImagingContent, posterior: Posterior, channel: int) -> TaskResult:
    """Return the result with the posterior.

    Args:
        result: whose first section shows the images.
        content: of the plane that the report shows.
        posterior: of all channels or terms.
        channel: that the report shows.
    """
    plane = posterior.plane(channel)
    images, *others = result.sections
    return replace(
        result,
        numbers={**result.numbers, "posterior": _as_numbers(posterior)},
        summary={**result.summary, **_facts(plane)},
        sections=[images, posterior_section(content, plane), *others],
    )


def _facts(posterior: Posterior) -> dict[str, str]:
    """Return what the top of the report says of the posterior of one plane."""
    flux = posterior.fluxes
    state = f"NOT CONVERGED: {posterior.problem}" if posterior.problem else "converged"
    return {
        "flux of the model": measurement(flux.mean(), flux.std(ddof=1), "Jy"),
        "posterior": f"{len(flux)} samples after {len(posterior.iterations)} global iterations, {state}",
    }


def _as_numbers(posterior: Posterior) -> dict[str, Any]:
    """Return flux and its uncertainty, (channel or term, stokes), Jy, and what became of the inference."""
    return {
        "samples": len(posterior.samples),
        "flux": posterior.fluxes.mean(axis=0).tolist(),
        "flux_uncertainty": posterior.fluxes.std(axis=0, ddof=1).tolist(),
        "converged": posterior.converged,
        "problem": posterior.problem,
        "iterations": [asdict(iteration) for iteration in posterior.iterations],
    }
