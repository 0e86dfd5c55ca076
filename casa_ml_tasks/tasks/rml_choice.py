"""From the parameters of rmlclean to its minor cycle, and to the search for the regularisers' strengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from tqdm import tqdm

from casa_ml_tasks.data.casa_image import read_image, write_image
from casa_ml_tasks.data.input_checks import SINGLE_POINTING, image_size
from casa_ml_tasks.data.stokes import SIGNED, stokes_planes
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Field, Fold, MajorCycle, MinorCycle
from casa_ml_tasks.major.imager import deconvolution_parameters
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.minor.casa_deconvolver import CasaDeconvolver
from casa_ml_tasks.minor.minor_cycle_of_fields import MinorCycleOfFields, far_sidelobe
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation, Trial, cross_validate
from casa_ml_tasks.minor.rml.minor_cycle import MOST_ITERATIONS, RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.minor.rml.regularisers.registry import of_signed_images
from casa_ml_tasks.minor.rml.taylor import TaylorMaximumLikelihood
from casa_ml_tasks.tasks.cycle_choice import beam_areas

FOLDS = 5  # of cross-validation


def as_signed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with regularisers that know negative brightness, where positivity=False; the CASA log says which.

    Nothing in a call tells a default from a regulariser that was named.
    """
    if parameters["positivity"] or parameters["minorcycle"] == "clean":
        return dict(parameters)
    given, strengths = parameters["regularizer"], parameters["regstrength"]
    each = [1.0] * len(given) if isinstance(strengths, str) else _strengths(parameters)
    pairs = of_signed_images(list(zip(given, each, strict=True)))
    names = [name for name, _ in pairs]
    if names == list(given):
        return dict(parameters)
    casalog.post(
        f"positivity=False: regularizer={names} in place of {list(given)}, of which one needs a positive image",
        "INFO",
        "rmlclean",
    )
    chosen = strengths if isinstance(strengths, str) else [strength for _, strength in pairs]
    return {**parameters, "regularizer": names, "regstrength": chosen}


