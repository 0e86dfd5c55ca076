"""The section of a report that shows a posterior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from matplotlib.figure import Figure

from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.report.imaging_content import ImagingContent
from casa_ml_tasks.report.posterior_figures import (
    draw_inference,
    draw_power_spectrum,
    draw_relative_uncertainty,
    draw_samples,
)
from casa_ml_tasks.report.section import Drawing, Section, Table

CAPTIONS: Mapping[str, str] = {
    "samples": "Four samples of the posterior: skies that explain the visibilities equally well. What they share is "
    "known, and what differs between them is not.",
    "relative_uncertainty": "Standard deviation of the samples over their mean, where the mean is the larger. "
    "Neighbouring pixels err together, so the uncertainty of a flux is less than that of its pixels.",
    "power_spectrum": "Power spectrum of the logarithm of the sky, which was inferred with it: median and 68 % of the "
    "samples. Beyond the frequency of the beam it rests on the prior more than on the data.",
    "inference": "Error of the posterior mean, in units of the uncertainty, and residual image over the noise after "
    "each global iteration.",
}
COLUMNS = (
    *("global iteration", "stage", "samples", "energy", "accepted", "error of the mean"),
    *("operator products", "residual / noise", "seconds"),
)


def posterior_section(content: ImagingContent, posterior: Posterior) -> Section:
    """The samples, their spread and their spectrum, and how the inference came to them.

    Args:
        content: of the plane that the report shows.
        posterior: of this plane.
    """
    draws: dict[str, Callable[[], Figure]] = {
        "samples": partial(draw_samples, content, posterior),
        "relative_uncertainty": partial(draw_relative_uncertainty, content, posterior),
    }
    if posterior.power_spectrum is not None:
        draws["power_spectrum"] = partial(draw_power_spectrum, content, posterior)
    if posterior.iterations:
        draws["inference"] = partial(draw_inference, posterior.iterations)
    figures = [Drawing(name, CAPTIONS[name], draw) for name, draw in draws.items()]
    rows = [
        (
            str(step.iteration),
            step.stage,
            str(step.samples),
            f"{step.energy:.6g}",
            f"{100 * step.accepted:.0f} %",
            f"{step.mean_error:.2f} σ",
            str(step.operator_products),
            f"{step.residual:.3f}",
            f"{step.seconds:.1f}",
        )
        for step in posterior.iterations
    ]
    return Section("Posterior", figures=figures, table=Table(COLUMNS, rows), arrangement="first_alone")
