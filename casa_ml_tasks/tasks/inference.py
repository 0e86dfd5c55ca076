"""The minor cycle of resolveimage: the inference, with the sky that the parameters compose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import image_shape, places_of, read_cell, read_frequencies
from casa_ml_tasks.data.inference_checks import (
    ABSORPTION,
    CONTINUUM_BESIDE_LINE,
    FIND_SOURCES,
    PRIORS,
    SOURCES_EVERYWHERE,
    listed,
)
from casa_ml_tasks.data.input_checks import CONTINUUM
from casa_ml_tasks.data.workspace import taylor_terms
from casa_ml_tasks.engine.protocols import Image, MajorCycle, MinorState
from casa_ml_tasks.minor.resolve import composition
from casa_ml_tasks.minor.resolve.correlated_field import Prior
from casa_ml_tasks.minor.resolve.minor_cycle import MOST_ITERATIONS, Resolve
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.tasks.log_lines import log_iteration
from casa_ml_tasks.tasks.major_cycles import beam_areas

#: Of the minor cycles whose states are saved: the inference and its sketch.
SCHEMAS = (Resolve.schema, RegularisedMaximumLikelihood.schema)
#: Of the task, for each field of `Prior` that is a mean and a standard deviation.
PRIOR_PARAMETERS = {"offset_deviation": "offsetstd"} | {name: name for name in PRIORS if name != "offsetstd"}


def minor_cycle(major: MajorCycle, noise: NDArray, parameters: Mapping[str, Any]) -> Resolve:
    """Return the inference.

    Args:
        major: has the PSF.
        noise: of the dirty images, (channel, 1), Jy/beam.
        parameters: of the task; what is empty or negative is chosen.
    """
    psf = major.psf()
    return Resolve(
        psf,
        noise,
        beam_areas(major),
        read_cell(major.product("psf")),
        compose=composition_of(psf, major, parameters),
        prior=given_priors(parameters),
        samples=max(parameters["nsamples"], 0),
        sources=point_sources(major, parameters["pointsources"]),
        most_iterations=MOST_ITERATIONS if parameters["maxglobal"] < 0 else parameters["maxglobal"],
        seed=parameters["seed"],
        on_iteration=log_iteration,
        mosaic=major.mosaic,
    )


def has_begun(state: MinorState) -> bool:
    """Return whether the inference has left arrays, rather than its sketches alone."""
    return bool(set(state.latent) - set(RegularisedMaximumLikelihood.schema.arrays))


def composition_of(
    psf: Image, major: MajorCycle, parameters: Mapping[str, Any]
) -> Callable[[Prior], composition.Composition]:
    """What the sky is composed of. psf: as that of the major cycle."""
    if taylor_terms(parameters) > 1:
        ny, nx = (n // 2 for n in psf.shape[-2:])
        return partial(composition.taylor_terms, moments=psf[:, 0, ny, nx].astype(float))
    if CONTINUUM_BESIDE_LINE in parameters["components"]:
        return partial(composition.cube_with_continuum, frequencies=read_frequencies(major.product("psf")))
    if ABSORPTION in parameters["components"]:
        return composition.emission_and_absorption
    if SOURCES_EVERYWHERE in listed(parameters["pointsources"]):
        return composition.continuum_and_points
    return composition.continuum if len(psf) == 1 else partial(composition.cube, channels=len(psf))


def point_sources(major: MajorCycle, given: str | Sequence[str]) -> NDArray[np.float64] | None:
    """Places y, x, pixels, (source, 2), but of those outside of the image; None where they are to be found."""
    directions, psf = [each for each in listed(given) if each != SOURCES_EVERYWHERE], major.product("psf")
    if FIND_SOURCES in directions:
        return None
    places, last = places_of(psf, directions), np.array(image_shape(psf)[-2:]) - 1
    inside = ((places >= 0) & (places <= last)).all(axis=1)
    for direction in np.array(directions)[~inside]:
        casalog.post(f"pointsources: '{direction}' lies outside the image and is ignored", "WARN", "resolveimage")
    return np.unique(places[inside], axis=0)


def given_priors(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Prior` that the user gives."""
    priors = {field: parameters[name] for field, name in PRIOR_PARAMETERS.items()}
    given: dict[str, Any] = {field: tuple(value) for field, value in priors.items() if len(value)}
    return given if parameters["offset"] == "auto" else {"offset": float(parameters["offset"]), **given}


def is_positive(parameters: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Whether all that is inferred is emission, (stokes,), as in one image without components."""
    one_image = parameters["specmode"] in CONTINUUM and not taylor_terms(parameters)
    return np.array([one_image and not listed(parameters["components"]) and parameters["niter"] != 0])
