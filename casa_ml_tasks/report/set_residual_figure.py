"""The residual of each data set that was imaged together with others: where does the model disagree with which?"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from casa_ml_tasks.quantities import angular_unit
from casa_ml_tasks.report.joint_content import JointContent, short_name
from casa_ml_tasks.report.sky_figures import DISPLAY_PIXELS, DIVERGING, block_edges, block_mean

PANELS_IN_ROW = 3
LIMIT = 5.0  # times the noise, at which the colours end


def draw_set_residuals(content: JointContent) -> Figure:
    """The dirty image of the residual of each data set, in units of its noise."""
    columns = min(len(content.residuals), PANELS_IN_ROW)
    rows = math.ceil(len(content.residuals) / columns)
    figure = Figure(figsize=(1.0 + 3.5 * columns, 0.5 + 3.7 * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for number, (axes, each) in enumerate(zip(panels, content.residuals, strict=False)):
        block = math.ceil(max(each.residual.shape) / (DISPLAY_PIXELS // 2))
        edges = np.array(block_edges(each.residual.shape, block, each.cell))
        length, unit = angular_unit(float(np.ptp(edges[:2])))
        shown = block_mean(each.over_noise, block)
        drawn = axes.imshow(
            shown, origin="lower", extent=tuple(edges / length), cmap=DIVERGING, vmin=-LIMIT, vmax=LIMIT
        )
        axes.set_facecolor("0.88")
        _show_what_is_seen(axes, shown, edges / length)
        axes.set_title(f"{short_name(each.name)}\nr.m.s. {each.rms:.2f} × noise", fontsize=11)
        axes.set_xlabel(f"offset East ({unit})")
        if number % columns == 0:
            axes.set_ylabel(f"offset North ({unit})")
    for axes in panels[len(content.residuals) :]:
        axes.remove()
    figure.colorbar(drawn, ax=panels[: len(content.residuals)].tolist(), label="residual / noise", shrink=0.8, pad=0.02)
    return figure


def _show_what_is_seen(axes: Axes, shown: NDArray[np.floating], edges: NDArray[np.floating]) -> None:
    """Leave out what is masked around the square that holds all valid pixels."""
    rows, columns = np.nonzero(np.isfinite(shown))
    if not rows.size:
        return
    east, west, south, north = edges
    pixel = (east - west) / shown.shape[1], (north - south) / shown.shape[0]
    middle_x = east - pixel[0] * (columns.min() + columns.max() + 1) / 2
    middle_y = south + pixel[1] * (rows.min() + rows.max() + 1) / 2
    half = 0.53 * max(pixel[0] * (np.ptp(columns) + 1), pixel[1] * (np.ptp(rows) + 1))
    axes.set(xlim=(middle_x + half, middle_x - half), ylim=(middle_y - half, middle_y + half))
