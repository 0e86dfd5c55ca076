"""The image that the entropy prefers to all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import read_image


def prior_image(path: str, shape: tuple[int, int]) -> NDArray[np.floating]:
    """Return it, (channel or 1, 1, ny, nx), Jy/pixel, or zeros.

    Args:
        path: of the image; '' where none is given.
        shape: (ny, nx).
    """
    return read_image(path) if path else np.zeros((1, 1, *shape))
