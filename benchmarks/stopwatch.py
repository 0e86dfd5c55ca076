"""Times of several programs that take turns, so that a busy moment of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)


class Timing(NamedTuple):
    """Wall times, seconds."""

    best: float
    median: float


def interleaved(programs: Mapping[Name, Callable[[], Any]], runs: int) -> dict[Name, Timing]:
    """Run all in turn, `runs` times, after one turn that pays for compilation and is not counted."""
    seconds: dict[Name, list[float]] = {name: [] for name in programs}
    for turn in range(runs + 1):
        for name, program in programs.items():
            begun = time.perf_counter()
            program()
            if turn:
                seconds[name].append(time.perf_counter() - begun)
    return {name: Timing(min(each), float(np.median(each))) for name, each in seconds.items()}
