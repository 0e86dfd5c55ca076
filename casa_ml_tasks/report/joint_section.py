"""The sections of a report on data sets that are imaged together: do they agree with each other and with the model?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from casa_ml_tasks.quantities import quantity
from casa_ml_tasks.report.coverage_figure import draw_coverage
from casa_ml_tasks.report.joint_content import JointContent, short_name
from casa_ml_tasks.report.section import Drawing, Section, Table
from casa_ml_tasks.report.set_residual_figure import draw_set_residuals
from casa_ml_tasks.report.uv_figures import draw_amplitudes, draw_power_spectra, flux_scale_label

CAPTIONS = {
    "amplitudes": "Above: amplitude of the data in phase with the model (points) and of the model as the beams of each "
    "set see it (lines). Below: their ratio with its error, and the flux scale of each set as a dashed line. The flux "
    "scales are fitted in the grey range of uv distance, which at least two sets share. Arrows are upper limits "
    "(2 sigma), or ratios beyond the axis.",
    "coverage": "Half-power circles of the pointings of each set, the edge of each single-dish map, and contours of "
    "the sensitivity of all visibilities relative to its largest value, over the square root of the model in grey.",
    "power_spectra": "Power of each data set after subtraction of the power of its noise, and power of the model as "
    "the beams of the set see it. The dotted line is the power of the noise of one sample. Arrows are upper limits "
    "(2 sigma).",
    "set_residuals": "Dirty image of the residual of each data set over its noise. The r.m.s. is 1 where only noise is "
    "left, and less where the model has followed some of the noise.",
}


def joint_sections(content: JointContent) -> list[Section]:
    """Return coverage and amplitudes with a table of the flux scales, power spectra, and residuals of all data sets."""

    def drawing(name: str, draw: Callable[[JointContent], Figure]) -> Drawing:
        return Drawing(name, CAPTIONS[name], partial(draw, content))

    compared = [drawing("coverage", draw_coverage), drawing("amplitudes", draw_amplitudes)]
    spectra, residuals = drawing("power_spectra", draw_power_spectra), drawing("set_residuals", draw_set_residuals)
    return [
        Section("Data sets", joint_sentences(content), compared, _table(content)),
        Section("Power spectrum of each data set", figures=[spectra], arrangement="first_alone"),
        Section("Residual of each data set", figures=[residuals], arrangement="first_alone"),
    ]


def joint_sentences(content: JointContent) -> list[str]:
    """Return what the comparison of the flux scales says."""
    scales = content.scales
    if len(scales.scales) < 2:
        return []
    reference = short_name(scales.scales[scales.reference].name)
    done = "The data were divided by these factors." if content.corrected else "The data were not changed."
    warnings = scales.warnings(content.corrected)
    agree = [] if warnings else [f"All flux scales agree with that of {reference} within three sigma."]
    return [
        f"Flux scales are relative to {reference}. {done}",
        *agree,
        *(f"{each[0].upper()}{each[1:]}." for each in warnings),
    ]


def _table(content: JointContent) -> Table:
    """Return uv range, flux scale, and residual of each set."""
    rms = {each.name: f"{each.rms:.2f}" for each in content.residuals}
    rows = []
    for number, (each, scale) in enumerate(zip(content.sets, content.scales.scales, strict=True)):
        span = " to ".join(quantity(end, "λ") for end in each.span)
        sigma = f"{scale.sigma:.1f}" if scale.error > 0 else ""
        rows.append((short_name(each.name), span, flux_scale_label(content, number), sigma, rms.get(each.name, "")))
    return Table(("data set", "uv distance", "flux scale", "sigma from 1", "residual r.m.s. / noise"), rows)
