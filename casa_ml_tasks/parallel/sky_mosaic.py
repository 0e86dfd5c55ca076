"""Major cycles of joint images, whose pointings are on many workers; single-dish maps stay in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from casa_ml_tasks.major.reprojected_mosaic import ReprojectedMosaic
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.parallel.mosaic import ParallelMosaic
from casa_ml_tasks.parallel.mosaic_part import ask_sets
from casa_ml_tasks.request.request import Request


class ParallelSkyMosaic(ParallelMosaic, SkyMosaic):
    """Models are the sky; what a data set is asked for is the sum of the workers' answers."""

    _has_origins = True

    def divide(self, factors: NDArray[np.floating]) -> None:
        """Image from now on with the data as they were read, and their noise, over factors of the data sets, (set,)."""
        assert self._parts is not None, "read"
        self._parts.factors = {path: float(factors[number]) for path, number in self._set_numbers.items()}
        self._weigh(None)

    def _gathered(self, question: Callable[..., Any], *arguments: Any) -> list[Any]:
        assert self._parts is not None, "read"
        return self._parts.gathered(ask_sets, question, *arguments)

    def _total(self, question: Callable[..., Any], *arguments: Any) -> Any:
        assert self._parts is not None, "read"
        return self._parts.total(ask_sets, question, *arguments)


class ParallelReprojectedMosaic(ParallelSkyMosaic, ReprojectedMosaic):
    """The same with skies in another projection than SIN."""

    def __init__(self, request: Request, directory: str | Path, projection: str, client: Client):
        """Let the workers read the visibilities; arguments as those of `ReprojectedMosaic`."""
        self._client = client
        ReprojectedMosaic.__init__(self, request, directory, projection)
