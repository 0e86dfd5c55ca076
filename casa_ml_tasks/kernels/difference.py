"""What lies between degridding and gridding in a gradient."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numba

compiled: Any = numba.njit(nogil=True, cache=True, fastmath=True, boundscheck=False, error_model="numpy")


@compiled
def weighted_difference(first, last, visibilities, data, weight):
    r"""Turn visibilities V into w (V - d) in place, from `first` to `last`; returns $\sum w |V - d|^2$."""
    misfit = 0.0
    for k in range(first, last):
        difference = visibilities[k] - data[k]
        misfit += weight[k] * (difference.real**2 + difference.imag**2)
        visibilities[k] = weight[k] * difference
    return misfit
