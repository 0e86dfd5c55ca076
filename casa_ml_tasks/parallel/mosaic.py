"""Major cycles of a mosaic whose pointings are on many workers."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import read_frequencies
from casa_ml_tasks.major.mosaic_data import check_used, log_views
from casa_ml_tasks.major.mosaic_views import SeenPointings, boxes_of
from casa_ml_tasks.major.native_mosaic import NativeMosaic
from casa_ml_tasks.parallel.distributed_visibilities import DistributedVisibilities
from casa_ml_tasks.parallel.major_cycle import ParallelMajorCycle
from casa_ml_tasks.parallel.mosaic_part import Looks, MosaicPart, pointings_of_part
from casa_ml_tasks.parallel.part import Errors, Part
from casa_ml_tasks.parallel.workers import present_workers
from casa_ml_tasks.request.request import Request


def major_cycle_on_workers(
    request: Request, directory: str | Path, client: Client, folds: int = 0
) -> ParallelMajorCycle:
    """Return the major cycle of one pointing or of a mosaic; arguments as those of `ParallelMajorCycle`."""
    kind = ParallelMajorCycle if request.gridding.single_pointing else ParallelMosaic
    return kind(request, directory, client, folds)


class ParallelMosaic(ParallelMajorCycle, NativeMosaic):
    """Each worker reads the visibilities of pointings of its own once."""

    _has_origins = False  # whether visibilities of different Measurement Sets are told apart

    def divided(self) -> list[Part]:
        """Return a part for each worker, of pointings of its own; where one part is full, the next has the rest."""
        whole, gridding = self._whole(), self._request.gridding
        self._looks = Looks.of(
            whole.selections, self._frame, gridding.usepointing, outside=whole.weighting.has_one_density
        )
        frequencies = read_frequencies(self.product("pb"))
        mosaic = MosaicPart.of(whole, self._looks, frequencies, gridding.mosweight, self._has_origins)
        parts = mosaic.divided(len(present_workers(self._client)))
        self._shares_density = any(part.shared_groups for part in parts)
        return [*parts]

    def _check_used(self, used: int, total: int) -> None:
        check_used(used, total)
        log_views(self._seen_pointings.views)

    @cached_property
    def _numbers_of_parts(self) -> list[NDArray[np.integer]]:
        """The number in `Looks.pointings` of each view of each part."""
        assert self._parts is not None, "read"
        return self._parts.gathered(pointings_of_part)

    @cached_property
    def _seen_pointings(self) -> SeenPointings:
        pointings, seen = self._looks.pointings, np.unique(np.concatenate(self._numbers_of_parts))
        frequencies, field = read_frequencies(self.product("pb")), np.ones(self._transform.shape, bool)
        centre, wanted = self._frame.centre, seen.tolist()
        boxes = boxes_of(pointings.known, centre, frequencies, self._transform, field, wanted)
        return SeenPointings.of(boxes, seen, pointings)

    def _weigh(self, errors: Errors) -> None:
        assert self._parts is not None, "read"
        self._parts.count(errors, together=self._shares_density)
        seen = self._seen_pointings
        numbers = [seen.numbers[own] for own in self._numbers_of_parts]
        self._image_by(DistributedVisibilities.of_mosaic(self._transform, self._parts, seen.views, numbers))
