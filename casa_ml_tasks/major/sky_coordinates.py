"""Where the pixels and channels of an image will lie, before anything is written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from casatools import image as image_tool

from casa_ml_tasks.casa_compat import PySynthesisImager
from casa_ml_tasks.data.single_dish import ImageCoordinates
from casa_ml_tasks.major.imager import imager_parameters
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.values import as_list, value_in

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
            found = ImageCoordinates.of_image(str(path))
            return replace(found, shape=request.grid.shape, rest_frequency=rest_frequency(request.casa.get("restfreq")))
        except RuntimeError as error:
            raise ValueError(
                f"vis={list(request.selection.vis)} with phasecenter={request.grid.phasecenter!r}: CASA makes no image "
                f"of these ({error}); check phasecenter, cell and spw"
            ) from error
        finally:
            tool.done()
            imager.deleteTools()


def rest_frequency(restfreq: Any) -> float:
    """Return tclean's `restfreq`, the first of a list, in Hz; 0 where none is given."""
    given = [value_in(each, "Hz") for each in as_list([] if restfreq is None else restfreq) if each]
    return given[0] or 0.0 if given else 0.0
