"""Pictures of skies beside their truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmarks.joint_skies import CELL

Row = tuple[str, NDArray[np.floating], Mapping[str, NDArray[np.floating]], NDArray[np.floating]]
"""Title, truth, what each method found, (y, x), Jy/pixel, and the primary beam of the mosaic."""


def draw(rows: Sequence[Row], path: Path) -> None:
    """One row for each sky: the truth, what each method found, and its difference from the truth.

    The contour is where the primary beam is 0.3. Differences have a linear scale of a tenth of the brightest truth.
    """
    methods = list(rows[0][2])
    columns = 1 + 2 * len(methods)
    figure = Figure(figsize=(2.2 * columns, 2.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (title, truth, found, primary_beam) in zip(axes, rows, strict=True):
        half = CELL * truth.shape[0] / 2
        inside = primary_beam > 0.3
        peak = float(np.percentile(truth[inside], 99.8))
        brightness, difference = AsinhNorm(peak / 20, 0, peak), Normalize(-peak / 10, peak / 10)
        panels: list[tuple[str, NDArray[np.floating], Normalize, str]] = [(title, truth, brightness, "inferno")]
        for method in methods:
            panels.append((method, found[method], brightness, "inferno"))
        for method in methods:
            panels.append((f"{method} - truth", np.where(inside, found[method] - truth, np.nan), difference, "RdBu_r"))
        for axis, (name, pixels, norm, colours) in zip(line, panels, strict=True):
            extent = (half, -half, -half, half)
            axis.imshow(pixels, origin="lower", extent=extent, norm=norm, cmap=colours, interpolation="nearest")
            axis.contour(primary_beam, [0.3], colors="grey", linewidths=0.6, extent=extent)
            axis.set_title(name, fontsize=8)
            axis.tick_params(labelsize=6)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75)
