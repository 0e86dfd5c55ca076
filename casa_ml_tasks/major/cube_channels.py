"""Where the channels of a cube will lie, before anything is written, and whether they have to be interpolated."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from casatools import coordsys

from casa_ml_tasks.casa_compat import PySynthesisImager
from casa_ml_tasks.data.casa_image import channels_of
from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.data.measurement_set import selections, windows
from casa_ml_tasks.major.imager import imager_parameters

#: Parameters that do not matter to frequencies, as CASA is asked for them.
_ANY_IMAGE = {
    "gridder": "standard",
    "imsize": [8, 8],
    "cell": ["1arcsec"],
    "phasecenter": "",
    "stokes": "I",
    "usemask": "user",
    "mask": "",
}


def image_channels(parameters: Mapping[str, Any]) -> ImageChannels | None:
    """The channels that CASA gives an image with specmode='cubedata'; None with another.

    Args:
        parameters: tclean's, all of them.

    Raises:
        ValueError: CASA makes no channels of them.
    """
    if parameters["specmode"] != "cubedata":
        return None
    with tempfile.TemporaryDirectory() as folder:  # where CASA looks for an image, and writes none
        imager = PySynthesisImager(imager_parameters({**parameters, **_ANY_IMAGE}, Path(folder) / "image"))
        coordinates = coordsys()
        try:
            imager.initializeImagers()
            count = imager.SItool.updatenchan()
            coordinates.fromrecord(imager.SItool.getcsys()["coordsys"])
            return channels_of(coordinates, count)
        except RuntimeError as error:
            asked = ", ".join(f"{name}={parameters[name]!r}" for name in ("spw", "start", "width", "nchan"))
            raise ValueError(
                f"{asked}: CASA makes no image channels of these; give a start within the data, and a width of at "
                "least a channel of theirs"
            ) from error
        finally:
            coordinates.done()
            imager.deleteTools()


def needs_interpolation(parameters: Mapping[str, Any]) -> bool:
    """Whether channels of a cube are interpolated between those of the data, which CASA's imager alone does.

    With specmode='cubedata' and another `interpolation` than 'nearest', where a channel of the image is not made of
    whole channels of the data. A spectral window of one channel leaves nothing to interpolate.

    Args:
        parameters: tclean's, all of them.

    Raises:
        ValueError: CASA makes no channels of them, or a selection selects nothing.
    """
    if parameters["specmode"] != "cubedata" or parameters["interpolation"] == "nearest":
        return False
    chosen = selections(parameters)
    channels = image_channels(parameters)
    assert channels is not None, "specmode is 'cubedata'"
    found = [each for selection in chosen for each in windows(selection) if each.recorded > 1]
    return not all(channels.hold(each.frequency, each.width) for each in found)


def check_channels(parameters: Mapping[str, Any]) -> None:
    """Refuse gridder='native' where channels have to be interpolated.

    Raises:
        ValueError: they have to, or CASA makes no channels of these parameters.
    """
    if parameters["gridder"] == "native" and needs_interpolation(parameters):
        asked = ", ".join(f"{name}={parameters[name]!r}" for name in ("start", "width"))
        raise ValueError(
            f"interpolation='{parameters['interpolation']}' has to interpolate, as channels of the image with {asked} "
            "are not made of whole channels of the data, and gridder='native' does not; use interpolation='nearest', "
            "or gridder='standard'"
        )
