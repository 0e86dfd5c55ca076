"""Threads for compiled loops that release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(function: Callable[..., Any], ranges: Iterable[tuple[int, int]], threads: int) -> list[Any]:
    """`function(first, last)` of every range, in any order at once; the results in the order of the ranges."""
    if threads == 1:
        return [function(*each) for each in ranges]
    return list(_pool(threads).map(lambda each: function(*each), ranges))


def pieces(length: int, threads: int, smallest: int = 10_000) -> list[tuple[int, int]]:
    """(first, last) of consecutive parts of about the same size, a few for every thread."""
    count = max(1, min(2 * threads if threads > 1 else 1, length // smallest))
    bounds = [length * i // count for i in range(count + 1)]
    return list(pairwise(bounds))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")
