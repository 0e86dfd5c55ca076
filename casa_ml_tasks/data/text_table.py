"""Products that are tables of numbers: plain text that a person, numpy.loadtxt and TOPCAT read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_table(path: str | Path, columns: Mapping[str, NDArray[np.floating]], notes: Sequence[str] = ()) -> None:
    """Write columns of one length below a header of lines that begin with #: the notes, then the columns' names."""
    header = "\n".join([*notes, " ".join(columns)])
    np.savetxt(path, np.column_stack(list(columns.values())), fmt="%.6e", header=header)


def read_table(path: str | Path) -> dict[str, NDArray[np.float64]]:
    """The columns that `write_table` wrote, by name."""
    comments = [line[2:] for line in Path(path).read_text().splitlines() if line.startswith("# ")]
    return dict(zip(comments[-1].split(), np.loadtxt(path, ndmin=2).T, strict=True))
