"""Where the pixels and channels of an image will lie, before anything is written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from casatools import image as image_tool

from casa_ml_tasks.casa_compat import PySynthesisImager
from casa_ml_tasks.data.frequency_frame import lsrk_over_observed
from casa_ml_tasks.data.measurement_set import FRAMES, Selection, blocks
from casa_ml_tasks.data.single_dish import ImageCoordinates
from casa_ml_tasks.data.visibility_store import FIELD_ID
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
            rest = rest_frequency(request.casa.get("restfreq"))
            found = replace(ImageCoordinates.of_image(str(path)), shape=request.grid.shape, rest_frequency=rest)
            known = found.spectral_frame.name in FRAMES
            return found if known else _in_lsrk(found, request.selection.selections[0])
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


def _in_lsrk(coordinates: ImageCoordinates, selection: Selection) -> ImageCoordinates:
    """Return the coordinates of a cube of observed frequencies, to which CASA gives no frame, in LSRK.

    The shift is that of the first visibilities: it changes by less than a channel of a single dish in an observation.
    """
    block = next(iter(blocks(selection)))
    shift = float(lsrk_over_observed(selection.vis, block.frame, block.time, block.streams[FIELD_ID]).mean())
    frequencies, width = coordinates.frequencies * shift, coordinates.width * shift
    frame = replace(coordinates.spectral_frame, name="LSRK")
    return replace(coordinates, frequencies=frequencies, width=width, spectral_frame=frame)
