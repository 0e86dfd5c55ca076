"""Write model visibilities into MODEL_DATA: the only thing here that changes a Measurement Set."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from casatools import calibrater, table
from numpy.typing import NDArray

from casa_ml_tasks.data.measurement_set import Block


class ModelColumn:
    """MODEL_DATA of a Measurement Set, open for writing; made by CASA where there is none."""

    def __init__(self, vis: str):
        """vis: path of the Measurement Set."""
        self._table = table()
        self._table.open(vis)
        missing = "MODEL_DATA" not in self._table.colnames()
        self._table.close()
        if missing:
            tool = calibrater()
            tool.open(vis, addcorr=False, addmodel=True)
            tool.close()
        self._table.open(vis, nomodify=False)

    def __enter__(self) -> ModelColumn:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._table.done()

    def write(self, block: Block, visibility: NDArray[np.complexfloating]) -> None:
        """Stokes I, (channel, row), Jy, into both parallel hands of the rows and channels of a Block; 0 elsewhere."""
        if block.row.size == 0:
            return
        part = self._table.selectrows(block.row)
        try:
            column = part.getcol("MODEL_DATA")
            column[:, block.channel] = 0
            for hand in block.hands:
                column[hand, block.channel] = visibility
            part.putcol("MODEL_DATA", column)
        finally:
            part.done()
