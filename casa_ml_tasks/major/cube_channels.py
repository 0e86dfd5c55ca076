"""Where the channels of a cube will lie, before anything is written, and whether they have to be interpolated."""

from __future__ import annotations

import tempfile
from pathlib import Path

from casatools import coordsys

from casa_ml_tasks.casa_compat import PySynthesisImager
from casa_ml_tasks.data.casa_image import channels_of
from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.data.measurement_set import windows
from casa_ml_tasks.major.imager import imager_parameters
from casa_ml_tasks.request.request import Request

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


def image_channels(request: Request) -> ImageChannels | None:
    """Return the channels that CASA gives an image with specmode='cubedata'; None with another.

    CASA opens the Measurement Sets for the answer: ask once and hand it on.

    Raises:
        ValueError: CASA makes no channels of the request.
    """
    if request.grid.specmode != "cubedata":
        return None
    with tempfile.TemporaryDirectory() as folder:  # where CASA looks for an image, and writes none
        imager = PySynthesisImager(imager_parameters(request.casa, Path(folder) / "image", **_ANY_IMAGE))
        coordinates = coordsys()
        try:
            imager.initializeImagers()
            count = imager.SItool.updatenchan()
            coordinates.fromrecord(imager.SItool.getcsys()["coordsys"])
            return channels_of(coordinates, count)
        except RuntimeError as error:
            raise ValueError(
                f"{_asked(request, 'spw', 'start', 'width', 'nchan')}: CASA makes no image channels of these; give a "
                "start within the data, and a width of at least a channel of theirs"
            ) from error
        finally:
            coordinates.done()
            imager.deleteTools()


def needs_interpolation(request: Request, channels: ImageChannels | None) -> bool:
    """Return whether channels of a cube are interpolated between those of the data, which CASA's imager alone does.

    With specmode='cubedata' and another `interpolation` than 'nearest', where a channel of the image is not made of
    whole channels of the data. A spectral window of one channel leaves nothing to interpolate.

    Args:
        request: what is imaged.
        channels: what `image_channels` has returned for it.

    Raises:
        ValueError: a selection selects nothing.
    """
    if channels is None or request.grid.interpolation == "nearest":
        return False
    found = [each for selection in request.selection.selections for each in windows(selection) if each.recorded > 1]
    return not all(channels.hold(each.frequency, each.width) for each in found)


def check_channels(request: Request, channels: ImageChannels | None) -> None:
    """Refuse gridder='native' where channels have to be interpolated; arguments as those of `needs_interpolation`.

    Raises:
        ValueError: they have to.
    """
    if request.gridding.native and needs_interpolation(request, channels):
        raise ValueError(
            f"interpolation='{request.grid.interpolation}' has to interpolate, as channels of the image with "
            f"{_asked(request, 'start', 'width')} are not made of whole channels of the data, and gridder='native' "
            "does not; use interpolation='nearest', or gridder='standard'"
        )


def _asked(request: Request, *names: str) -> str:
    return ", ".join(f"{name}={request.casa[name]!r}" for name in names)
