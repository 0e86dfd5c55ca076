"""Hogbom's CLEAN as a minor cycle, with the PSF on twice the field: what a deconvolver is compared with."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState, StateSchema


class Hogbom:
    """CLEAN of one plane down to a threshold, or for so many iterations; Hogbom (1974), A&AS 15, 417."""

    schema = StateSchema("hogbom", 1)

    def __init__(self, psf: NDArray[np.floating], threshold: float, iterations: int, gain: float = 0.1):
        """Remember the PSF.

        Args:
            psf: (1, 1, 2 ny, 2 nx), Jy/beam.
            threshold: largest residual at the end, Jy/beam.
            iterations: most of them.
            gain: of the loop.
        """
        self._psf = psf[0, 0].astype(float)
        self._threshold, self._iterations, self._gain = threshold, iterations, gain

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Return the model after CLEAN, and its state; images are (1, 1, ny, nx)."""
        left, found, count = clean(
            residual[0, 0].astype(float), self._psf, self._iterations, self._gain, self._threshold
        )
        return model + found[None, None], MinorState(state.iterations + count, left[None, None], converged=count == 0)


@numba.njit(cache=False, fastmath=True)
def clean(
    dirty: NDArray[np.float64], psf: NDArray[np.float64], iterations: int, gain: float, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Return residual and model, (ny, nx), and the iterations used."""
    ny, nx = dirty.shape
    residual, model = dirty.copy(), np.zeros_like(dirty)
    for count in range(iterations):
        peak, row, column = 0.0, 0, 0
        for y in range(ny):
            for x in range(nx):
                if abs(residual[y, x]) > peak:
                    peak, row, column = abs(residual[y, x]), y, x
        if peak <= threshold:
            return residual, model, count
        amount = gain * residual[row, column]
        model[row, column] += amount
        for y in range(ny):
            for x in range(nx):
                residual[y, x] -= amount * psf[ny + y - row, nx + x - column]
    return residual, model, iterations
