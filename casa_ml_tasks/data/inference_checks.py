"""What can be wrong with a call of resolveimage, found before anything is written.

Each check raises ValueError with one sentence that names the parameter, its value and the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from casa_ml_tasks.data.input_checks import (
    CONTINUUM,
    cells_in_arcsec,
    check_images,
    check_imaging,
    is_direction,
)
from casa_ml_tasks.data.stokes import SIGNED, stokes_planes
from casa_ml_tasks.data.workspace import taylor_terms

PRIORS = ("offsetstd", "fluctuations", "slope", "flexibility", "asperity")
POSITIVE = ("offsetstd", "fluctuations", "flexibility", "asperity")  # of these, whose mean is a size
FIND_SOURCES, SOURCES_EVERYWHERE = UNNAMED_SOURCES = ("auto", "everywhere")
ABSORPTION, CONTINUUM_BESIDE_LINE = COMPONENTS = ("absorption", "continuum")
FEWEST_SAMPLES = 2  # that have a standard deviation
USUAL_SAMPLES = 288  # that room is asked for: the most where the task chooses how many


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check what the parameters alone can tell; no Measurement Set is opened and nothing is written.

    Args:
        parameters: all parameters of xml/resolveimage.xml.

    Raises:
        ValueError: for the first parameter that is wrong, or asks for what the inference cannot do.
    """
    for check in (
        _check_scope,
        check_imaging,
        check_images,
        _check_counts,
        _check_components,
        _check_point_sources,
        _check_priors,
    ):
        check(parameters)


def _check_scope(parameters: Mapping[str, Any]) -> None:
    """Total intensity of one field, with square pixels."""
    stokes, cell = parameters["stokes"], parameters["cell"]
    if len(stokes_planes(stokes)) > 1 or stokes in SIGNED:
        raise ValueError(f"stokes='{stokes}' is not inferred yet; use stokes='I', or rmlclean")
    if parameters["outlierfile"]:
        raise ValueError(
            f"outlierfile='{parameters['outlierfile']}' is not supported yet; use a larger imsize, or rmlclean"
        )
    if len(set(cells_in_arcsec(cell))) > 1:
        raise ValueError(f"cell={cell!r} has oblong pixels; give one size for both sides")


def _check_components(parameters: Mapping[str, Any]) -> None:
    """What is inferred beside the emission suits what is imaged."""
    given, specmode = listed(parameters["components"]), parameters["specmode"]
    one_image = specmode in CONTINUUM and not taylor_terms(parameters)
    for each in given:
        if each not in COMPONENTS:
            raise ValueError(f"components={given}: '{each}' is unknown; use one of {', '.join(COMPONENTS)}")
    if ABSORPTION in given and not one_image:
        raise ValueError(
            f"components={given} infers absorption in one image, not with specmode='{specmode}' and "
            f"deconvolver='{parameters['deconvolver']}'; use specmode='mfs' without Taylor terms"
        )
    if CONTINUUM_BESIDE_LINE in given and specmode in CONTINUUM:
        raise ValueError(f"components={given} infers a continuum beside a line; use specmode='cube'")
    if ABSORPTION in given and {*UNNAMED_SOURCES} & {*listed(parameters["pointsources"])}:
        raise ValueError(
            f"pointsources={parameters['pointsources']!r} finds none beside components={given}; name their directions"
        )
    if listed(parameters["pointsources"]) and not one_image:
        raise ValueError(
            f"pointsources={parameters['pointsources']!r} serves one image, not specmode='{specmode}' and "
            f"deconvolver='{parameters['deconvolver']}'; use pointsources=''"
        )


def _check_counts(parameters: Mapping[str, Any]) -> None:
    for name, fewest in {"nsamples": FEWEST_SAMPLES, "maxglobal": 1}.items():
        if parameters[name] != -1 and parameters[name] < fewest:
            raise ValueError(f"{name}={parameters[name]} is too few; use at least {fewest}, or -1 to leave the choice")
    if parameters["seed"] < 0:
        raise ValueError(f"seed={parameters['seed']} is no seed; use a whole number that is not negative")


def most_samples(parameters: Mapping[str, Any]) -> int:
    """Of the posterior, that room is asked for."""
    return max(int(parameters["nsamples"]), USUAL_SAMPLES)


def listed(names: str | Sequence[str]) -> list[str]:
    """What a parameter names, one or several; nothing for ''."""
    return [each for each in ([names] if isinstance(names, str) else names) if each]


def _check_point_sources(parameters: Mapping[str, Any]) -> None:
    given = listed(parameters["pointsources"])
    for each in given:
        if each not in UNNAMED_SOURCES and not is_direction(str(each)):
            raise ValueError(
                f"pointsources='{each}' is no direction; give directions such as 'J2000 19:58:40.9 +40.55.58', or "
                "'auto' to have them found, or 'everywhere'"
            )
    if SOURCES_EVERYWHERE in given and len(given) > 1:
        raise ValueError(f"pointsources={given} names sources that 'everywhere' has already; give 'everywhere' alone")


def _check_priors(parameters: Mapping[str, Any]) -> None:
    offset = parameters["offset"]
    if offset != "auto" and not (isinstance(offset, int | float) and math.isfinite(offset)):
        raise ValueError(f"offset={offset!r} is no logarithm of a brightness; give a number, or 'auto'")
    for name in PRIORS:
        given = list(parameters[name])
        if not given:
            continue
        if len(given) != 2 or not all(math.isfinite(value) for value in given) or given[1] <= 0:
            raise ValueError(
                f"{name}={given} is no prior; give [mean, standard deviation], the second above zero, or [] to have it "
                "set from the data"
            )
        if name in POSITIVE and given[0] <= 0:
            raise ValueError(f"{name}={given} has a mean that is no size; give one above zero")
