"""The figures of a report, drawn without pyplot so that no global state of matplotlib changes."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import LogLocator, MaxNLocator

from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation
from casa_ml_tasks.quantities import quantity, si_prefix
from casa_ml_tasks.report.content import Array, ReportContent
from casa_ml_tasks.report.image_residual import inside_primary_beam

DISPLAY_PIXELS = 1024
PRIMARY_BEAM_LEVELS = {0.2: "20 %", 0.5: "50 %"}
SMALL = (4.8, 4.2)  # inches; three of these stand in a row
SEQUENTIAL, DIVERGING = "inferno", "RdBu_r"
ROOM_OF_DIGIT = 0.014  # of the length of a colour bar


def block_mean(image: Array, block: int) -> Array:
    """Mean over blocks of (block, block) pixels, of the unmasked ones; the last blocks may be partial."""
    ny, nx = image.shape
    padded = np.pad(image, ((0, -ny % block), (0, -nx % block)), constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block)
    return np.ma.masked_invalid(blocks).mean(axis=(1, 3)).filled(np.nan)


def sky_edges(shape: tuple[int, ...], cell: float) -> tuple[float, float, float, float]:
    """East, West, South and North edge of an image as offsets from its reference pixel (n // 2), in the unit of `cell`.

    Offsets grow to the North and to the East, so the first is the largest in x and stands on the left.
    """
    ny, nx = shape
    east, south = nx // 2 + 0.5, -(ny // 2) - 0.5
    return cell * east, cell * (east - nx), cell * south, cell * (south + ny)


def block_edges(shape: tuple[int, ...], block: int, cell: float) -> tuple[float, float, float, float]:
    """As `sky_edges`, of an image that `block_mean` has averaged: its last blocks may reach beyond the image."""
    ny, nx = shape
    east, _, south, _ = sky_edges(shape, cell)
    side = block * cell
    return east, east - side * math.ceil(nx / block), south, south + side * math.ceil(ny / block)


def noise_level(content: ReportContent) -> float:
    """The expected noise; for noise-free data what the residual shows instead, and never zero."""
    values = inside_primary_beam(content.residual, content.primary_beam)
    measured = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
    return next((noise for noise in (content.noise, measured) if noise > 0), 1e-6)


def residual_histogram(content: ReportContent) -> tuple[Array, Array]:
    """Counts (bins,) and bin edges (bins + 1,), times the noise, of the residual inside the primary beam.

    The bins are a quarter of the noise wide and reach to the largest residual, or are wider where that were too many.
    """
    z = inside_primary_beam(content.residual, content.primary_beam) / noise_level(content)
    limit = float(np.max(np.abs(z), initial=5.0))
    return np.histogram(z, bins=min(math.ceil(8 * limit), 400), range=(-limit, limit))


def asinh_ticks(norm: AsinhNorm) -> list[float]:
    """Round values for a colour bar: zero, powers of ten, then 5 and 2 times these, where labels have room."""
    powers = 10.0 ** np.arange(-4, 4)
    ticks = [0.0]
    for tick in (sign * digit * power for digit in (1, 5, 2) for power in powers for sign in (1, -1)):
        room = max(0.05, ROOM_OF_DIGIT * len(f"{tick:g}"))
        if norm.vmin <= tick <= norm.vmax and np.min(np.abs(norm(ticks) - norm(tick))) > room:
            ticks.append(float(tick))
    return sorted(ticks)


def _draw_beam(axes: Axes, beam: tuple[float, float, float], edges: tuple[float, float, float, float]) -> None:
    """The beam in the South-East corner, true to scale."""
    major, minor, position_angle = beam
    east, west, south, north = edges
    margin = 0.03 * min(east - west, north - south) + major / 2
    # x grows to the left, so the anticlockwise turn that matplotlib counts from x to y is the sky's, reversed.
    centre = (east - margin, south + margin)
    axes.add_patch(Ellipse(centre, minor, major, angle=-position_angle, facecolor="white", edgecolor="black"))


def _draw_primary_beam(axes: Axes, primary_beam: Array, edges: tuple[float, float, float, float], colour: str) -> None:
    """Dashed contours at half and a fifth of the response, where the image reaches that far."""
    east, west, south, north = edges
    ny, nx = primary_beam.shape
    x = east + (np.arange(nx) + 0.5) * (west - east) / nx
    y = south + (np.arange(ny) + 0.5) * (north - south) / ny
    levels = [level for level in PRIMARY_BEAM_LEVELS if np.nanmin(primary_beam) < level < np.nanmax(primary_beam)]
    if levels:
        contours = axes.contour(x, y, primary_beam, levels, colors=colour, linestyles="dashed", linewidths=0.8)
        axes.clabel(contours, fmt=PRIMARY_BEAM_LEVELS, fontsize=8)


def draw_sky(
    content: ReportContent,
    image: Array,
    title: str,
    unit: str,
    norm: Callable[[float], Normalize],
    highest: float,
    colours: str = SEQUENTIAL,
    show_beam: bool = True,
) -> Figure:
    """One image of the sky.

    Args:
        content: what the report is about.
        image: (y, x), in ``unit``.
        title: above the image.
        unit: Jy/beam or Jy/pixel; the colour bar adds the SI prefix.
        norm: makes the stretch when given the factor of the prefix, by which all limits are divided.
        highest: the value that chooses the prefix.
        colours: name of the colormap.
        show_beam: whether the beam belongs to this image.
    """
    block = math.ceil(max(image.shape) / DISPLAY_PIXELS)
    factor, prefix = si_prefix(highest)
    shown = block_mean(image, block) / factor
    length, angle = content.angular_unit
    edges = block_edges(image.shape, block, content.cell / length)

    width, height = 5.0, min(max(5.0 * image.shape[0] / image.shape[1], 2.0), 8.0)
    figure = Figure(figsize=(width + 2.2, height + 1.1), dpi=110)
    position = (0.95 / figure.get_figwidth(), 0.65 / figure.get_figheight())
    size = (width / figure.get_figwidth(), height / figure.get_figheight())
    axes = figure.add_axes((*position, *size), facecolor="0.93", aspect="equal")
    drawn = axes.imshow(shown, origin="lower", extent=edges, cmap=colours, norm=norm(factor))
    bar = figure.colorbar(drawn, cax=axes.inset_axes((1.03, 0, 0.045, 1)), label=f"{prefix}{unit}")
    if isinstance(drawn.norm, AsinhNorm):
        ticks = asinh_ticks(drawn.norm)
        bar.set_ticks(ticks, labels=[f"{tick:g}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
        bar.minorticks_off()
    if content.primary_beam is not None:
        contour_colour = "white" if colours == SEQUENTIAL else "black"
        _draw_primary_beam(axes, block_mean(content.primary_beam, block), edges, contour_colour)
    if show_beam and content.beam is not None:
        major, minor, position_angle = content.beam
        _draw_beam(axes, (major / length, minor / length, position_angle), edges)
    axes.set(
        title=title if block == 1 else f"{title} (mean of {block} × {block} pixels)",
        xlabel=f"offset East ({angle})",
        ylabel=f"offset North ({angle})",
    )
    return figure


def _draw_asinh(
    content: ReportContent, image: Array, title: str, unit: str, noise: float, lowest: float, show_beam: bool = True
) -> Figure:
    """An image whose stretch is linear up to a few times the noise and logarithmic above."""
    highest = max(float(np.nanmax(image, initial=0.0)), 3 * noise)

    def norm(factor: float) -> Normalize:
        return AsinhNorm(linear_width=3 * noise / factor, vmin=lowest / factor, vmax=highest / factor)

    return draw_sky(content, image, title, unit, norm, highest, show_beam=show_beam)


def draw_dirty(content: ReportContent) -> Figure:
    """The dirty image, from its deepest negative sidelobe to its peak."""
    noise = noise_level(content)
    lowest = float(np.nanmin(content.dirty, initial=-3 * noise))
    return _draw_asinh(content, content.dirty, "Dirty image", "Jy/beam", noise, lowest)


def draw_model(content: ReportContent) -> Figure:
    """The model, with the noise of one beam spread over the beam's pixels as the faintest brightness of interest.

    Of a sky that is not negative the colours begin at zero, although the pixels that render a bright source between
    them are of either sign.
    """
    noise = noise_level(content) / content.beam_area
    lowest = float(np.nanmin(content.model, initial=0.0)) if content.may_be_negative else 0.0
    title = "Model" if content.posterior is None else "Posterior mean"
    return _draw_asinh(content, content.model, title, "Jy/pixel", noise, lowest, show_beam=False)


def draw_restored(content: ReportContent) -> Figure:
    """The restored image, from three times the noise below zero to its peak."""
    noise = noise_level(content)
    return _draw_asinh(content, content.restored, "Restored image", "Jy/beam", noise, -3 * noise)


def draw_residual(content: ReportContent) -> Figure:
    """The residual image, linear, between plus and minus five times the expected noise."""
    limit = 5 * noise_level(content)
    return draw_sky(
        content,
        content.residual,
        "Residual image (colours: ±5 × expected noise)",
        "Jy/beam",
        lambda factor: Normalize(-limit / factor, limit / factor),
        limit,
        DIVERGING,
    )


def draw_histogram(content: ReportContent) -> Figure:
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


def draw_validation(validation: CrossValidation) -> Figure:
    """Held-out misfit of every trial beyond the best one's, with its standard error."""
    figure = Figure(figsize=SMALL, dpi=110, layout="constrained")
    axes = figure.add_subplot()
    trials = sorted(validation.trials, key=lambda trial: trial.strengths)
    excess, error = np.array([trial.excess(validation.best) for trial in trials]).T
    place = np.arange(len(trials))
    axes.axhline(0, color="grey", linestyle="dashed", linewidth=1)
    axes.errorbar(place, excess, error, fmt="o", color="tab:blue", capsize=3, label="trials, standard error")
    chosen = trials.index(validation.chosen)
    axes.plot(chosen, excess[chosen], "o", markersize=11, fillstyle="none", color="tab:orange", label="chosen")
    axes.set_xticks(place, [", ".join(f"{strength:.2g}" for strength in trial.strengths) for trial in trials])
    axes.tick_params(axis="x", labelrotation=90 if len(trials) > 6 else 0, labelsize=8)
    axes.set(title="Cross-validation", xlabel="regstrength", ylabel=r"mean $\Delta\ln\chi^2$, held out")
    axes.legend(frameon=False, fontsize=9)
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


def draw_convergence(content: ReportContent) -> Figure:
    """Peak of the residual image and, where it is known, reduced chi^2 of the visibilities after each major cycle."""
    cycle = [entry["cycle"] for entry in content.cycles]
    chi2 = [entry["reduced_chi2"] for entry in content.cycles]
    peak = np.abs([entry["peak_residual"] for entry in content.cycles])
    factor, prefix = si_prefix(float(np.max(peak, initial=0.0)))
    panels = [(f"peak residual ({prefix}Jy/beam)", peak / factor, content.noise / factor, "expected noise")]
    if np.any(np.isfinite(chi2)):
        panels.insert(0, (r"reduced $\chi^2$", np.array(chi2), 1.0, "only noise left"))

    figure = Figure(figsize=(7.2, 4.6), dpi=110, layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, values, goal, meaning) in zip(all_axes, panels, strict=True):
        axes.plot(cycle, values, "o-", color="tab:blue")
        axes.axhline(goal, color="grey", linestyle="dashed", linewidth=1, label=meaning)
        if goal > 0 and np.min(values, initial=goal) > 0 and np.max(values, initial=goal) > 10 * goal:
            axes.set_yscale("log")
        else:
            axes.ticklabel_format(axis="y", useOffset=False)
        axes.margins(y=0.15)
        axes.set_ylabel(label)
        axes.legend(frameon=False, fontsize=9)
    all_axes[0].set_title("Convergence")
    all_axes[-1].set_xlabel("major cycle")
    all_axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    all_axes[-1].set_xlim(min(cycle, default=0) - 0.3, max(cycle, default=0) + 0.3)
    figure.align_ylabels()
    return figure
