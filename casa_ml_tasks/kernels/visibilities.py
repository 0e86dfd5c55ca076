"""Visibilities in flat arrays, and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES: dict[str, Any] = {
    "uvw": np.float64,
    "visibility": np.complex64,
    "weight": np.float32,
    "channel": np.int32,
    "origin": np.uint16,
    "pointing": np.uint16,
}


@dataclass(frozen=True)
class Visibilities:
    """Samples of Stokes I, or of one hand; what is flagged is left out."""

    uvw: NDArray[np.float64]  # (n, 3), wavelengths, towards the image's centre, at frequencies in its frame
    visibility: NDArray[np.complex64]  # (n,), Jy, phased to the image's centre
    weight: NDArray[np.float32]  # (n,), nominal, Jy^-2
    channel: NDArray[np.int32]  # (n,), of the image; -1 where none has the frequency
    hands: int = 2  # parallel hands in a sample
    origin: NDArray[np.uint16] | None = None  # (n,), of a Numbering, where one was given
    pointing: NDArray[np.uint16] | None = None  # (n,), of a Numbering, where one was given

    @classmethod
    def none(cls) -> Visibilities:
        """Return no visibilities."""
        rows = {"uvw": (0, 3), "visibility": 0, "weight": 0, "channel": 0}
        return cls(**{name: np.zeros(shape, DTYPES[name]) for name, shape in rows.items()}, hands=1)

    @property
    def size(self) -> int:
        """How many."""
        return int(self.weight.size)

    def __getitem__(self, part: slice | NDArray[Any]) -> Visibilities:
        return replace(self, **{name: getattr(self, name)[part] for name in columns(self)})

    def over(self, factor: NDArray[np.floating]) -> Visibilities:
        """Return the visibilities, and their noise, over factors, (n,)."""
        visibility, weight = self.visibility / factor, self.weight * factor**2
        return replace(self, visibility=visibility.astype(np.complex64), weight=weight.astype(np.float32))


@dataclass(frozen=True)
class Origin:
    """Where visibilities come from: Measurement Set, spectral window and OBSERVATION_ID (of the execution block)."""

    vis: str
    spw: int
    observation: int


def columns(visibilities: Visibilities) -> tuple[str, ...]:
    """Return the names of the arrays that are there."""
    return tuple(name for name in DTYPES if getattr(visibilities, name) is not None)
