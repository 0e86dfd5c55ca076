"""What the regularised maximum likelihood minor cycle keeps in `MinorState.latent`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def latent_of_channels(latent: Mapping[str, NDArray[Any]], channels: slice) -> dict[str, NDArray[Any]]:
    """Return the arrays of some channels, numbered from 0."""
    found = {name: latent[name][channels] for name in (ENDED, POINTS) if name in latent}
    if UNRESOLVED in latent:
        number = latent[UNRESOLVED][:, 0]
        own = latent[UNRESOLVED][(number >= channels.start) & (number < channels.stop)]
        found[UNRESOLVED] = own - [channels.start, 0, 0, 0, 0]
    return found


def joined_latent(parts: Sequence[Mapping[str, NDArray[Any]]], first: Sequence[int]) -> dict[str, NDArray[Any]]:
    """Return the arrays of all channels of parts. first: channel of each part."""
    found = {name: np.concatenate([part[name] for part in parts]) for name in (ENDED, POINTS) if name in parts[0]}
    tables = [
        part[UNRESOLVED] + [begin, 0, 0, 0, 0] for part, begin in zip(parts, first, strict=True) if UNRESOLVED in part
    ]
    return found | ({UNRESOLVED: np.concatenate(tables)} if tables else {})


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
