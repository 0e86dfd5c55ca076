"""Arguments of tasks of which each part of the data has its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distributed import Future
from numpy.typing import NDArray

from casa_ml_tasks.parallel.part import Part


@dataclass(frozen=True)
class ByChannel:
    """An argument of which a part gets the channels that it has.

    Attributes:
        image: (channel, ...).
    """

    image: NDArray[Any]

    def of(self, part: Part) -> NDArray[Any]:
        """Return that of a part."""
        return self.image[part.channels]


@dataclass(frozen=True)
class ByPart:
    """An argument that is another for each part.

    Attributes:
        values: of the parts.
        kept: those that are on their workers already, by number and worker, for an argument that is used again.
    """

    values: Sequence[Any]
    kept: dict[tuple[int, str], Future] = field(default_factory=dict)

    def of(self, part: Part) -> Any:
        """Return that of a part."""
        return self.values[part.number]
