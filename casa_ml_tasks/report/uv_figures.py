"""Data sets and the model of one sky against uv distance: amplitudes with their ratio, and power spectra."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.calibration.uv_bins import UvBins
from casa_ml_tasks.quantities import angle, si_prefix, with_error
from casa_ml_tasks.report.joint_content import JointContent, short_name

LEAST_SPAN, MOST_SPAN = 0.05, 1.0  # of the axis of data over model, either side of 1
DETECTED = 3.0  # sigma of the model, for a ratio to be shown
LIMIT = 2.0  # sigma of the data; what is below is shown as an upper limit
PANELS_IN_ROW = 3


def draw_amplitudes(content: JointContent) -> Figure:
    """Amplitude of each data set and of the model as the set sees it; below, data over model with the flux scales."""
    figure = Figure(figsize=(8.2, 6.2), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(5, 3))
    bins = list(content.sets)
    factor, prefix = _wavelengths(bins)
    highest = max(float(each.model_amplitude.max(initial=0)) for each in bins)
    jansky, jansky_prefix = si_prefix(highest)
    shared = content.shared
    measured: list[NDArray[np.floating]] = []
    factors = [] if content.corrected else [each.factor for each in content.scales.scales]
    span = _ratio_span(bins, shared, factors)
    below.axhline(1, color="black", linewidth=0.8)
    below.set_ylim(1 - span, 1 + span)
    for axes in (above, below):
        if shared is not None:
            axes.axvspan(shared[0] / factor, shared[1] / factor, color="0.93", zorder=0)
    for number, found in enumerate(bins):
        colour, marker = content.style(found.name)
        style = {"fmt": marker, "color": colour, "markersize": 4.5, "linewidth": 1}
        x = found.uvdist / factor
        above.plot(x, found.model_amplitude / jansky, color="black", linewidth=2.6, zorder=2)
        above.plot(x, found.model_amplitude / jansky, color=colour, linewidth=1.4, zorder=2.1)
        label = f"{short_name(found.name)}: {flux_scale_label(content, number)}"
        values, errors = found.data_amplitude / jansky, found.amplitude_error / jansky
        measured.append(_draw_measured(above, x, values, errors, label=label, zorder=3, **style))
        _draw_ratio(below, x, found, span, **style)
        scale = content.scales.scales[number]
        if (
            not content.corrected
            and shared is not None
            and math.isfinite(scale.error)
            and number != content.scales.reference
        ):
            ends = [max(shared[0], x.min() * factor) / factor, min(shared[1], x.max() * factor) / factor]
            below.plot(ends, [scale.factor] * 2, color=colour, linewidth=1.2, linestyle="dashed", zorder=2)
    above.plot([], [], color="black", linewidth=2.6, label="model, through the beams of each set")
    _logarithmic(above, measured, *(each.model_amplitude / jansky for each in bins))
    above.set(title="Amplitude of each data set", ylabel=f"amplitude ({jansky_prefix}Jy)", xscale="log")
    above.legend(frameon=False, fontsize=9)
    below.set(xlabel=f"uv distance ({prefix}λ)", ylabel="data / model")
    _plain_logarithmic_x(below)
    _scales_on_top(above, factor)
    figure.align_ylabels()
    return figure


def draw_power_spectra(content: JointContent) -> Figure:
    """Power of each data set without that of its noise, and of the model as the set sees it."""
    columns = min(len(content.sets), PANELS_IN_ROW)
    rows = math.ceil(len(content.sets) / columns)
    figure = Figure(figsize=(0.6 + 3.4 * columns, 0.5 + 3.4 * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (axes, each) in enumerate(zip(panels, content.sets, strict=False)):
        _draw_power_spectrum(axes, each, *content.style(each.name))
        axes.set_title(short_name(each.name), fontsize=11)
        if number % columns == 0:
            axes.set_ylabel("power (Jy²)")
    for axes in panels[len(content.sets) :]:
        axes.remove()
    return figure


def _draw_power_spectrum(axes: Axes, found: UvBins, colour: str, marker: str) -> None:
    """Draw data without noise, model and noise; where the data show nothing, an upper limit."""
    factor, prefix = _wavelengths([found])
    x = found.uvdist / factor
    axes.plot(x, found.noise_power, color="0.55", linestyle="dotted", linewidth=1.4, label="noise of a sample")
    axes.plot(x, found.model_power, color="black", linewidth=1.6, label="model")
    style = {"fmt": marker, "color": colour, "markersize": 4, "linewidth": 1, "label": "data − noise"}
    measured = _draw_measured(axes, x, found.data_power, found.power_error, **style)
    _logarithmic(axes, [measured, found.noise_power], found.model_power)
    axes.set(xscale="log", xlabel=f"uv distance ({prefix}λ)")
    _plain_logarithmic_x(axes)
    axes.legend(frameon=False, fontsize=8, loc="upper right")


def flux_scale_label(content: JointContent, number: int) -> str:
    """Return the flux scale of a set relative to the reference in words."""
    scale = content.scales.scales[number]
    if number == content.scales.reference:
        return "reference"
    return with_error(scale.factor, scale.error) if math.isfinite(scale.error) else "not compared"


def _wavelengths(bins: list[UvBins]) -> tuple[float, str]:
    longest = max(float(each.uvdist.max(initial=0)) for each in bins)
    return si_prefix(longest)


def _draw_measured(
    axes: Axes, x: NDArray[np.floating], values: NDArray[np.floating], errors: NDArray[np.floating], **style: Any
) -> NDArray[np.floating]:
    """Draw values with their errors, and arrows at the upper limits of what is not detected; return all heights."""
    seen = values > LIMIT * errors
    limits = np.maximum(values, 0) + LIMIT * errors
    axes.errorbar(x[seen], values[seen], errors[seen], **style)
    axes.plot(x[~seen], limits[~seen], linestyle="none", marker=r"$\downarrow$", color=style["color"], markersize=8)
    return np.where(seen, values, limits)


def _logarithmic(axes: Axes, measured: list[NDArray[np.floating]], *models: NDArray[np.floating]) -> None:
    """Make y logarithmic, with limits around all positive values that are measured and the brightest of the models."""
    positive = np.concatenate([each[each > 0] for each in measured])
    highest = max(float(np.max(each, initial=1e-30)) for each in (positive, *models))
    axes.set(yscale="log", ylim=(float(positive.min(initial=highest)) / 3, highest * 3))


def _ratio_span(bins: list[UvBins], shared: tuple[float, float] | None, factors: list[float]) -> float:
    """Return how far the ratio's axis reaches from 1, to hold the factors and the ratios in the shared range."""
    low, high = shared or (0.0, math.inf)
    found = [
        each.ratio[(each.uvdist >= low) & (each.uvdist <= high) & (each.model_amplitude > 10 * each.amplitude_error)]
        for each in bins
    ]
    off = np.abs(np.concatenate([*found, factors, [1.0]]) - 1)
    return min(max(LEAST_SPAN, 1.3 * float(off.max())), MOST_SPAN)


