"""What lies between degridding and gridding in a gradient."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.compiled import compiled


class Operator(Protocol):
    """From images to visibilities, and its adjoint."""

    def degrid(self, image: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """Return the visibilities of an image, (visibility,). image: (ny, nx)."""

    def grid(self, visibilities: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        """Return the adjoint of `degrid` applied to visibilities, (ny, nx). visibilities: (visibility,)."""


def chi_squared_and_gradient(
    operator: Operator,
    image: NDArray[np.floating],
    data: NDArray[np.complexfloating],
    weight: NDArray[np.floating],
) -> tuple[float, NDArray[np.floating]]:
    """Return what `FourierOperator.gradient` does, for an operator that visits the visibilities more than once."""
    difference = operator.degrid(image)
    misfit = weighted_difference(0, difference.size, difference, data, weight)
    return misfit, operator.grid(difference)


@compiled
def weighted_difference(first, last, visibilities, data, weight):
    r"""Turn visibilities V into w (V - d) in place, from `first` to `last`; returns $\sum w |V - d|^2$."""
    misfit = 0.0
    for k in range(first, last):
        difference = visibilities[k] - data[k]
        misfit += weight[k] * (difference.real**2 + difference.imag**2)
        visibilities[k] = weight[k] * difference
    return misfit
