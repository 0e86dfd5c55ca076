"""Parameters that tclean has and a call does not use: named in the log, all of them in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from casatasks import casalog

from casa_ml_tasks.request.distribution import Distribution
from casa_ml_tasks.request.grid import CONTINUUM
from casa_ml_tasks.request.gridding import SINGLE_POINTING
from casa_ml_tasks.tasks.arguments import Arguments

#: Of the choices below, the parameters that only some of them use.
MOSAIC = ("mosaic", "mosaicft", "ftmosaic", "imagemosaic")
APERTURE = ("awproject", "awprojectft", "awphpg", "awp2")
W_PROJECTION = ("wproject", "wprojectft", "widefield", "imagemosaic", *APERTURE)
CUBES = ("cube", "cubedata", "cubesource")
CLEAN: dict[str, tuple[Any, ...]] = {"minorcycle": ("clean",)}
AUTOMATIC: dict[str, tuple[Any, ...]] = {"usemask": ("auto-multithresh",)}


def _each(names: Sequence[str], needed: Mapping[str, tuple[Any, ...]]) -> dict[str, Mapping[str, tuple[Any, ...]]]:
    """What several parameters need."""
    return dict.fromkeys(names, needed)


#: For each parameter, the values of others that it needs to have an effect.
NEEDED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    **_each(("nchan", "start", "width", "interpolation", "perchanweightdensity"), {"specmode": CUBES}),
    "outframe": {"specmode": ("cube",)},
    "reffreq": {"specmode": CONTINUUM},
    "wprojplanes": {"gridder": W_PROJECTION},
    "mosweight": {"gridder": ("mosaic", "awp2")},
    **_each(("usepointing", "normtype"), {"gridder": (*MOSAIC, *APERTURE)}),
    "conjbeams": {"gridder": (*MOSAIC, *APERTURE)},
    **_each(
        ("aterm", "psterm", "wbawp", "cfcache", "computepastep", "rotatepastep", "pointingoffsetsigdev"),
        {"gridder": APERTURE},
    ),
    "deconvolver": CLEAN,
    **_each(("scales", "smallscalebias"), CLEAN | {"deconvolver": ("multiscale", "mtmfs")}),
    **_each(("fusedthreshold", "largestscale"), CLEAN | {"deconvolver": ("asp",)}),
    "nterms": {"deconvolver": ("mtmfs",)},
    "cluster": {"parallel": (True,)},
    **_each(("restoringbeam", "pbcor"), {"restoration": (True,)}),
    "robust": {"weighting": ("briggs", "briggsabs", "briggsbwtaper")},
    "noise": {"weighting": ("briggsabs",)},
    "npixels": {"weighting": ("briggs", "briggsabs", "superuniform", "briggsbwtaper")},
    **_each(("gain", "cyclefactor", "minpsffraction", "maxpsffraction"), CLEAN),
    "mask": {"usemask": ("user",)},
    **_each(
        (
            *("sidelobethreshold", "noisethreshold", "lownoisethreshold", "negativethreshold", "smoothfactor"),
            *("minbeamfrac", "cutthreshold", "growiterations", "dogrowprune", "minpercentchange", "verbose"),
            "fastnoise",
        ),
        AUTOMATIC,
    ),
}
#: Parameters without any effect, and why.
NEVER: Mapping[str, str] = {
    "psfphasecenter": "the PSF is that of the phase centre",
    "fullsummary": "the dictionary has every cycle anyway",
    "calcres": "the residual is made anew",
    "calcpsf": "the PSF is made anew",
}
#: The inference has no CLEAN, no mask, no other weights than natural ones, and knows when it has converged.
NOT_INFERRED = (
    *("scales", "smallscalebias", "fusedthreshold", "largestscale", "robust", "noise", "npixels"),
    *("gain", "threshold", "nsigma", "cycleniter", "cyclefactor", "minpsffraction", "maxpsffraction"),
    *("pbmask", *(name for name, needed in NEEDED.items() if needed is AUTOMATIC)),
)

#: Gridders that a script for a mosaic, or for a single pointing, may name.
GRIDDERS_OF_POINTINGS = (*MOSAIC[:3], "standard", "native")
#: Parameters without any effect on a joint image, and why.
NOT_JOINT: Mapping[str, str] = {
    "imager": "our own kernels image all pointings",
    "wprojplanes": "our kernels choose their own, by the accuracy",
    "conjbeams": "each channel has its own primary beam",
    "normtype": "the model is the sky itself",
    "mosweight": "weights are natural",
    "perchanweightdensity": "weights are natural",
}


def warn_of_unused(task: str, arguments: Arguments, lacking: Callable[[str, Arguments], str]) -> None:
    """Name the parameters that differ from their defaults and have no effect on this call.

    Args:
        task: its name.
        arguments: of the call, with the gridder that the task has chosen.
        lacking: gives the reason why a parameter has no effect, '' where it has one.
    """
    unused = [
        f"{name}={value!r} ({reason})"
        for name, value in arguments.values.items()
        if not _same(value, arguments.defaults[name]) and (reason := lacking(name, arguments))
    ]
    if unused:
        casalog.post(f"without effect: {', '.join(unused)}", "WARN", task)
    values = arguments.values
    by_casa = values["imager"] != "native" and values["gridder"] not in SINGLE_POINTING
    if values["usepointing"] and by_casa and values.get("minorcycle") != "clean":
        casalog.post(
            "usepointing=True: major cycles use the POINTING table, but minor cycles the directions of the fields, "
            "which takes more cycles where the two differ",
            "WARN",
            task,
        )


def lacking_in_clean(name: str, arguments: Arguments) -> str:
    """Return why the parameter has no effect, for instance "needs usemask='auto-multithresh'"; '' where it has one."""
    parameters = arguments.values
    if name in NEVER:
        return NEVER[name]
    if name == "parallel":
        by_casa = "native" not in (parameters["gridder"], parameters["imager"])
        return "workers make images by our own kernels" if by_casa else Distribution(True).problem
    if name == "wprojplanes" and parameters["gridder"] == "native":
        return "our kernels choose their own, by the accuracy"
    if name == "deconvolver" and parameters["deconvolver"] == "mtmfs":
        return ""
    if name == "pbmask" and _same(parameters["mask"], "") and parameters["usemask"] == "user":
        return "needs a mask"  # tclean, too, has none then
    for other, values in NEEDED.get(name, {}).items():
        if other in parameters and parameters[other] not in values:
            return f"needs {other}={' or '.join(map(repr, values))}"
    return ""


def lacking_in_inference(name: str, arguments: Arguments) -> str:
    """Return the same where there are no minor cycles but an inference."""
    parameters = arguments.values
    is_usual = {"niter": parameters["niter"] in (0, -1), "deconvolver": parameters["deconvolver"] == "mtmfs"}
    if name in NOT_INFERRED or not is_usual.get(name, True):
        return "the inference needs none"
    return lacking_in_clean(name, arguments)


def lacking_in_joint(name: str, arguments: Arguments) -> str:
    """Return the same where all pointings and maps are imaged together."""
    value = arguments.values[name]
    if name == "gridder":
        return "" if value in GRIDDERS_OF_POINTINGS else "our own kernels image all pointings"
    if name in NOT_JOINT:
        return NOT_JOINT[name]
    if NEEDED.get(name, {}).get("gridder") == APERTURE:
        return "our own kernels image all pointings"
    pointings = replace(arguments, values={**arguments.values, "gridder": "mosaic", "imager": "native"})
    return lacking_in_inference(name, pointings)


def _same(value: Any, default: Any) -> bool:
    """Whether two values of a parameter mean the same; '' and [] and [''] do."""
    given, usual = (
        [each for each in np.atleast_1d(np.asarray(one)).tolist() if each != ""] for one in (value, default)
    )
    return given == usual
