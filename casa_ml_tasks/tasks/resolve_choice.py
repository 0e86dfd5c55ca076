"""From the parameters of resolveimage to its minor cycle, and what it takes of those that are meant for CLEAN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
    most_samples,
)
from casa_ml_tasks.data.input_checks import CONTINUUM
from casa_ml_tasks.data.visibility_store import free_memory
from casa_ml_tasks.data.workspace import taylor_terms
from casa_ml_tasks.engine.exit_criteria import ExitCriteria, StopCode
from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.minor.resolve import composition
from casa_ml_tasks.minor.resolve.correlated_field import Prior
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior
from casa_ml_tasks.minor.resolve.problem import SIGNAL, ImagingProblem
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.tasks.cycle_choice import beam_areas
from casa_ml_tasks.tasks.route import routed
from casa_ml_tasks.tasks.unused_parameters import warn_of_unused

#: Of the minor cycles whose states are saved: the inference and its sketch.
SCHEMAS = (Resolve.schema, RegularisedMaximumLikelihood.schema)
#: For every pixel of a plane: samples, their copies where some are added and compared; slopes along the spectra.
BYTES_OF_SAMPLE, BYTES_OF_SPECTRA = 20, 1000
#: Of the task, for each field of `Prior` that is a mean and a standard deviation.
PRIOR_PARAMETERS = {"offset_deviation": "offsetstd"} | {name: name for name in PRIORS if name != "offsetstd"}
#: Parameters that would change the data or the question, the value that they have here, and why.
NOT_TAKEN: Mapping[str, tuple[Any, str]] = {
    "weighting": ("natural", "the inference takes natural weights, those of the noise"),
    "uvtaper": ([""], "the inference takes natural weights, those of the noise"),
    "usemask": ("user", "emission is inferred everywhere in the image"),
    "mask": ("", "emission is inferred everywhere in the image"),
    "interactive": (False, "there is nothing to steer"),
}


def as_inferred(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as the inference takes them; the CASA log says what of the call that leaves out."""
    for name, (value, reason) in NOT_TAKEN.items():
        if parameters[name] not in (value, "", [], [""]):
            casalog.post(f"{name}={parameters[name]!r} is ignored: {reason}", "WARN", "resolveimage")
    warn_of_unused("resolveimage", parameters)
    return routed({**parameters, **{name: value for name, (value, _) in NOT_TAKEN.items()}})


def exit_criteria(parameters: Mapping[str, Any]) -> ExitCriteria:
    """Of tclean's, `niter=0` for the dirty image alone, and `nmajor`: the inference knows when it has converged."""
    return ExitCriteria(niter=0 if parameters["niter"] == 0 else -1, nmajor=parameters["nmajor"])


def minor_cycle(major: CasaMajorCycle, noise: NDArray, parameters: Mapping[str, Any]) -> Resolve:
    """The inference.

    Args:
        major: has the PSF.
        noise: of the dirty images, (channel, 1), Jy/beam.
        parameters: of the task; what is empty or negative is chosen.
    """
    psf = major.psf()
    problem = ImagingProblem.of(
        psf,
        noise,
        beam_areas(major),
        read_cell(major.product("psf")),
        compose=composition_of(psf, major, parameters),
        prior=given_priors(parameters),
        mosaic=major.mosaic,
    )
    settings = Settings(
        samples=parameters["nsamples"] if parameters["nsamples"] > 0 else Settings.samples,
        most_iterations=Settings.most_iterations if parameters["maxglobal"] < 0 else parameters["maxglobal"],
        seed=parameters["seed"],
    )
    return Resolve(problem, point_sources(major, parameters["pointsources"]), settings, log_iteration)


def has_begun(state: MinorState) -> bool:
    """Return whether the inference has left arrays, rather than its sketches alone."""
    return bool(set(state.latent) - set(RegularisedMaximumLikelihood.schema.arrays))


def check_memory(shape: tuple[int, ...], parameters: Mapping[str, Any]) -> None:
    """Raise ValueError where the samples do not fit in memory. shape: of the images, (channel or term, 1, ny, nx)."""
    images, _, ny, nx = shape
    has_more = listed(parameters["components"]) or SOURCES_EVERYWHERE in listed(parameters["pointsources"])
    planes = images * (2 if has_more else 1)
    needed = planes * ny * nx * (BYTES_OF_SAMPLE * most_samples(parameters) + BYTES_OF_SPECTRA)
    if needed > (free := free_memory()):
        raise ValueError(
            f"samples of {planes} planes of {nx} x {ny} pixels need {needed / 1e9:.3g} GB of memory, of which "
            f"{free / 1e9:.3g} GB are free; use fewer channels (nchan, width) or a smaller imsize"
        )


def composition_of(
    psf: Image, major: CasaMajorCycle, parameters: Mapping[str, Any]
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


def point_sources(major: CasaMajorCycle, given: str | Sequence[str]) -> NDArray[np.float64] | None:
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


def warn_without_signal(dirty: Image | None, noise: NDArray) -> None:
    """Say that there is nothing to see. dirty: (channel or term, 1, ny, nx), noise: (channel, 1), Jy/beam both."""
    peak = float("inf") if dirty is None else float((np.abs(dirty[: len(noise)]) / noise[..., None, None]).max())
    if peak < SIGNAL:
        casalog.post(
            f"no signal in the data: the peak of the dirty image is {peak:.1f} times the noise, which noise alone can "
            "reach; the posterior mean is an upper limit that depends on the prior",
            "WARN",
            "resolveimage",
        )


def judged(progress: Progress, posterior: Posterior) -> Progress:
    """With a stop code of its own, and a warning, where the samples have not converged."""
    if not posterior.problem:
        return progress
    casalog.post(f"the inference has not converged: {posterior.problem}", "WARN", "resolveimage")
    return replace(progress, stop=StopCode.UNSETTLED)


def log_iteration(step: GlobalIteration) -> None:
    """One line a global iteration."""
    error = f"error of the mean {step.mean_error:.3g} sigma"
    if np.isinf(step.mean_error):
        error = "a chain does not move or is caught"
    casalog.post(
        f"global iteration {step.iteration}: stage '{step.stage}', {step.samples} samples, energy {step.energy:.6g}, "
        f"{100 * step.accepted:.0f} % of the trajectories accepted, {error}, "
        f"residual {step.residual:.3f} of the noise, {step.operator_products} products of the normal operator, "
        f"{step.seconds:.1f} s",
        "INFO",
        "resolveimage",
    )
