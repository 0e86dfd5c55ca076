"""Where the minor cycle may put emission."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import write_image
from casa_ml_tasks.data.input_checks import SINGLE_POINTING
from casa_ml_tasks.engine.protocols import Field


def follows_residual(parameters: Mapping[str, Any]) -> bool:
    """Return whether the mask is made anew from every residual."""
    return parameters["usemask"] == "auto-multithresh"


def support_of(major: Field, parameters: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return where emission may lie, (channel or term, stokes, ny, nx).

    It is the mask; without one, everywhere in the image of one pointing, or in the field of the mosaic.
    """
    masked = bool(parameters["mask"]) or parameters["usemask"] != "user"
    if parameters["gridder"] in SINGLE_POINTING and not masked:
        write_image(major.product("mask"), np.ones(major.primary_beam().shape), major.product("psf"), "")
        return np.ones(major.shape, bool)
    support = (major.mask() > 0) & (major.primary_beam() >= abs(parameters["pblimit"]))
    return np.broadcast_to(support, major.shape)  # Taylor terms have one together
