"""Where the pointings of a mosaic and the single-dish maps look, over the sky that was found."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from casa_ml_tasks.quantities import angular_unit
from casa_ml_tasks.report.joint_content import JointContent, short_name
from casa_ml_tasks.report.sky_figures import DISPLAY_PIXELS, block_edges, block_mean

LEVELS = {0.2: "20 %", 0.5: "50 %", 0.8: "80 %"}
MOST_CIRCLES = 300  # of a set; of more, only the centres are drawn
BRIGHTEST = 0.999  # quantile of the model at which the grey scale ends


def draw_coverage(content: JointContent) -> Figure:
    """The model in grey with half-power circles of the pointings, outlines of the maps and contours of sensitivity."""
    block = math.ceil(max(content.model.shape) / DISPLAY_PIXELS)
    edges = np.array(block_edges(content.model.shape, block, content.cell))
    corners = [np.abs(np.concatenate([each.east, each.north])).max() for each in content.outlines]
    length, unit = angular_unit(2 * max([*np.abs(edges), *corners]))
    figure = Figure(figsize=(7.6, 8.2), dpi=110, layout="constrained")
    axes = figure.add_subplot(aspect="equal")
    shown = np.sqrt(np.clip(block_mean(content.model, block), 0, None))
    top = float(np.nanquantile(shown, BRIGHTEST)) or 1.0
    axes.imshow(shown, origin="lower", extent=tuple(edges / length), cmap="Greys", vmin=0, vmax=1.2 * top)

    east, west, south, north = block_edges(content.sensitivity.shape, block, content.cell / length)
    level = block_mean(content.sensitivity, block)
    x = east + (np.arange(level.shape[1]) + 0.5) * (west - east) / level.shape[1]
    y = south + (np.arange(level.shape[0]) + 0.5) * (north - south) / level.shape[0]
    drawn = [each for each in LEVELS if np.nanmin(level) < each < np.nanmax(level)]
    if drawn:
        contours = axes.contour(x, y, level, drawn, colors="black", linewidths=1.2, linestyles="dashed", zorder=3)
        for text in axes.clabel(contours, fmt=LEVELS, fontsize=8.5, zorder=4):
            text.set_path_effects([withStroke(linewidth=3, foreground="white")])
    entries = [Line2D([], [], color="black", linewidth=1, linestyle="dashed", label="sensitivity of all visibilities")]
    for each in content.pointings:
        colour, marker = content.style(each.name)
        axes.plot(each.east / length, each.north / length, marker, color=colour, markersize=2.5, linestyle="none")
        circles = zip(each.east, each.north, each.half_power, strict=True) if each.east.size <= MOST_CIRCLES else ()
        for right, up, radius in circles:
            axes.add_patch(Circle((right / length, up / length), radius / length, fill=False, color=colour, lw=0.9))
        count = f"{each.east.size} pointing{'s' if each.east.size != 1 else ''}"
        label = f"{short_name(each.name)}: {count}"
        entries.append(Line2D([], [], color=colour, marker=marker, markersize=4, linewidth=0.9, label=label))
    for outline in content.outlines:
        colour, _ = content.style(outline.name)
        points = np.stack([outline.east, outline.north], axis=1) / length
        axes.add_patch(Polygon(points, closed=True, fill=False, edgecolor=colour, linewidth=1.8))
        centre = points.min(axis=0) + 0.75 * outline.beam / length
        axes.add_patch(Circle(centre, outline.beam / length / 2, color=colour, alpha=0.35, linewidth=0))
        label = f"{short_name(outline.name)}: map and its beam"
        entries.append(Line2D([], [], color=colour, linewidth=1.8, label=label))
    _limits(axes, content, edges / length, length)
    axes.set(title="Coverage", xlabel=f"offset East ({unit})", ylabel=f"offset North ({unit})")
    figure.legend(handles=entries, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _limits(axes: Axes, content: JointContent, edges: NDArray[np.floating], length: float) -> None:
    """Show image, maps and circles whole, with East on the left."""
    east, west, south, north = edges
    rights, ups = [np.array([east, west])], [np.array([south, north])]
    for outline in content.outlines:
        rights.append(outline.east / length)
        ups.append(outline.north / length)
    for each in content.pointings:
        for sign in (-1, 1):
            rights.append((each.east + sign * each.half_power) / length)
            ups.append((each.north + sign * each.half_power) / length)
    right, up = np.concatenate(rights), np.concatenate(ups)
    margin = 0.03 * max(np.ptp(right), np.ptp(up))
    axes.set_xlim(right.max() + margin, right.min() - margin)
    axes.set_ylim(up.min() - margin, up.max() + margin)
