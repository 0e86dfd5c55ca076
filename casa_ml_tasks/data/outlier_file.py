"""tclean's outlier file: small images far from the main one, each with a few parameters of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casa_ml_tasks.data.casa_image import is_casa_image

#: What a block may set for its field.
OF_A_FIELD = (
    *("imagename", "imsize", "cell", "phasecenter"),
    *("mask", "usemask", "startmodel", "gridder", "wprojplanes"),
)
#: What tclean lets a block set too: here all fields share the channels, and the rest has no part in the minor cycle.
OF_CHANNELS = ("nchan", "start", "width")
OTHERS = ("specmode", *OF_CHANNELS, "deconvolver", "nterms", "reffreq")


def outlier_parameters(parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All parameters of each outlier field: those of the call, but for what its block in the outlier file says.

    An image given as `mask` or `startmodel`, and `priorimage`, lie on the pixels of the main field: outliers do not
    inherit them, nor `pblimit`, as they may lie beyond the primary beam.

    Args:
        parameters: of the task; `outlierfile` is empty where there are no outliers.

    Returns:
        One dictionary an outlier, in the order of the file.

    Raises:
        ValueError: the file is missing, lists no outlier, or has a line that cannot be understood.
    """
    path = parameters["outlierfile"]
    if not path:
        return []
    if not Path(path).is_file():
        raise ValueError(
            f"outlierfile='{path}' does not exist; give a text file with a block of lines for each outlier"
        )
    own = {"outlierfile": "", "phasecenter": "", "startmodel": "", "priorimage": "", "pblimit": 0.0}
    inherited = {**parameters, **own}
    if is_casa_image(str(parameters["mask"])):
        inherited["mask"] = ""
    blocks = _blocks(path, parameters)
    return [inherited | {name: block[name] for name in OF_A_FIELD if name in block} for block in blocks]


def _blocks(path: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each block of lines sets."""
    blocks: list[dict[str, Any]] = []
    compared = ("specmode", *OF_CHANNELS) if parameters["specmode"].startswith("cube") else ("specmode",)
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
        if name in compared and str(value) != str(parameters[name]):
            raise ValueError(
                f"outlierfile='{path}' has '{line}', and the call {name}={parameters[name]!r}; all fields share it: "
                "leave it out"
            )
        blocks[-1][name] = value
    if not blocks:
        raise ValueError(f"outlierfile='{path}' lists no outlier; begin a block for each with imagename=...")
    return blocks


def _value(name: str, text: str) -> Any:
    """A block's text in the type of the task's parameter; as it stands where it is none, for the checks to refuse."""
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
