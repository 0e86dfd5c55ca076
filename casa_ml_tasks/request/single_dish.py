"""Single-dish maps that a joint likelihood has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from casatools import quanta

from casa_ml_tasks.data.casa_image import Beam, is_casa_image
from casa_ml_tasks.data.single_dish import MapFile
from casa_ml_tasks.request.values import as_list, listed, value_in


@dataclass(frozen=True)
class SingleDishMaps:
    """The maps and what is said about them.

    Attributes:
        files: one for each map; none where there is no map.

    Raises:
        ValueError: a map, its beam, its noise or its scale makes no sense.
    """

    files: tuple[MapFile, ...] = ()

    @classmethod
    def from_parameters(
        cls, *, sdimage: Any = "", sdbeam: Any = "", sdnoise: Any = "", sdscale: Any = 1.0, **_: Any
    ) -> Self:
        """Read the parameters of these names; one beam, noise or scale serves all maps, or each has its own."""
        paths = listed(sdimage)
        for path in paths:
            if not (is_casa_image(path) or Path(path).is_file()):
                what = "is no image" if Path(path).exists() else "does not exist"
                raise ValueError(f"sdimage='{path}' {what}; give the path of a CASA image or of a FITS image")
        beams, noises, scales = (
            _for_each(name, value, paths)
            for name, value in (("sdbeam", sdbeam), ("sdnoise", sdnoise), ("sdscale", sdscale))
        )
        return cls(
            tuple(
                MapFile(path, beam_of(beam), noise_of(noise), scale_of(scale))
                for path, beam, noise, scale in zip(paths, beams, noises, scales, strict=True)
            )
        )


def beam_of(value: Any) -> Beam | str | None:
    """Return the Gaussian of 'MAJ MIN PA' or of one width, the path of an image of a beam, or None for ''.

    Raises:
        ValueError: it is none of them, or a Gaussian of no size.
    """
    text = str(value).strip()
    if not text:
        return None
    if is_casa_image(text) or Path(text).is_file():
        return text
    words = text.split()
    if len(words) in (1, 2, 3):
        widths = [value_in(word, "arcsec") for word in (words * 2 if len(words) == 1 else words)[:2]]
        angle = value_in(words[2], "deg", unit_optional=True) if len(words) == 3 else 0.0
        if None not in (*widths, angle) and not isinstance(value, int | float):
            major, minor = float(widths[0] or 0), float(widths[1] or 0)
            if not 0 < minor <= major:
                raise ValueError(
                    f"sdbeam='{text}' is no beam; give positive widths, the larger one first, for instance "
                    "'30arcsec 25arcsec 10deg'"
                )
            return Beam(major, minor, float(angle or 0))
    raise ValueError(
        f"sdbeam='{text}' is neither an image nor a beam; give '' for that of the header, a width with its unit such "
        "as '26.7arcsec', 'MAJ MIN PA', or the path of an image of the beam"
    )


def noise_of(value: Any) -> tuple[float, str] | str | None:
    """Return a number and its unit, the path of an image of the noise, or None for ''.

    Raises:
        ValueError: it is none of them, or not positive.
    """
    text = str(value).strip()
    if not text:
        return None
    if is_casa_image(text) or Path(text).is_file():
        return text
    tool = quanta()
    try:
        found = tool.quantity(text) if tool.isquantity(text) else {}
    finally:
        tool.done()
    number, unit = float(found.get("value", 0)), str(found.get("unit", ""))
    if not (number > 0 and unit):
        raise ValueError(
            f"sdnoise='{text}' is no noise; give '' to measure it, a positive number with its unit such as "
            "'20mJy/beam' or '0.1K', or the path of an image of the noise"
        )
    return number, unit


def scale_of(value: Any) -> float:
    """Return a positive number.

    Raises:
        ValueError: it is none.
    """
    found = value_in(value, "", unit_optional=True)
    if found is None or not found > 0:
        raise ValueError(f"sdscale={value!r} is no weight; give a positive number, 1.0 for what the noise justifies")
    return found


def _for_each(name: str, value: Any, paths: tuple[str, ...]) -> list[Any]:
    """Return one value for each map."""
    values = as_list(value)
    if len(values) not in (1, len(paths)) and paths:
        raise ValueError(f"{name} has {len(values)} values for {len(paths)} maps; give one, or one for each sdimage")
    return values * len(paths) if len(values) == 1 else values[: len(paths)]
