"""tclean's outlier file: small images far from the main one, each with a few parameters of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from casa_ml_tasks.data.casa_image import is_casa_image
from casa_ml_tasks.request.gridding import SINGLE_POINTING
from casa_ml_tasks.request.images import check_images
from casa_ml_tasks.request.masking import MASKING
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.values import is_direction

#: What a block may set for its field.
OF_A_FIELD = (
    *("imagename", "imsize", "cell", "phasecenter"),
    *("mask", "usemask", "startmodel", "gridder", "wprojplanes"),
)
#: What tclean lets a block set too: here all fields share the channels, and the rest has no part in the minor cycle.
OF_CHANNELS = ("nchan", "start", "width")
OTHERS = ("specmode", *OF_CHANNELS, "deconvolver", "nterms", "reffreq")
FIELD_GRIDDERS = tuple(name for name in SINGLE_POINTING if name != "native")  # that make outlier fields


def outlier_requests(request: Request) -> list[Request]:
    """Return the Request of each outlier field, in the order of the file; none where there is no file.

    It is the main field's but for what its block in the file says. An image given as `mask` or `startmodel`, and
    `priorimage`, lie on the pixels of the main field: outliers do not inherit them, nor `pblimit`, as they may lie
    beyond the primary beam.

    Raises:
        ValueError: the file is missing, lists no outlier, or has a line that cannot be understood; a field is wrong, or
            CLEAN is to deconvolve it.
    """
    path = request.outlierfile
    if not path:
        return []
    if not Path(path).is_file():
        raise ValueError(
            f"outlierfile='{path}' does not exist; give a text file with a block of lines for each outlier"
        )
    blocks = _blocks(path, request)
    if request.cleans:
        raise ValueError(f"outlierfile='{path}' serves minorcycle='rml'; for minorcycle='clean' use tclean")
    _check_choices(request.gridding.gridder, request.masking.usemask, request.gridding.wprojplanes)
    own = {"outlierfile": "", "phasecenter": "", "startmodel": "", "priorimage": "", "pblimit": 0.0}
    if any(is_casa_image(each) for each in request.masking.mask):
        own["mask"] = ""
    fields = [request]
    for block in blocks:
        where = f"outlierfile='{path}', imagename='{block['imagename']}'"
        try:
            fields.append(_outlier(request, own | {name: block[name] for name in OF_A_FIELD if name in block}))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        *others, name = [Path(each.output.imagename).absolute() for each in fields]
        if name in others:
            raise ValueError(f"{where} is the name of another field; give each its own")
    return fields[1:]


def _outlier(main: Request, own: dict[str, Any]) -> Request:
    """Return the Request of one outlier, checked like an image of its own. own: parameters that differ."""
    gridding, masking = main.gridding, main.masking
    _check_choices(
        own.get("gridder", gridding.gridder),
        own.get("usemask", masking.usemask),
        own.get("wprojplanes", gridding.wprojplanes),
    )
    request = main.changed(**own)
    if not is_direction(str(request.grid.phasecenter)):
        raise ValueError(
            f"phasecenter='{request.grid.phasecenter}' is no direction; give one such as 'J2000 19:58:40.9 +40.55.58'"
        )
    check_images(request)
    return request


def _check_choices(gridder: str, usemask: str, wprojplanes: int | str) -> None:
    """Check what the type checks of the task have not seen where it comes from an outlier file."""
    for name, given, known in (("gridder", gridder, FIELD_GRIDDERS), ("usemask", usemask, MASKING)):
        if given not in known:
            raise ValueError(f"{name}='{given}' makes no outlier fields; use one of {', '.join(known)}")
    if not isinstance(wprojplanes, int):
        raise ValueError(f"wprojplanes={wprojplanes} is no number of planes; use a whole number, or -1")


def _blocks(path: str, request: Request) -> list[dict[str, Any]]:
    """Return what each block of lines sets."""
    blocks: list[dict[str, Any]] = []
    compared = ("specmode",) if request.grid.continuum else ("specmode", *OF_CHANNELS)
    for line in map(str.strip, Path(path).read_text().splitlines()):
        if not line or line.startswith("#"):
            continue
        name, equals, text = (part.strip() for part in line.partition("="))
        if not equals or name not in OF_A_FIELD + OTHERS:
            raise ValueError(
                f"outlierfile='{path}' has the line '{line}'; write name=value, with one of {', '.join(OF_A_FIELD)}"
            )
        if name == "imagename":
            blocks.append({})
        if not blocks:
            raise ValueError(
                f"outlierfile='{path}' has '{line}' in a block without imagename; begin each block with it"
            )
        value = _value(name, text.strip("'\""))
        if name in compared and str(value) != str(request.casa[name]):
            raise ValueError(
                f"outlierfile='{path}' has '{line}', and the call {name}={request.casa[name]!r}; all fields share it: "
                "leave it out"
            )
        blocks[-1][name] = value
    if not blocks:
        raise ValueError(f"outlierfile='{path}' lists no outlier; begin a block for each with imagename=...")
    return blocks


def _value(name: str, text: str) -> Any:
    """Return a block's text in the type of the task's parameter, or as it stands for the checks to refuse."""
    if name not in ("imsize", "cell", "wprojplanes"):
        return text
    values: list[Any] = [each.strip(" '\"") for each in text.strip("[]").split(",")]
    if name == "cell":
        return values
    try:
        numbers = [int(each) for each in values]
    except ValueError:
        return text
    return numbers if name == "imsize" else numbers[0]
