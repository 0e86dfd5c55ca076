"""Which program runs the major cycles: our own kernels where they serve, or CASA's imager."""

from __future__ import annotations

from casa_ml_tasks.major.cube_channels import image_channels, needs_interpolation
from casa_ml_tasks.request.request import Request


def with_gridder(request: Request) -> Request:
    """Return the request with gridder='native' where our kernels make the image that is asked for.

    Args:
        request: of a task; imager='casa' leaves it as it is.

    Raises:
        ValueError: of a cube, a selection selects nothing, or CASA makes no channels of it.
    """
    if request.gridding.imager != "auto" or not request.kernels_may_serve:
        return request
    ours = request.gridding.native or not needs_interpolation(request, image_channels(request))
    return request.changed(gridder="native") if ours else request
