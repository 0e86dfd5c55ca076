"""Where the minor cycle may put emission."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import write_image
from casa_ml_tasks.engine.protocols import Field
from casa_ml_tasks.request.request import Request


def support_of(field: Field, request: Request) -> NDArray[np.bool_]:
    """Return where emission may lie, (channel or term, stokes, ny, nx).

    It is the mask; without one, everywhere in the image of one pointing, or in the field of the mosaic.
    """
    if request.gridding.single_pointing and not request.masking.is_given:
        write_image(field.product("mask"), np.ones(field.primary_beam().shape), field.product("psf"), "")
        return np.ones(field.shape, bool)
    support = (field.mask() > 0) & (field.primary_beam() >= abs(request.gridding.pblimit))
    return np.broadcast_to(support, field.shape)  # Taylor terms have one together
