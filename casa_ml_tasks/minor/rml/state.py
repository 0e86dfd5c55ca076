"""What the regularised maximum likelihood minor cycle keeps in `MinorState.latent`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState, StateSchema
from casa_ml_tasks.minor.rml.unresolved import Sources

#: Whether the last minor cycle of each image had nothing more to gain, rather than no more iterations.
ENDED = "ended"
#: What of the model is point sources, Jy/pixel; absent where they are no component of their own.
POINTS = "points"
#: Channel, Stokes, flux, y and x of every source between pixels; absent where there is none.
UNRESOLVED = "unresolved"

SCHEMA = StateSchema(
    name="rml",
    version=1,
    arrays={
        ENDED: ("channel or term", "stokes"),
        POINTS: ("channel", "stokes", "y", "x"),
        UNRESOLVED: ("source", "number"),
    },
)


def point_image(state: MinorState) -> Image | None:
    """Return what of the model is point sources, (channel, stokes, ny, nx), Jy/pixel; None without such a component."""
    return state.latent.get(POINTS)


def sources_of(latent: Mapping[str, NDArray[Any]], channel: int, stokes: int) -> Sources:
    """Return the sources between pixels of one plane."""
    table = latent.get(UNRESOLVED, np.zeros((0, 5)))
    return Sources.of(table[(table[:, 0] == channel) & (table[:, 1] == stokes), 2:])


def latent_of(
    ended: NDArray[np.bool_], points: Image | None, unresolved: Mapping[tuple[int, int], Sources]
) -> dict[str, NDArray[Any]]:
    """Return the arrays of `SCHEMA`; unresolved: the sources between pixels by channel and Stokes."""
    rows = [[channel, stokes, *row] for (channel, stokes), each in sorted(unresolved.items()) for row in each.rows()]
    latent: dict[str, NDArray[Any]] = {ENDED: ended}
    if points is not None:
        latent[POINTS] = points
    if rows:
        latent[UNRESOLVED] = np.array(rows, float)
    return latent
