"""The components of every imaging algorithm, in the field's words; arrays are (channel or term, stokes, y, x)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]


@dataclass(frozen=True)
class StateSchema:
    """What a minor cycle keeps in `MinorState.latent`, which nothing else needs to know.

    Attributes:
        name: of the minor cycle, in checkpoints.
        version: is raised by one whenever an array changes its meaning, so that older checkpoints are not taken up.
        arrays: the axes of each array by its name; an array may be absent.
    """

    name: str
    version: int
    arrays: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class MinorState:
    """What one minor cycle leaves for the next, besides the model.

    Attributes:
        iterations: minor iterations so far, all cycles together.
        predicted_residual: what the next major cycle should find, Jy/beam; None before the first minor cycle.
        converged: the model explains the data as well as it will: no major cycle is needed.
        latent: the minor cycle's own arrays by name, as its `StateSchema` describes them.
        unfinished: the minor cycle wants to be called again with the same residual and model before the next major
            cycle; a checkpoint is saved in between.
    """

    iterations: int = 0
    predicted_residual: Image | None = None
    converged: bool = False
    latent: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    unfinished: bool = False


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
        """The PSF on twice the field, (channel, stokes, 2 ny, 2 nx), Jy/beam, peak in the pixel (ny, nx).

        Of n Taylor terms there are 2 n - 1, with the weights times powers of (nu - nu_0) / nu_0.
        """
        ...

    def primary_beam(self) -> Image:
        """(channel, stokes, ny, nx), dimensionless, 1 at its peak; one for all Taylor terms."""
        ...

    def residual(self, model: Image) -> Image:
        """model: (channel or term, stokes, ny, nx), Jy/pixel. Returns F^H W (d - F model) / sum of W, Jy/beam."""
        ...

    def predict(self, model: Image) -> None:
        """Write the visibilities of the model into the Measurement Set, where `savemodel` asks for it."""
        ...

    def close(self) -> None:
        """Let go of every file."""
        ...


@runtime_checkable
class MinorCycle(Protocol):
    """Updates the model in the image plane: CASA's minor cycle.

    The next model and state follow from the arguments alone, so that a run resumed from a checkpoint takes the same
    steps.
    """

    @property
    def schema(self) -> StateSchema:
        """What its states hold beside what all states hold; an attribute of the class."""
        ...

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Improve the model; one that it is not done with (`MinorState.unfinished`) is not taken.

        Args:
            residual: of the model, (channel or term, stokes, ny, nx), Jy/beam.
            model: (channel or term, stokes, ny, nx), Jy/pixel.
            state: what the last call left.

        Returns:
            The next model and state.
        """
        ...
