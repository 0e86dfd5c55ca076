"""The figure of the major cycles: whether misfit and residual come down to the noise."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from casa_ml_tasks.quantities import si_prefix


def draw_convergence(cycles: Sequence[Mapping[str, float]], noise: float) -> Figure:
    """Peak of the residual image and, where it is known, reduced chi^2 of the visibilities after each major cycle.

    Args:
        cycles: as those of `ImagingContent`.
        noise: standard deviation that the noise in the data gives the image, Jy/beam.
    """
    cycle = [entry["cycle"] for entry in cycles]
    chi2 = [entry["reduced_chi2"] for entry in cycles]
    peak = np.abs([entry["peak_residual"] for entry in cycles])
    factor, prefix = si_prefix(float(np.max(peak, initial=0.0)))
    panels = [(f"peak residual ({prefix}Jy/beam)", peak / factor, noise / factor, "expected noise")]
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
