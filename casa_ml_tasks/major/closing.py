"""Letting go of files where an exception leaves nobody else to do so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Closable(Protocol):
    """Something that holds files open."""

    def close(self) -> None:
        """Let go of every file."""
        ...


@contextmanager
def closed_on_error(opened: Closable) -> Iterator[None]:
    """Close what an exception would leave open."""
    try:
        yield
    except BaseException:
        opened.close()
        raise
