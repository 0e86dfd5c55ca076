"""The search for the regularisers' strengths by cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import cache, partial

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Fold, MajorCycle
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation, Trial, cross_validate
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks.emission_support import support_of
from casa_ml_tasks.tasks.major_cycles import beam_areas
from casa_ml_tasks.tasks.prior_image import prior_image

FOLDS = 5  # of cross-validation


def fold_count(regularisation: Regularisation | None) -> int:
    """Return how many folds our own major cycle is to keep, for regstrength='auto'."""
    return FOLDS if regularisation is not None and regularisation.is_validated else 0


def fold_reader(
    major: MajorCycle, workspace: Workspace, request: Request, regularisation: Regularisation | None
) -> Callable[[], list[Fold]] | None:
    """Return what gives the folds where regstrength='auto' asks for them; for CASA's imager they are read once."""
    if not fold_count(regularisation):
        return None
    if major.visibilities is not None:
        return major.visibilities.folds
    return cache(partial(_read_folds, workspace, request))


def _read_folds(workspace: Workspace, request: Request) -> list[Fold]:
    """Read the visibilities for CASA's imager, which cannot split them."""
    directory = workspace.directory / "folds"
    directory.mkdir(exist_ok=True)
    with closing(NativeMajorCycle(request, directory, w_term=False, folds=FOLDS)) as split:
        return split.folds()


def find_strengths(
    major: MajorCycle,
    folds: Callable[[], list[Fold]],
    noise: NDArray[np.floating],
    request: Request,
    regularisation: Regularisation,
) -> CrossValidation:
    """Return the search for the regularisers' strengths.

    A mask that follows the residual does not exist yet: the search goes without.

    Args:
        major: has the PSF.
        folds: as `fold_reader` returns it.
        noise: of the dirty image, (1, 1), Jy/beam.
        request, regularisation: of the task.
    """
    prior = prior_image(regularisation.priorimage, request.grid.shape)[0, 0]
    everywhere = np.ones(major.shape[-2:], bool)
    return cross_validate(
        folds(),
        NoiseLevel(float(noise[0, 0]), float(beam_areas(major)[0]), prior),
        regularisation.regularizer,
        regularisation.positivity,
        everywhere if request.masking.follows_residual else support_of(major, request)[0, 0],
        _log_trial,
    )


def _log_trial(trial: Trial) -> None:
    strengths = ", ".join(f"{strength:.3g}" for strength in trial.strengths)
    casalog.post(f"regstrength=[{strengths}]: mean log of held-out chi^2 {trial.misfit.mean():.6g}", "INFO", "rmlclean")
