"""The figures of a posterior: what is known of the sky, how well, and how the inference came to it."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import AsinhNorm, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior
from casa_ml_tasks.quantities import si_prefix
from casa_ml_tasks.report.imaging_content import ImagingContent
from casa_ml_tasks.report.sky_figures import (
    DISPLAY_PIXELS,
    SEQUENTIAL,
    asinh_ticks,
    block_edges,
    block_mean,
    draw_sky,
    noise_level,
)

SAMPLES_SHOWN = 4
LEAST_RELATIVE_UNCERTAINTY = 1e-3  # that the colours tell apart
WIDE = (7.2, 4.6)  # inches


def draw_samples(content: ImagingContent, posterior: Posterior) -> Figure:
    """Four samples side by side, in the colours of the posterior mean."""
    samples = posterior.samples[:SAMPLES_SHOWN, 0, 0]
    block = math.ceil(max(samples.shape[1:]) * len(samples) / DISPLAY_PIXELS)
    noise = noise_level(content) / content.beam_area
    highest = max(float(content.model.max()), 3 * noise)
    factor, prefix = si_prefix(highest)
    length, angle = content.angular_unit
    lowest = min(float(content.model.min()), 0.0)
    norm = AsinhNorm(linear_width=3 * noise / factor, vmin=lowest / factor, vmax=highest / factor)
    ny, nx = samples.shape[1:]
    figure = Figure(
        figsize=(3.4 * len(samples) + 0.8, 1.0 + 3.2 * min(max(ny / nx, 0.4), 1.6)), dpi=110, layout="constrained"
    )
    all_axes = figure.subplots(1, len(samples), sharex=True, sharey=True, squeeze=False)[0]
    for number, (axes, sample) in enumerate(zip(all_axes, samples, strict=True), 1):
        shown = block_mean(sample, block) / factor
        edges = block_edges(sample.shape, block, content.cell / length)
        drawn = axes.imshow(shown, origin="lower", extent=edges, cmap=SEQUENTIAL, norm=norm)
        axes.set(title=f"Sample {number}", xlabel=f"offset East ({angle})")
    all_axes[0].set_ylabel(f"offset North ({angle})")
    bar = figure.colorbar(drawn, cax=all_axes[-1].inset_axes((1.04, 0, 0.05, 1)), label=f"{prefix}Jy/pixel")
    bar.set_ticks(ticks := asinh_ticks(norm), labels=[f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
    bar.minorticks_off()
    return figure


def draw_relative_uncertainty(content: ImagingContent, posterior: Posterior) -> Figure:
    """Uncertainty over mean, up to 1, where the mean is above its uncertainty; grey elsewhere."""
    ratio = posterior.relative_uncertainty[0, 0]
    lowest = max(float(np.nanmin(ratio, initial=0.5)), LEAST_RELATIVE_UNCERTAINTY)
    figure = draw_sky(
        content,
        ratio,
        "Relative uncertainty",
        "uncertainty / mean",
        lambda factor: LogNorm(lowest / factor, 1 / factor),
        1.0,
        "viridis_r",
        show_beam=False,
    )
    of_bar = figure.axes[0].child_axes[0].yaxis
    of_bar.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7), numticks=99))
    of_bar.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    of_bar.set_minor_locator(NullLocator())
    return figure


def draw_power_spectrum(content: ImagingContent, posterior: Posterior) -> Figure:
    """Median power over the samples and the band that holds 68 % of them, by spatial frequency."""
    assert posterior.power_spectrum is not None
    spectrum = posterior.power_spectrum
    figure = Figure(figsize=WIDE, dpi=110, layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    length, angle = content.angular_unit
    frequency = spectrum.frequency * length
    lower, median, upper = (power / length**2 for power in (spectrum.lower, spectrum.median, spectrum.upper))
    axes.fill_between(frequency, lower, upper, color="tab:blue", alpha=0.3, label="68 %")
    axes.plot(frequency, median, color="tab:blue", label="median")
    if content.beam is not None:
        axes.axvline(length / content.beam[0], color="grey", linestyle="dashed", linewidth=1, label="1 / beam")
    axes.set(
        xlabel=f"spatial frequency (cycles/{angle})",
        ylabel=f"power ({angle}²)",
        xlim=(frequency[0], frequency[-1]),
    )
    above = axes.secondary_xaxis("top", functions=(_inverse, _inverse))
    above.set_xlabel(f"scale ({angle})")
    for axis in (axes.xaxis, above.xaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=99))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.set_title("Power spectrum of the logarithm of the sky")
    axes.legend(frameon=False, fontsize=9)
    return figure


def _inverse(value: ArrayLike) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):  # of the zero that matplotlib tries
        return 1 / np.asarray(value, float)


def draw_inference(iterations: Sequence[GlobalIteration]) -> Figure:
    """Error of the mean, and its residual over the noise, after each global iteration."""
    number = np.array([step.iteration for step in iterations])
    panels = {
        "error of the mean (σ)": np.array([step.mean_error for step in iterations]),
        "residual / noise": np.array([step.residual for step in iterations]),
    }
    stages = np.array([step.stage for step in iterations])
    figure = Figure(figsize=WIDE, dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, (label, values) in zip((above, below), panels.items(), strict=True):
        axes.plot(number, values, color="tab:blue", linewidth=1)
        for stage, marker in zip(dict.fromkeys(stages), "os^", strict=False):
            axes.plot(number[stages == stage], values[stages == stage], marker, color="tab:blue", label=stage)
        known = values[np.isfinite(values)]
        if known.size and known.min() > 0 and known.max() > 10 * known.min():
            axes.set_yscale("log")
        axes.margins(y=0.15)
        axes.set_ylabel(label)
    below.axhline(1, color="grey", linestyle="dashed", linewidth=1, label="only noise left")
    below.legend(frameon=False, fontsize=9)
    above.set_title("Inference")
    below.set_xlabel("global iteration")
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    below.set_xlim(number[0] - 0.3, number[-1] + 0.3)
    figure.align_ylabels()
    return figure
