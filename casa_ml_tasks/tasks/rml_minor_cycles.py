"""The minor cycles of rmlclean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Field, MajorCycle, MinorCycle
from casa_ml_tasks.major.imager import deconvolution_parameters
from casa_ml_tasks.minor.casa_deconvolver import CasaDeconvolver
from casa_ml_tasks.minor.minor_cycle_of_fields import MinorCycleOfFields, far_sidelobe
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation
from casa_ml_tasks.minor.rml.minor_cycle import MOST_ITERATIONS, RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.taylor import TaylorMaximumLikelihood
from casa_ml_tasks.tasks.emission_support import follows_residual, support_of
from casa_ml_tasks.tasks.major_cycles import beam_areas
from casa_ml_tasks.tasks.prior_image import prior_image
from casa_ml_tasks.tasks.regulariser_strengths import given_strengths
from casa_ml_tasks.tasks.signed_models import positive_planes

#: Of the minor cycles whose states are saved.
SCHEMAS = (RegularisedMaximumLikelihood.schema, CasaDeconvolver.schema, MinorCycleOfFields.schema)


def minor_cycle(
    major: MajorCycle,
    workspace: Workspace,
    noise: NDArray[np.floating],
    parameters: Sequence[Mapping[str, Any]],
    validation: CrossValidation | None = None,
) -> MinorCycle:
    """Return the minor cycle that `minorcycle` names, of all fields.

    Args:
        major: has the PSF.
        workspace: of the run.
        noise: of the dirty images, (channel, stokes), Jy/beam.
        parameters: of the task, of each field.
        validation: the search that chose the strengths; None where they are given.
    """
    if len(parameters) == 1:
        return _minor_cycle_of_field(major, workspace, noise, parameters[0], validation)
    places = list(zip(major.fields, [workspace, *workspace.outliers], parameters, strict=True))

    def choose(number: int, times: float = 1.0, **changes: Any) -> MinorCycle:
        field, place, own = places[number]
        return _minor_cycle_of_field(field, place, times * noise, {**own, **changes})

    sketches = [partial(choose, number, regularizer=["l1"], regstrength=[]) for number in range(len(places))]
    minors = [choose(number) for number in range(len(places))]
    return MinorCycleOfFields(minors, sketches, major.layout, noise[..., None, None], far_sidelobe(major.psf()))


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
    strengths = given_strengths(parameters) if validation is None else list(validation.chosen.strengths)
    support = partial(support_of, major, parameters)
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
        prior=prior_image(parameters),
        support=support if follows_residual(parameters) else cache(support),
        most_iterations=MOST_ITERATIONS if cycleniter < 0 else min(MOST_ITERATIONS, cycleniter),
        niter=parameters["niter"],
        on_progress=show,
        operator=None if mosaic is None else mosaic.normal(np.float32),
    )
