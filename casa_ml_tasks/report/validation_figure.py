"""The figure of a search for the regularisers' strengths."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from casa_ml_tasks.minor.rml.cross_validation import CrossValidation
from casa_ml_tasks.report.section import Drawing
from casa_ml_tasks.report.sky_figures import SMALL


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


def validation_drawing(validation: CrossValidation) -> Drawing:
    """The figure with its caption."""
    return Drawing(
        "validation",
        "How well images made with these strengths of the regularisers, from a part of the uv plane, predict the rest: "
        "the lower the better. The strongest regularisation within one standard error of the best is chosen.",
        partial(draw_validation, validation),
    )
