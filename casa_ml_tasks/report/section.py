"""A section of a report: what a task shows, and nothing about how the page is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn when the page is written.

    Attributes:
        name: of its file, without extension; each in a report has its own.
        caption: what it shows, in whole sentences.
        draw: draws it.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Table:
    """Numbers as text.

    Attributes:
        columns: their headings.
        rows: one text a column.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A heading with sentences, figures and a table below it, in this order.

    Attributes:
        title: the heading.
        sentences: a paragraph each.
        figures: beside and below each other.
        table: below the figures; None where there is none.
        arrangement: of the figures: two a row, the first alone and then two a row, or three a row.
    """

    title: str
    sentences: Sequence[str] = ()
    figures: Sequence[Drawing] = ()
    table: Table | None = None
    arrangement: Literal["pairs", "first_alone", "triples"] = "pairs"
