"""The image that the entropy prefers to all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.data.input_checks import image_size


def prior_image(parameters: Mapping[str, Any]) -> NDArray[np.floating]:
    """Return `priorimage`, or zeros where none is given, (channel or 1, 1, ny, nx), Jy/pixel."""
    path = parameters["priorimage"]
    return read_image(path) if path else np.zeros((1, 1, *image_size(parameters["imsize"])[::-1]))
