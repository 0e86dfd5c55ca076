"""The components of every imaging algorithm, in the field's words; arrays are (channel or term, stokes, y, x)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]


@dataclass(frozen=True)
class MinorState:
    """What one minor cycle leaves for the next, besides the model.

    Attributes:
        iterations: minor iterations so far, all cycles together.
        predicted_residual: what the next major cycle should find, Jy/beam; None before the first minor cycle.
        converged: the model explains the data as well as it will: no major cycle is needed.
    """

    iterations: int = 0
    predicted_residual: Image | None = None
    converged: bool = False


@dataclass(frozen=True)
class Fold:
    """Some of the visibilities, as the image plane sees them.

    Attributes:
        psf: their PSF on twice the field, (2 ny, 2 nx), Jy/beam.
        dirty: their dirty image, (ny, nx), Jy/beam.
        weight: sum of their imaging weights.
        power: weighted mean of their squared moduli, Jy^2.
    """

    psf: Image
    dirty: Image
    weight: float
    power: float


@runtime_checkable
class MajorCycle(Protocol):
    """Goes to the visibilities and back: CASA's major cycle."""

    def psf(self) -> Image:
        """The PSF on twice the field, (1, 1, 2 ny, 2 nx), Jy/beam, peak in the pixel (ny, nx)."""
        ...

    def primary_beam(self) -> Image:
        """(1, 1, ny, nx), dimensionless, 1 at its peak."""
        ...

    def residual(self, model: Image) -> Image:
        """model: (1, 1, ny, nx), Jy/pixel. Returns F^H W (d - F model) / sum of W, Jy/beam."""
        ...

    def predict(self, model: Image) -> None:
        """Write the visibilities of the model into the Measurement Set, where `savemodel` asks for it."""
        ...

    def close(self) -> None:
        """Let go of every file."""
        ...


@runtime_checkable
class MinorCycle(Protocol):
    """Updates the model in the image plane: CASA's minor cycle. Pure and resumable."""

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """residual: Jy/beam, model: Jy/pixel, (1, 1, ny, nx) both. Returns the next model and state."""
        ...
