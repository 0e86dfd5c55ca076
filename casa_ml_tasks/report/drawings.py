"""Which figures a report has."""

from collections.abc import Callable, Mapping
from functools import partial

from matplotlib.figure import Figure

from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics
from casa_ml_tasks.report.content import ReportContent
from casa_ml_tasks.report.figures import (
    draw_chi_squared,
    draw_convergence,
    draw_dirty,
    draw_histogram,
    draw_model,
    draw_noise_scales,
    draw_residual,
    draw_restored,
    draw_validation,
    draw_visibilities,
)
from casa_ml_tasks.report.posterior_figures import (
    draw_inference,
    draw_power_spectrum,
    draw_relative_uncertainty,
    draw_samples,
)

DRAWINGS: Mapping[str, Callable[[ReportContent], Figure]] = {
    "restored": draw_restored,
    "model": draw_model,
    "residual": draw_residual,
    "dirty": draw_dirty,
    "histogram": draw_histogram,
    "convergence": draw_convergence,
}
VISIBILITY_DRAWINGS: Mapping[str, Callable[[ResidualStatistics], Figure]] = {
    "visibilities": draw_visibilities,
    "chi_squared": draw_chi_squared,
}
POSTERIOR_DRAWINGS: Mapping[str, Callable[[ReportContent], Figure]] = {
    "samples": draw_samples,
    "relative_uncertainty": draw_relative_uncertainty,
}


def drawings(content: ReportContent) -> dict[str, Callable[[], Figure]]:
    """How to draw each figure that this content has, by name."""
    known: dict[str, Callable[[], Figure]] = {name: partial(draw, content) for name, draw in DRAWINGS.items()}
    if content.visibilities is not None:
        known |= {name: partial(draw, content.visibilities) for name, draw in VISIBILITY_DRAWINGS.items()}
    if content.validation is not None:
        known["validation"] = partial(draw_validation, content.validation)
    noise = {} if content.data_model is None else content.data_model["noise"]
    if noise and (noise["uvdist"] or any(noise["measured"])):
        known["noise_scales"] = partial(draw_noise_scales, noise)
    if content.posterior is not None:
        known |= {name: partial(draw, content) for name, draw in POSTERIOR_DRAWINGS.items()}
        if content.posterior.power_spectrum is not None:
            known["power_spectrum"] = partial(draw_power_spectrum, content)
        if content.posterior.iterations:
            known["inference"] = partial(draw_inference, content.posterior.iterations)
    return known
