"""The minor cycle of resolveimage: the inference, with the sky that the parameters compose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import image_shape, places_of, read_cell, read_frequencies
from casa_ml_tasks.engine.protocols import Image, MajorCycle, MinorState
from casa_ml_tasks.minor.resolve import composition
from casa_ml_tasks.minor.resolve.correlated_field import Prior
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.request.inference import Inference, Priors
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks.log_lines import log_iteration
from casa_ml_tasks.tasks.major_cycles import beam_areas

#: Of the minor cycles whose states are saved: the inference and its sketch.
SCHEMAS = (Resolve.schema, RegularisedMaximumLikelihood.schema)


def minor_cycle(major: MajorCycle, noise: NDArray, request: Request, inference: Inference) -> Resolve:
    """Return the inference.

    Args:
        major: has the PSF.
        noise: of the dirty images, (channel, 1), Jy/beam.
        request, inference: of the task; what is empty or negative is chosen.
    """
    psf = major.psf()
    problem = ImagingProblem.of(
        psf,
        noise,
        beam_areas(major),
        read_cell(major.product("psf")),
        compose=composition_of(psf, major, request, inference),
        prior=given_priors(inference.priors),
        exact=major.mosaic,
    )
    settings = Settings(
        samples=inference.nsamples if inference.nsamples > 0 else Settings.samples,
        most_iterations=Settings.most_iterations if inference.maxglobal < 0 else inference.maxglobal,
        seed=inference.seed,
    )
    minor = Resolve(problem, point_sources(major, inference), settings, log_iteration)
    near = minor if major.visibilities is None else major.visibilities.near(minor)
    assert isinstance(near, Resolve), "the same inference, run elsewhere"
    return near


def has_begun(state: MinorState) -> bool:
    """Return whether the inference has left arrays, rather than its sketches alone."""
    return bool(set(state.latent) - set(RegularisedMaximumLikelihood.schema.arrays))


def composition_of(
    psf: Image, major: MajorCycle, request: Request, inference: Inference
) -> Callable[[Prior], composition.Composition]:
    """Return what the sky is composed of. psf: as that of the major cycle."""
    if request.grid.taylor_terms > 1:
        ny, nx = (n // 2 for n in psf.shape[-2:])
        return partial(composition.taylor_terms, moments=psf[:, 0, ny, nx].astype(float))
    if inference.has_continuum:
        return partial(composition.cube_with_continuum, frequencies=read_frequencies(major.product("psf")))
    if inference.has_absorption:
        return composition.emission_and_absorption
    if inference.sources_everywhere:
        return composition.continuum_and_points
    return composition.continuum if len(psf) == 1 else partial(composition.cube, channels=len(psf))


def point_sources(major: MajorCycle, inference: Inference) -> NDArray[np.float64] | None:
    """Return the places y, x, pixels, (source, 2), of those inside the image; None where they are to be found."""
    if inference.finds_sources:
        return None
    psf, directions = major.product("psf"), inference.directions
    places, last = places_of(psf, directions), np.array(image_shape(psf)[-2:]) - 1
    inside = ((places >= 0) & (places <= last)).all(axis=1)
    for direction in np.array(directions)[~inside]:
        casalog.post(f"pointsources: '{direction}' lies outside the image and is ignored", "WARN", "resolveimage")
    return np.unique(places[inside], axis=0)


def given_priors(priors: Priors) -> dict[str, Any]:
    """Return the fields of `Prior` that the user gives."""
    given = asdict(priors)
    given["offset_deviation"] = given.pop("offsetstd")
    return {name: value for name, value in given.items() if value is not None}


def is_positive(request: Request, inference: Inference) -> NDArray[np.bool_]:
    """Return whether all that is inferred is emission, (stokes,), as in one image without components."""
    return np.array([request.grid.one_image and not inference.components and not request.stopping.dirty_only])
