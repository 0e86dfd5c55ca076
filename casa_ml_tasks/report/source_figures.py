"""Maps with sources, their probabilities, and what is true beside them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from casa_ml_tasks.report.sky_figures import DIVERGING, draw_sky
from casa_ml_tasks.report.source_content import BOX, FWHM, SourceContent, half_boxes

FOUND, MISSED, TRUE = "#56B4E9", "#D55E00", "#009E73"  # Okabe and Ito 2008
SMALLEST_BOX = 0.5  # beams, half a side; smaller ones could not be seen
BINS = np.linspace(0, 1, 11)  # of probability


def draw_source_map(content: SourceContent) -> Figure:
    """Return the dirty image of all channels with a numbered box around each source."""
    figure = _dirty(content, "Dirty image of all channels, and the sources")
    _boxes(figure.axes[0], content, content.sources, FOUND, [str(each) for each in content.sources["id"]])
    return figure


def draw_source_residual(content: SourceContent) -> Figure:
    """Return what the sources leave of it, between plus and minus five times the noise."""
    limit = 5 * content.noise

    def norm(factor: float) -> Normalize:
        return Normalize(-limit / factor, limit / factor)

    title = "Residual of the sources (colours: ±5 × noise)"
    figure = draw_sky(content.image, content.residual, title, "Jy/beam", norm, limit, DIVERGING)
    _boxes(figure.axes[0], content, content.sources, "black", [str(each) for each in content.sources["id"]])
    return figure


def draw_probability_map(content: SourceContent) -> Figure:
    """Return the probability that the centre of a source is in a patch of pixels."""
    title = "Probability of a source's centre, in each patch"

    def norm(factor: float) -> Normalize:
        return Normalize(0, 1 / factor)

    return draw_sky(content.image, content.probability, title, "", norm, 1.0, show_beam=False)


def draw_truth(content: SourceContent) -> Figure:
    """Return the true sources and those that were found, as their 2-sigma ellipses."""
    matches, truth = content.matches, content.truth
    assert matches is not None
    assert truth is not None
    figure = _dirty(content, "Found, missed and true sources")
    axes = figure.axes[0]
    _ellipses(axes, content, truth[matches.true], TRUE, "solid", f"true, found ({len(matches.true)})")
    _ellipses(axes, content, truth[matches.missed], MISSED, "solid", f"true, missed ({len(matches.missed)})")
    _ellipses(axes, content, content.sources[matches.found], FOUND, "dashed", f"found ({len(matches.found)})")
    _ellipses(axes, content, content.sources[matches.unknown], MISSED, "dashed", f"not true ({len(matches.unknown)})")
    axes.legend(loc="best", fontsize=8, framealpha=0.7)
    return figure


def draw_true_numbers(content: SourceContent) -> Figure:
    """Return measured over true: axes, and fluxes where the truth has them."""
    matches, truth = content.matches, content.truth
    assert matches is not None
    assert truth is not None
    pairs = [("major", "major axis (arcsec)"), ("minor", "minor axis (arcsec)"), ("continuum", "continuum (Jy)")]
    shown = [(name, label) for name, label in pairs if name in truth.colnames]
    figure = Figure(figsize=(3.0 * len(shown), 3.1), dpi=110, layout="constrained")
    for axes, (name, label) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        true = np.asarray(truth[name], float)[matches.true]
        measured = np.asarray(content.sources[name], float)[matches.found]
        error = np.asarray(content.sources[f"{name}_err"], float)[matches.found]
        axes.errorbar(true, measured, error, fmt="o", color=FOUND, ecolor="0.6", markersize=4)
        low, high = _limits([true, measured])
        axes.plot([low, high], [low, high], color="0.4", linewidth=0.8)
        axes.set(xlabel=f"true {label}", ylabel=f"measured {label}", xlim=(low, high), ylim=(low, high), aspect="equal")
    return figure


def draw_probabilities(content: SourceContent) -> Figure:
    """Return the probabilities of the sources, and, where there is a truth, the share of each bin that is true."""
    probability = np.asarray(content.sources["probability"], float)
    figure = Figure(figsize=(5.4, 4.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    counts, _, _ = axes.hist(probability, BINS.tolist(), color=FOUND, edgecolor="white")
    axes.set(xlabel="probability that it is real", ylabel="sources", xlim=(0, 1))
    axes.set_ylim(0, max(1.0, 1.15 * float(np.max(counts, initial=0))))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if content.matches is not None:
        share = axes.twinx()
        bins = np.clip(np.digitize(probability, BINS) - 1, 0, len(BINS) - 2)
        is_true = np.isin(np.arange(len(probability)), content.matches.found)
        filled = [each for each in range(len(BINS) - 1) if np.any(bins == each)]
        mean = [probability[bins == each].mean() for each in filled]
        share.plot([0, 1], [0, 1], color="0.4", linewidth=0.8)
        share.plot(mean, [is_true[bins == each].mean() for each in filled], "o", color=MISSED)
        share.set(ylabel="share that is true (points)", ylim=(0, 1.05))
    return figure


def _dirty(content: SourceContent, title: str) -> Figure:
    """Return the dirty image, linear up to a few times the noise and logarithmic above."""
    highest = max(float(content.dirty.max()), 3 * content.noise)

    def norm(factor: float) -> Normalize:
        return AsinhNorm(3 * content.noise / factor, vmin=-3 * content.noise / factor, vmax=highest / factor)

    return draw_sky(content.image, content.dirty, title, "Jy/beam", norm, highest)


def _places(content: SourceContent, table: Table) -> tuple[NDArray[np.floating], NDArray[np.floating], float]:
    """Return offsets to the East and to the North in the unit of the figure, and this unit's length, arcsec."""
    ny, nx = content.dirty.shape
    length, _ = content.image.angular_unit
    east = (nx // 2 - np.asarray(table["x"], float)) * content.cell / length
    north = (np.asarray(table["y"], float) - ny // 2) * content.cell / length
    return east, north, length


def _boxes(axes: Axes, content: SourceContent, table: Table, colour: str, names: list[str]) -> None:
    east, north, length = _places(content, table)
    least = SMALLEST_BOX * float(np.sqrt(content.beam[0] * content.beam[1]))
    wide, high = (np.maximum(half, least) / length for half in half_boxes(table))
    for x, y, w, h, name in zip(east, north, wide, high, names, strict=True):
        axes.add_patch(Rectangle((x - w, y - h), 2 * w, 2 * h, fill=False, edgecolor=colour, linewidth=1.1))
        axes.annotate(
            name, (x - w, y + h), xytext=(2, 1), textcoords="offset points", color=colour, fontsize=9, clip_on=True
        )


def _ellipses(axes: Axes, content: SourceContent, table: Table, colour: str, style: str, label: str) -> None:
    east, north, length = _places(content, table)
    axes.plot([], [], color=colour, linestyle=style, label=label)
    for x, y, row in zip(east, north, table, strict=True):
        major, minor = (2 * BOX / FWHM * max(float(row[name]), content.cell) / length for name in ("major", "minor"))
        # x grows to the left, so the anticlockwise turn that matplotlib counts is the sky's, reversed.
        shape = Ellipse((x, y), minor, major, angle=-float(row["pa"]), fill=False, edgecolor=colour, linestyle=style)
        axes.add_patch(shape)


def _limits(values: Iterable[NDArray[np.floating]]) -> tuple[float, float]:
    """Return limits of an axis that hold all values, and 0."""
    highest = max((float(np.max(each, initial=0)) for each in values), default=1.0)
    return 0.0, 1.1 * highest if highest > 0 else 1.0
