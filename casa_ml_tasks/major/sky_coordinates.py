"""Where the pixels and channels of an image will lie, before anything is written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from casatools import image as image_tool

from casa_ml_tasks.casa_compat import PySynthesisImager
from casa_ml_tasks.data.single_dish import ImageCoordinates
from casa_ml_tasks.major.imager import imager_parameters
from casa_ml_tasks.request.request import Request

SMALLEST = 8  # pixels a side of an image that has the coordinates


def sky_coordinates(request: Request) -> ImageCoordinates:
    """Return the coordinates that CASA gives an image.

    Raises:
        ValueError: CASA makes no image of the request.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        imager = PySynthesisImager(imager_parameters(request.casa, path, gridder="standard", usemask="user", mask=""))
        tool = image_tool()
        try:
            imager.initializeImagers()
            channels = 1 if request.grid.continuum else imager.SItool.updatenchan()
            record = imager.SItool.getcsys()["coordsys"]
            tool.fromshape(outfile=str(path), shape=[SMALLEST, SMALLEST, 1, channels], csys=record)
            tool.done()
            return replace(ImageCoordinates.of_image(str(path)), shape=request.grid.shape)
        except RuntimeError as error:
            raise ValueError(
                f"vis={list(request.selection.vis)} with phasecenter={request.grid.phasecenter!r}: CASA makes no image "
                f"of these ({error}); check phasecenter, cell and spw"
            ) from error
        finally:
            tool.done()
            imager.deleteTools()
