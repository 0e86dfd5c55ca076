"""The arguments of a call, as the door hands them over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call.

    Attributes:
        values: of every parameter of the task, by its name, as they are given.
        defaults: of every parameter of the task.
    """

    values: Mapping[str, Any]
    defaults: Mapping[str, Any]