def _draw_ratio(axes: Axes, x: NDArray[np.floating], found: UvBins, span: float, **style: Any) -> None:
    """Draw data over model where the model is detected; what is beyond the axis as arrows at its edge."""
    seen = found.model_amplitude > DETECTED * found.amplitude_error
    beyond = seen & (np.abs(found.ratio - 1) > 0.95 * span)
    inside = seen & ~beyond
    axes.errorbar(x[inside], found.ratio[inside], found.ratio_error[inside], zorder=3, **style)
    for sign, marker in ((1, r"$\uparrow$"), (-1, r"$\downarrow$")):
        there = beyond & (sign * (found.ratio - 1) > 0)
        edge = np.full(np.count_nonzero(there), 1 + 0.92 * sign * span)
        axes.plot(x[there], edge, marker=marker, color=style["color"], markersize=8, linestyle="none")


def _plain_logarithmic_x(axes: Axes) -> None:
    """Label 1, 2 and 5 times powers of ten as plain numbers."""
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=99))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _scales_on_top(axes: Axes, factor: float) -> None:
    """A second x axis with the angular scale that a uv distance corresponds to."""

    def scale_of(uvdist: ArrayLike) -> NDArray[np.floating]:
        with np.errstate(divide="ignore"):
            return 1 / (np.asarray(uvdist) * factor * arcsecond)

    top = axes.secondary_xaxis("top", functions=(scale_of, scale_of))
    top.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=99))
    top.xaxis.set_major_formatter(FuncFormatter(lambda value, _: angle(value)))
    top.xaxis.set_minor_formatter(NullFormatter())
    top.set_xlabel("angular scale")
