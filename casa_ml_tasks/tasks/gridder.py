"""Which program runs the major cycles: our own kernels where they serve, or CASA's imager."""

from __future__ import annotations

from dataclasses import replace

from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.major.cube_channels import image_channels, needs_interpolation
from casa_ml_tasks.major.pointings import check_beams
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.tasks.arguments import Arguments


def with_gridder(request: Request) -> tuple[Request, ImageChannels | None]:
    """Return the request with gridder='native', of a mosaic imager='native', where our kernels make the image.

    Args:
        request: of a task; imager='casa' leaves it as it is.

    Returns:
        The request, and the channels of a cube where they had to be asked for.

    Raises:
        ValueError: of a cube, a selection selects nothing, or CASA makes no channels of it.
    """
    if request.gridding.native or request.gridding.imager != "auto" or not request.kernels_may_serve:
        return request, None
    channels = image_channels(request)
    if needs_interpolation(request, channels):
        return request, channels
    if request.gridding.single_pointing:
        return request.changed(gridder="native"), channels
    try:
        for selection in request.selection.selections:
            check_beams(selection.vis)
    except ValueError:  # CASA knows the beams of more telescopes
        return request, channels
    return request.changed(imager="native"), channels


def as_chosen(arguments: Arguments, request: Request) -> Arguments:
    """Return the arguments of a call with the gridder of its request."""
    chosen = {name: request.casa[name] for name in ("gridder", "imager")}
    return replace(arguments, values={**arguments.values, **chosen})
