"""The figures of residual image and residual visibilities: is what the model leaves noise?"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics
from casa_ml_tasks.quantities import quantity, si_prefix
from casa_ml_tasks.report.image_residual import inside_primary_beam
from casa_ml_tasks.report.imaging_content import Array, ImagingContent
from casa_ml_tasks.report.sky_figures import SMALL, noise_level


def residual_histogram(content: ImagingContent) -> tuple[Array, Array]:
    """Counts (bins,) and bin edges (bins + 1,), times the noise, of the residual inside the primary beam.

    The bins are a quarter of the noise wide and reach to the largest residual, or are wider where that were too many.
    """
    z = inside_primary_beam(content.residual, content.primary_beam) / noise_level(content)
    limit = float(np.max(np.abs(z), initial=5.0))
    return np.histogram(z, bins=min(math.ceil(8 * limit), 400), range=(-limit, limit))


def draw_histogram(content: ImagingContent) -> Figure:
    """The residual inside the primary beam against a Gaussian of the expected noise: equal where only noise is left."""
    counts, edges = residual_histogram(content)
    figure = Figure(figsize=SMALL, dpi=110, layout="constrained")
    axes = figure.add_subplot(yscale="log")
    axes.stairs(counts, edges, fill=True, color="tab:blue", alpha=0.5, label="residual")
    highest = max(float(counts.max()), 1.0)
    if content.noise > 0:
        z = np.linspace(edges[0], edges[-1], 2000)
        gaussian = counts.sum() * (edges[1] - edges[0]) * np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
        label = f"noise, {quantity(content.noise, 'Jy/beam')}"
        axes.plot(z, gaussian, color="black", linewidth=1.2, label=label)
        highest = max(highest, float(gaussian.max()))
    axes.set(
        title="Residual image",
        xlabel="residual / noise",
        ylabel="pixels",
        xlim=(edges[0], edges[-1]),
        ylim=(0.5, 8 * highest),
    )
    axes.legend(frameon=False, loc="upper center", ncols=2, fontsize=9)
    return figure


def draw_visibilities(statistics: ResidualStatistics) -> Figure:
    """Amplitude of the model and of the data in phase with it; below, the mean of data minus model with its error."""
    figure = Figure(figsize=SMALL, dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    edges, unit = _uv_edges(statistics)
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2

    amplitude = np.concatenate([statistics.data_amplitude, statistics.model_amplitude])
    factor, prefix = si_prefix(float(np.nanmax(amplitude, initial=0.0)))
    above.stairs(statistics.model_amplitude / factor, edges, baseline=None, color="black", linewidth=1.2, label="model")
    above.errorbar(
        middle,
        statistics.data_amplitude / factor,
        statistics.data_error / factor,
        **_points("tab:blue", "data in phase with it" if statistics.model_amplitude.any() else "data minus noise"),
    )
    above.set(title="Visibilities", ylabel=f"amplitude ({prefix}Jy)")
    above.set_ylim(bottom=0, top=1.25 * above.get_ylim()[1])
    above.legend(frameon=False, loc="upper right", ncols=2, fontsize=9)

    parts = {"real": ("tab:blue", statistics.real, -0.2), "imaginary": ("tab:orange", statistics.imaginary, 0.2)}
    factor, prefix = si_prefix(float(np.max(np.abs([statistics.real, statistics.imaginary]), initial=0.0)))
    below.axhline(0, color="black", linewidth=0.8)
    for name, (colour, mean, shift) in parts.items():
        points = _points(colour, name)
        below.errorbar(middle + shift * half, mean / factor, statistics.error / factor, **points)
    below.set(xlabel=f"uv distance ({unit})", ylabel=f"residual ({prefix}Jy)", xlim=_with_margin(edges))
    highest = max(abs(limit) for limit in below.get_ylim())
    below.set_ylim(-highest, 1.5 * highest)
    below.legend(frameon=False, loc="upper right", ncols=2, fontsize=9)
    figure.align_ylabels()
    return figure


def draw_chi_squared(statistics: ResidualStatistics) -> Figure:
    """Reduced chi^2 against uv distance, with the scatter that noise alone has."""
    figure = Figure(figsize=SMALL, dpi=110, layout="constrained")
    axes = figure.add_subplot()
    edges, unit = _uv_edges(statistics)
    scatter = 2 / np.sqrt(statistics.count)
    axes.stairs(1 + scatter, edges, baseline=1 - scatter, fill=True, color="0.85", label=r"noise alone, $\pm2\sigma$")
    axes.axhline(1, color="grey", linestyle="dashed", linewidth=1)
    axes.stairs(
        statistics.reduced_chi2, edges, baseline=None, color="tab:blue", linewidth=1.6, label="residual visibilities"
    )
    axes.set(title="Misfit of the visibilities", xlabel=f"uv distance ({unit})", ylabel=r"reduced $\chi^2$")
    lowest = float(min(np.min(1 - scatter), np.min(statistics.reduced_chi2)))
    highest = float(max(np.max(1 + scatter), np.max(statistics.reduced_chi2)))
    if lowest > 0 and highest > 10 * lowest:
        axes.set_yscale("log")
        axes.set_ylim(0.8 * lowest, 2.5 * highest)
        digits = (1, 2, 5) if highest < 1e4 * lowest else (1,)
        axes.yaxis.set_major_locator(LogLocator(subs=digits, numticks=99))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    else:
        axes.set_ylim(lowest - 0.1 * (highest - lowest), highest + 0.25 * (highest - lowest))
        axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_xlim(*_with_margin(edges))
    axes.legend(frameon=False, loc="upper center", ncols=2, fontsize=9)
    return figure


def draw_noise_scales(noise: Mapping[str, Any]) -> Figure:
    """Noise over what WEIGHT claims, by group and along uv distance: `noise` of a fitted data model."""
    figure = Figure(figsize=SMALL, dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1)
    place = np.arange(len(noise["group"]))
    colours = ["tab:blue" if measured else "0.7" for measured in noise["measured"]]
    above.bar(place, noise["scale"], color=colours, width=0.6)
    above.set_xticks(place, [name.rsplit("/", 1)[-1] for name in noise["group"]], fontsize=8)
    above.tick_params(axis="x", labelrotation=90 if len(place) > 3 else 0)
    above.axhline(1, color="grey", linestyle="dashed", linewidth=1)
    above.set(title="Noise found with the image", ylabel="noise over nominal", xlim=(-0.8, len(place) - 0.2))
    if noise["uvdist"]:
        factor, prefix = si_prefix(max(noise["uvdist"]))
        below.plot(np.array(noise["uvdist"]) / factor, noise["uvdist_factor"], "o-", color="tab:blue")
        below.set(xlabel=f"uv distance ({prefix}λ)", ylabel="times this factor")
        below.axhline(1, color="grey", linestyle="dashed", linewidth=1)
    else:
        below.remove()
    return figure


def _uv_edges(statistics: ResidualStatistics) -> tuple[Array, str]:
    """The edges of the bins and their unit, with an SI prefix."""
    factor, prefix = si_prefix(float(statistics.edges[-1]))
    return statistics.edges / factor, f"{prefix}λ"


def _with_margin(edges: Array) -> tuple[float, float]:
    """Limits of an axis that show points on the outermost edges whole."""
    margin = 0.02 * float(edges[-1] - edges[0])
    return float(edges[0]) - margin, float(edges[-1]) + margin


def _points(colour: str, label: str) -> dict[str, Any]:
    return {"fmt": "o", "color": colour, "markersize": 3, "linewidth": 1, "label": label}
