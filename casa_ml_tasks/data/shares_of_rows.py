"""The rows of Measurement Sets in shares of about the same size, each to be read by itself."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from casa_ml_tasks.data.measurement_set import Selection, count_rows, count_rows_of_fields
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


def shares_of_fields(
    selections: Sequence[Selection], places: Sequence[Mapping[int, Hashable]], count: int
) -> list[tuple[Selection, ...]]:
    """Return selections that share the rows of others, each row in one of them, with all rows of a field together.

    Only where a share is full a field, in the order of the data, goes on in the next one.

    Args:
        selections: of the Measurement Sets, with all the rows that their strings select.
        places: of the fields of each, by FIELD_ID; fields at one place of the sky are together.
        count: of shares; fewer where there are not so many rows.

    Raises:
        ValueError: a selection selects nothing.
    """
    rows = [count_rows_of_fields(each) for each in selections]
    fields = [(places[k].get(field), k, field) for k in range(len(selections)) for field in rows[k]]
    known = list(dict.fromkeys(place for place, *_ in fields))
    fields.sort(key=lambda each: known.index(each[0]))
    ends = np.cumsum([rows[k][field] for _, k, field in fields])
    shares = []
    for first, last in even(int(ends[-1]), min(count, int(ends[-1]))):
        whole: dict[int, list[int]] = {}
        parts = []
        for (_, k, field), end in zip(fields, ends.tolist(), strict=True):
            begin = end - rows[k][field]
            here = max(first, begin) - begin, min(last, end) - begin
            if here == (0, rows[k][field]):
                whole.setdefault(k, []).append(field)
            elif here[0] < here[1]:
                parts.append(replace(selections[k], fields=(field,), rows=here))
        shares.append((*(replace(selections[k], fields=tuple(each)) for k, each in whole.items()), *parts))
    return shares
