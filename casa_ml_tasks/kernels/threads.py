"""Threads for compiled loops that release Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

SHARES = 4  # of a thread: enough to even out their lengths, few enough to cost nothing


class _Limit:
    """How many cores the process was told to use; None where nobody said."""

    cores: int | None = None


def limit_cores(count: int) -> None:
    """Use so many cores at most from now on: others of the machine belong to other workers."""
    _Limit.cores = count


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if _Limit.cores is None else min(cores, _Limit.cores)


def run(function: Callable[..., Any], ranges: Sequence[tuple[int, ...]], threads: int) -> list[Any]:
    """Return `function(first, last)` of every range, in the order of the ranges; they run in any order at once."""

    def share(bounds: tuple[int, int]) -> list[Any]:
        return [function(*each) for each in ranges[slice(*bounds)]]

    shares = even(len(ranges), min(len(ranges), SHARES * threads))
    done = map(share, shares) if threads == 1 else _pool(threads).map(share, shares)
    return [result for results in done for result in results]


def pieces(length: int, threads: int, smallest: int = 10_000) -> list[tuple[int, int]]:
    """Return (first, last) of consecutive parts of about the same size, a few for every thread."""
    return even(length, max(1, min(SHARES * threads if threads > 1 else 1, length // smallest)))


def even(length: int, count: int) -> list[tuple[int, int]]:
    """Return (first, last) of so many consecutive parts of about the same size."""
    return list(pairwise(length * i // count for i in range(count + 1))) if count else []


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")
