"""Spectra of the most significant sources, with their lines."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from casa_ml_tasks.quantities import si_prefix
from casa_ml_tasks.report.source_content import SourceContent

MOST = 12  # spectra
ROW = 3  # spectra beside each other
COLOUR, LINE = "#0072B2", "#E69F00"  # Okabe and Ito 2008


def shown_spectra(content: SourceContent) -> list[int]:
    """Return the rows of the sources whose spectra are shown: those with lines, then the others, as they are listed."""
    with_lines = np.asarray(content.sources["lines"]) > 0
    return np.argsort(~with_lines, kind="stable")[:MOST].tolist()


def draw_spectra(content: SourceContent) -> Figure:
    """Return the spectra with the noise as a band around zero, and the channels of lines shaded."""
    rows = shown_spectra(content)
    height = -(-len(rows) // ROW)
    figure = Figure(figsize=(4.6 * ROW, 2.7 * height + 0.3), dpi=110, layout="constrained")
    grid = figure.subplots(height, ROW, squeeze=False).ravel()
    for axes, row in zip(grid, rows, strict=False):
        _draw(axes, content, row)
    for axes in grid[len(rows) :]:
        axes.set_axis_off()
    label = "radio velocity (km/s)" if _has_velocities(content) else "frequency (GHz)"
    figure.supxlabel(label, fontsize=10)
    return figure


def _has_velocities(content: SourceContent) -> bool:
    return bool(np.isfinite(np.asarray(content.channels["velocity"])).all())


def _draw(axes: Axes, content: SourceContent, row: int) -> None:
    source, channels = content.sources[row], content.channels
    x = np.asarray(channels["velocity"] if _has_velocities(content) else channels["frequency"] / 1e9, float)
    flux, error = (np.asarray(source[name], float) for name in ("spectrum", "spectrum_err"))
    seen = np.isfinite(flux) & np.isfinite(error)
    factor, prefix = si_prefix(float(np.abs(flux[seen]).max(initial=0.0)))
    edges = np.interp(np.arange(len(x) + 1) - 0.5, np.arange(len(x)), x)
    band = np.where(seen, error, np.nan) / factor
    axes.fill_between(x, -band, band, step="mid", color="0.9")
    axes.step(x, np.where(seen, flux, np.nan) / factor, where="mid", color=COLOUR, linewidth=1.0)
    axes.axhline(float(source["continuum"]) / factor, color="0.4", linewidth=0.8, linestyle="dotted")
    own = content.lines[np.asarray(content.lines["id"]) == source["id"]]
    for number, line in enumerate(own):
        first, last = edges[line["first"]], edges[line["last"] + 1]
        axes.axvspan(first, last, color=LINE, alpha=0.25, linewidth=0)
        axes.annotate(
            f"{line['snr']:.0f}σ",
            ((first + last) / 2, 0.97 - 0.08 * (number % 2)),  # neighbours would hide each other
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize=8,
        )
    axes.set_title(f"{source['id']}  {source['name']}", fontsize=9, loc="left")
    axes.set_ylabel(f"{prefix}Jy", fontsize=9)
    axes.set_xlim(*sorted((edges[0], edges[-1])))
    axes.margins(y=0.15)
    axes.tick_params(labelsize=8)