def positive_planes(parameters: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Whether the model of each Stokes plane is kept from being negative, (stokes,)."""
    planes = stokes_planes(parameters["stokes"])
    positive = parameters["minorcycle"] != "clean" and parameters["positivity"]
    return np.array([positive and name not in SIGNED for name in planes])


def _strengths(parameters: Mapping[str, Any]) -> list[float]:
    """Of each regulariser, where they are given as numbers, or not at all."""
    return np.atleast_1d(parameters["regstrength"]).tolist() or [1.0] * len(parameters["regularizer"])


def _validates(parameters: Mapping[str, Any]) -> bool:
    return parameters["minorcycle"] != "clean" and isinstance(parameters["regstrength"], str)


def fold_count(parameters: Mapping[str, Any]) -> int:
    """How many our own major cycle is to keep, for regstrength='auto'."""
    return FOLDS if _validates(parameters) else 0


def fold_reader(
    major: MajorCycle, workspace: Workspace, parameters: Mapping[str, Any]
) -> Callable[[], list[Fold]] | None:
    """Gives the folds for cross-validation where regstrength='auto' asks for one; reads them for CASA's imager once."""
    if not _validates(parameters):
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


def cross_validation(
    major: MajorCycle,
    folds: Callable[[], list[Fold]] | None,
    noise: NDArray[np.floating],
    parameters: Mapping[str, Any],
) -> CrossValidation | None:
    """The search for the regularisers' strengths, where there is a `fold_reader`. noise: (1, 1), Jy/beam.

    A mask that follows the residual does not exist yet: the search goes without.
    """
    if folds is None:
        return None
    return cross_validate(
        folds(),
        NoiseLevel(float(noise[0, 0]), float(beam_areas(major)[0]), _prior(parameters)[0, 0]),
        parameters["regularizer"],
        parameters["positivity"],
        np.ones(major.shape[-2:], bool) if _follows(parameters) else _support(major, parameters)[0, 0],
        _log_trial,
    )


def _log_trial(trial: Trial) -> None:
    strengths = ", ".join(f"{strength:.3g}" for strength in trial.strengths)
    casalog.post(f"regstrength=[{strengths}]: mean log of held-out chi^2 {trial.misfit.mean():.6g}", "INFO", "rmlclean")


def minor_cycle(
    major: MajorCycle,
    workspace: Workspace,
    noise: NDArray[np.floating],
    parameters: Mapping[str, Any],
    validation: CrossValidation | None = None,
    outliers: Sequence[Mapping[str, Any]] = (),
) -> MinorCycle:
    """The minor cycle that `minorcycle` names, of all fields.

    Args:
        major: has the images.
        workspace: of the run.
        noise: of the images, (channel, stokes), Jy/beam.
        parameters: of the task.
        validation: chose the strengths of the regularisers.
        outliers: all parameters of each outlier field.
    """
    if not outliers:
        return _minor_cycle_of_field(major, workspace, noise, parameters, validation)

    def choose(number: int, times: float = 1.0, **changes: Any) -> MinorCycle:
        field, own = major.fields[number], [parameters, *outliers][number]
        return _minor_cycle_of_field(field, [workspace, *workspace.outliers][number], times * noise, {**own, **changes})

    numbers = range(len(major.fields))
    sketches = [partial(choose, number, regularizer=["l1"], regstrength=[]) for number in numbers]
    minors = [choose(number) for number in numbers]
    sidelobe = far_sidelobe(major.psf())
    return MinorCycleOfFields(minors, sketches, major.layout, noise[..., None, None], sidelobe)


def _minor_cycle_of_field(
    major: Field,
    workspace: Workspace,
    noise: NDArray[np.floating],
    parameters: Mapping[str, Any],
    validation: CrossValidation | None = None,
) -> MinorCycle:
    if parameters["minorcycle"] == "clean":
        directory = workspace.directory / "deconvolver"
        return CasaDeconvolver(major.imagename, directory, *deconvolution_parameters(parameters, directory / "image"))
    cycleniter = parameters["cycleniter"]
    strengths = _strengths(parameters) if validation is None else list(validation.chosen.strengths)
    support = partial(_support, major, parameters)
    bar = tqdm(desc="minor cycle", unit=" iterations", leave=False, disable=None)

    def show(iterations: int, objective: float) -> None:
        bar.update(iterations - bar.n)
        bar.set_postfix_str(f"objective {objective:.6g}")

    kind = TaylorMaximumLikelihood if workspace.terms else RegularisedMaximumLikelihood
    mosaic = major.mosaic
    return kind(
        major.psf(),
        noise,
        beam_areas(major),
        parameters["regularizer"],
        strengths,
        positivity=positive_planes(parameters),
        prior=_prior(parameters),
        support=support if _follows(parameters) else cache(support),
        most_iterations=MOST_ITERATIONS if cycleniter < 0 else min(MOST_ITERATIONS, cycleniter),
        niter=parameters["niter"],
        on_progress=show,
        operator=None if mosaic is None else mosaic.normal(np.float32),
    )


def _prior(parameters: Mapping[str, Any]) -> NDArray[np.floating]:
    """What the entropy prefers to all other images, (channel or 1, 1, ny, nx), Jy/pixel."""
    path = parameters["priorimage"]
    return read_image(path) if path else np.zeros((1, 1, *image_size(parameters["imsize"])[::-1]))


def _follows(parameters: Mapping[str, Any]) -> bool:
    """Whether the mask is made anew from every residual."""
    return parameters["usemask"] == "auto-multithresh"


def _support(major: Field, parameters: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Where emission may lie: in the mask; without one, everywhere in the field of one pointing, or of the mosaic."""
    masked = bool(parameters["mask"]) or parameters["usemask"] != "user"
    if parameters["gridder"] in SINGLE_POINTING and not masked:
        write_image(major.product("mask"), np.ones(major.primary_beam().shape), major.product("psf"), "")
        return np.ones(major.shape, bool)
    support = (major.mask() > 0) & (major.primary_beam() >= abs(parameters["pblimit"]))
    return np.broadcast_to(support, major.shape)  # Taylor terms have one together
