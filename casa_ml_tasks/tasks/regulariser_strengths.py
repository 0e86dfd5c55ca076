"""The regularisers' strengths: as they are given, or from the search by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Fold, MajorCycle
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation, Trial, cross_validate
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.tasks.emission_support import follows_residual, support_of
from casa_ml_tasks.tasks.major_cycles import beam_areas
from casa_ml_tasks.tasks.prior_image import prior_image

FOLDS = 5  # of cross-validation


def given_strengths(parameters: Mapping[str, Any]) -> list[float]:
    """Return the strength of each regulariser, where they are given as numbers, or not at all."""
    return np.atleast_1d(parameters["regstrength"]).tolist() or [1.0] * len(parameters["regularizer"])


def are_searched(parameters: Mapping[str, Any]) -> bool:
    """Return whether cross-validation is to find them."""
    return parameters["minorcycle"] != "clean" and isinstance(parameters["regstrength"], str)


def fold_count(parameters: Mapping[str, Any]) -> int:
    """Return how many folds our own major cycle is to keep, for regstrength='auto'."""
    return FOLDS if are_searched(parameters) else 0


def fold_reader(
    major: MajorCycle, workspace: Workspace, parameters: Mapping[str, Any]
) -> Callable[[], list[Fold]] | None:
    """Return what gives the folds where regstrength='auto' asks for them; for CASA's imager they are read once."""
    if not are_searched(parameters):
        return None
    if major.visibilities is not None:
        return major.visibilities.folds
    return cache(partial(_read_folds, workspace, parameters))


def _read_folds(workspace: Workspace, parameters: Mapping[str, Any]) -> list[Fold]:
    """Read the visibilities for CASA's imager, which cannot split them."""
    directory = workspace.directory / "folds"
    directory.mkdir(exist_ok=True)
    split = NativeMajorCycle(parameters, directory, w_term=False, folds=FOLDS)
    try:
        return split.folds()
    finally:
        split.close()


def find_strengths(
    major: MajorCycle,
    folds: Callable[[], list[Fold]] | None,
    noise: NDArray[np.floating],
    parameters: Mapping[str, Any],
) -> CrossValidation | None:
    """Return the search for the regularisers' strengths, where there is a `fold_reader`. noise: (1, 1), Jy/beam.

    A mask that follows the residual does not exist yet: the search goes without.
    """
    if folds is None:
        return None
    return cross_validate(
        folds(),
        NoiseLevel(float(noise[0, 0]), float(beam_areas(major)[0]), prior_image(parameters)[0, 0]),
        parameters["regularizer"],
        parameters["positivity"],
        np.ones(major.shape[-2:], bool) if follows_residual(parameters) else support_of(major, parameters)[0, 0],
        _log_trial,
    )


def _log_trial(trial: Trial) -> None:
    strengths = ", ".join(f"{strength:.3g}" for strength in trial.strengths)
    casalog.post(f"regstrength=[{strengths}]: mean log of held-out chi^2 {trial.misfit.mean():.6g}", "INFO", "rmlclean")
