"""From the parameters of resolveimage to its minor cycle, and what it takes of those that are meant for CLEAN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import image_shape, pixels_of, read_cell
from casa_ml_tasks.data.inference_checks import FIND_SOURCES, PRIORS, listed
from casa_ml_tasks.data.input_checks import SINGLE_POINTING
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.minor.resolve.minor_cycle import MOST_ITERATIONS, SIGNAL, Resolve
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration
from casa_ml_tasks.tasks.cycle_choice import beam_areas

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
    # The major cycles are our own; what they cannot grid is refused by its name.
    gridder = "native" if parameters["gridder"] in SINGLE_POINTING else parameters["gridder"]
    return {**parameters, **{name: value for name, (value, _) in NOT_TAKEN.items()}, "gridder": gridder}


def exit_criteria(parameters: Mapping[str, Any]) -> ExitCriteria:
    """Of tclean's, `niter=0` for the dirty image alone, and `nmajor`: the inference knows when it has converged."""
    return ExitCriteria(niter=0 if parameters["niter"] == 0 else -1, nmajor=parameters["nmajor"])


def minor_cycle(major: NativeMajorCycle, noise: NDArray, parameters: Mapping[str, Any]) -> Resolve:
    """The inference.

    Args:
        major: has the PSF.
        noise: of the dirty image, (1, 1), Jy/beam.
        parameters: of the task; what is empty or negative is chosen.
    """
    return Resolve(
        major.psf(),
        noise,
        beam_areas(major),
        read_cell(major.product("psf")),
        given_priors(parameters),
        samples=max(parameters["nsamples"], 0),
        sources=point_sources(major, parameters["pointsources"]),
        most_iterations=MOST_ITERATIONS if parameters["maxglobal"] < 0 else parameters["maxglobal"],
        seed=parameters["seed"],
        on_iteration=log_iteration,
    )


def point_sources(major: NativeMajorCycle, given: str | Sequence[str]) -> NDArray[np.int64] | None:
    """Pixels y, x, (source, 2), but of those outside of the image; None where they are to be found."""
    directions, psf = listed(given), major.product("psf")
    if FIND_SOURCES in directions:
        return None
    pixels = pixels_of(psf, directions)
    inside = ((pixels >= 0) & (pixels < image_shape(psf)[-2:])).all(axis=1)
    for direction in np.array(directions)[~inside]:
        casalog.post(f"pointsources: '{direction}' is left out, for it is outside of the image", "WARN", "resolveimage")
    return np.unique(pixels[inside], axis=0)


def given_priors(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Prior` that the user gives."""
    priors = {field: parameters[name] for field, name in PRIOR_PARAMETERS.items()}
    given: dict[str, Any] = {field: tuple(value) for field, value in priors.items() if len(value)}
    return given if parameters["offset"] == "auto" else {"offset": float(parameters["offset"]), **given}


def warn_without_signal(dirty: Image | None, noise: NDArray) -> None:
    """Say that there is nothing to see. dirty: (1, 1, ny, nx), noise: (1, 1), Jy/beam both."""
    peak = float("inf") if dirty is None else float(dirty.max() / noise[0, 0])
    if peak < SIGNAL:
        casalog.post(
            f"no signal in the data: the peak of the dirty image is {peak:.1f} times the noise, as that of noise alone "
            "may be; the mean is an upper limit that follows from the prior",
            "WARN",
            "resolveimage",
        )


def log_iteration(step: GlobalIteration) -> None:
    """One line a global iteration."""
    casalog.post(
        f"global iteration {step.iteration}: stage '{step.stage}', {step.samples} samples, energy {step.energy:.6g}, "
        f"{100 * step.accepted:.0f} % of the trajectories accepted, error of the mean {step.mean_error:.3g} sigma, "
        f"residual {step.residual:.3f} of the noise, {step.operator_products} products of the normal operator, "
        f"{step.seconds:.1f} s",
        "INFO",
        "resolveimage",
    )
