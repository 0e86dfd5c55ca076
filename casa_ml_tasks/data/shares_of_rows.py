"""The rows of Measurement Sets in shares of about the same size, each to be read by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from casa_ml_tasks.data.measurement_set import Selection, count_rows
from casa_ml_tasks.kernels.threads import even


def shares_of_rows(selections: Sequence[Selection], count: int) -> list[tuple[Selection, ...]]:
    """Return selections that share the rows of others, each row in one of them, in the order of the data.

    Measurement Sets are sorted by time, so that a share has few scans, and all baselines and spectral windows of these.

    Args:
        selections: of the Measurement Sets, with all the rows that their strings select.
        count: of shares; fewer where there are not so many rows.

    Raises:
        ValueError: a selection selects nothing.
    """
    ends = np.cumsum([count_rows(each) for each in selections])
    total = int(ends[-1])
    shares = []
    for first, last in even(total, min(count, total)):
        share = []
        for selection, end, rows in zip(selections, ends, np.diff(ends, prepend=0), strict=True):
            begin = int(end - rows)
            here = max(first - begin, 0), min(last - begin, int(rows))
            if here[0] < here[1]:
                share.append(replace(selection, rows=here))
        shares.append(tuple(share))
    return shares
