"""The minor cycles of rmlclean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from casa_ml_tasks.calibration.error_step import CalibrationErrorStep
from casa_ml_tasks.data.stokes import SIGNED
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Field, Image, MajorCycle, MinorCycle
from casa_ml_tasks.kernels.point_spread_function import damped
from casa_ml_tasks.major.imager import deconvolution_parameters
from casa_ml_tasks.minor.casa_deconvolver import CasaDeconvolver
from casa_ml_tasks.minor.deepfocus.minor_cycle import NetworkFirst
from casa_ml_tasks.minor.minor_cycle_of_fields import MinorCycleOfFields, far_sidelobe
from casa_ml_tasks.minor.rml.minimisation import TOLERANCE_OF_ERRORS, TOLERANCE_PER_BEAM
from casa_ml_tasks.minor.rml.minor_cycle import MOST_ITERATIONS, RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.minor.rml.regularisers.registry import BOUND_THE_MAGNITUDE
from casa_ml_tasks.minor.rml.taylor import TaylorMaximumLikelihood
from casa_ml_tasks.networks.trained import load_image_network
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks.emission_support import support_of
from casa_ml_tasks.tasks.major_cycles import beam_areas
from casa_ml_tasks.tasks.network_first import network_first
from casa_ml_tasks.tasks.prior_image import prior_image

#: Tells where emission may lie, (channel, stokes, ny, nx).
Support = Callable[[], NDArray[np.bool_]]
#: Of the minor cycles whose states are saved.
SCHEMAS = (
    RegularisedMaximumLikelihood.schema,
    CasaDeconvolver.schema,
    MinorCycleOfFields.schema,
    NetworkFirst.schema,
)


def positive_planes(request: Request, regularisation: Regularisation | None) -> NDArray[np.bool_]:
    """Return whether the model of each Stokes plane is kept from being negative, (stokes,)."""
    positive = regularisation is not None and regularisation.positivity
    return np.array([positive and name not in SIGNED for name in request.grid.planes])


def minor_cycle(
    major: MajorCycle,
    workspace: Workspace,
    noise: NDArray[np.floating],
    requests: Sequence[Request],
    regularisation: Regularisation | None,
    errors: CalibrationErrorStep,
) -> MinorCycle:
    """Return the minor cycle of all fields.

    Args:
        major: has the PSF.
        workspace: of the run.
        noise: of the dirty images, (channel, stokes), Jy/beam.
        requests: of each field.
        regularisation: with strengths; None for tclean's deconvolvers.
        errors: of calibration, those that are known and those that are sought.
    """
    if regularisation is None:
        return _clean(major, workspace, requests[0])
    if len(requests) == 1:
        tolerance = TOLERANCE_OF_ERRORS if errors.errors else TOLERANCE_PER_BEAM
        early = errors.may_interrupt and requests[0].stopping.without_limits
        minor = _maximum_likelihood(major, requests[0], noise, regularisation, tolerance, early)
        return minor if major.visibilities is None else major.visibilities.near(minor)
    fields = list(zip(major.fields, requests, strict=True))
    of_outlier = replace(regularisation, priorimage="")  # which lies on the pixels of the main field
    of_fields = [regularisation, *[of_outlier] * (len(fields) - 1)]
    minors = [_maximum_likelihood(*field, noise, own) for field, own in zip(fields, of_fields, strict=True)]
    sketches = [partial(_sketch, *field, noise, of_outlier) for field in fields]
    return MinorCycleOfFields(minors, sketches, major.layout, noise[..., None, None], far_sidelobe(major.psf()))


def _clean(field: Field, workspace: Workspace, request: Request) -> MinorCycle:
    directory = workspace.directory / "deconvolver"
    return CasaDeconvolver(field.imagename, directory, *deconvolution_parameters(request.casa, directory / "image"))


def _sketch(
    field: Field, request: Request, noise: NDArray[np.floating], regularisation: Regularisation, times: float
) -> MinorCycle:
    """Return a minor cycle for what stands out of so many times the noise."""
    simple = replace(regularisation, regularizer=("l1",), regstrength=(1.0,))
    return _maximum_likelihood(field, request, times * noise, simple)


def _psf(field: Field, request: Request, regularisation: Regularisation) -> Image:
    """Return the PSF: damped where CASA's imager has made it and nothing else bounds the image.

    Taylor terms are left as they are: one PSF serves several blocks of their operator, not all of them on its diagonal.
    """
    psf = field.psf()
    bounded = not BOUND_THE_MAGNITUDE.isdisjoint(regularisation.regularizer)
    return psf if request.gridding.native or request.grid.taylor_terms or bounded else damped(psf)


def _maximum_likelihood(
    field: Field,
    request: Request,
    noise: NDArray[np.floating],
    regularisation: Regularisation,
    tolerance: float = TOLERANCE_PER_BEAM,
    may_end_early: bool = False,
) -> MinorCycle:
    cycleniter = request.stopping.cycleniter
    psf, areas = _psf(field, request, regularisation), beam_areas(field)
    positive = positive_planes(request, regularisation)
    support: Support = partial(support_of, field, request)
    of_network, support = _same_at_first(support) if request.masking.follows_residual else 2 * (cache(support),)
    bar = tqdm(desc="minor cycle", unit=" iterations", leave=False, disable=None)

    def show(iterations: int, objective: float) -> None:
        bar.update(iterations - bar.n)
        bar.set_postfix_str(f"objective {objective:.6g}")

    kind = TaylorMaximumLikelihood if request.grid.taylor_terms else RegularisedMaximumLikelihood
    mosaic = field.mosaic
    assert regularisation.regstrength is not None
    of_call = partial(
        kind,
        psf,
        noise,
        areas,
        regularisation.regularizer,
        regularisation.regstrength,
        positivity=positive,
        prior=prior_image(regularisation.priorimage, request.grid.shape),
        support=support,
        most_iterations=MOST_ITERATIONS if cycleniter < 0 else min(MOST_ITERATIONS, cycleniter),
        niter=request.stopping.niter,
        on_progress=show,
        operator=None if mosaic is None else mosaic.normal(np.float32),
        tolerance=tolerance,
        may_end_early=may_end_early,
    )
    if not request.begins_with_network:
        return of_call()
    network = load_image_network(Path(request.weights) if request.weights else None)
    return network_first(psf, areas, noise, lambda expected: of_call(expected=expected), positive, of_network, network)


def _same_at_first(support: Support) -> tuple[Support, Support]:
    """Return it twice; the first calls of both share an answer, because a mask that is made anew may be another."""
    first, calls = cache(support), count()
    return first, lambda: first() if next(calls) == 0 else support()
