"""Which program runs the major cycles: our own kernels where they serve, or CASA's imager."""

from __future__ import annotations

from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.major.cube_channels import image_channels, needs_interpolation
from casa_ml_tasks.request.request import Request


def with_gridder(request: Request) -> tuple[Request, ImageChannels | None]:
    """Return the request with gridder='native' where our kernels make the image that is asked for.

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
    return request.changed(gridder="native"), channels
