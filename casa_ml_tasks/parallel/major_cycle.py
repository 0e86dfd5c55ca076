"""Major cycles of one pointing whose visibilities are on many workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import read_frequencies
from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.data.measurement_set import Selection
from casa_ml_tasks.data.shares_of_rows import shares_of_rows
from casa_ml_tasks.data.visibility_store import SHARE_OF_MEMORY
from casa_ml_tasks.engine.protocols import MinorCycle
from casa_ml_tasks.kernels.threads import even
from casa_ml_tasks.major.data_sets import absolute
from casa_ml_tasks.major.measurement_sets import check_inside
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.rml.minor_cycle import RegularisedMaximumLikelihood
from casa_ml_tasks.parallel.chains import ChainsOnWorkers
from casa_ml_tasks.parallel.clusters import most_on_a_host
from casa_ml_tasks.parallel.distributed_visibilities import DistributedVisibilities
from casa_ml_tasks.parallel.minor_cycle import MinorCycleByChannel
from casa_ml_tasks.parallel.part import Errors, Part
from casa_ml_tasks.parallel.workers import PartsOnWorkers, present_workers
from casa_ml_tasks.request.request import Request


class ParallelMajorCycle(NativeMajorCycle):
    """Each worker reads rows of its own once; every residual is then the sum of those of all workers.

    The images are written here; nothing of the visibilities is in this process.
    """

    _parts: PartsOnWorkers | None = None  # before they are read

    def __init__(self, request: Request, directory: str | Path, client: Client, folds: int = 0):
        """Let the workers read the visibilities, and weight them together.

        Args:
            request: what is imaged, which our own kernels can.
            directory: an existing folder for the images.
            client: of the workers, which must see the Measurement Sets under the same paths.
            folds: split the visibilities into so many for cross-validation, and the core. Not for cubes.

        Raises:
            ValueError: the selection selects nothing, or nothing that this image can hold.
            RuntimeError: the workers cannot do it.
        """
        self._client = client
        super().__init__(request, directory, folds=folds)

    def _open_visibilities(self, directory: Path, origins: bool) -> None:
        parts = self.divided()
        self._parts = PartsOnWorkers(self._client, parts)
        self._check_used(self._parts.size, self._parts.size + self._parts.beyond)
        self._weigh(None)

    def _check_used(self, used: int, total: int) -> None:
        """Check how many of the selected visibilities the image sees."""
        check_inside(used, total, self.cell)

    def divided(self) -> list[Part]:
        """Return a part for each worker: of the rows, or of the channels of a cube that are weighted one by one."""
        whole, count = self._whole(), len(present_workers(self._client))
        channels = self._frame.channels
        if not isinstance(channels, ImageChannels) or whole.weighting.has_one_density:
            shares = shares_of_rows(whole.selections, count)
            return [replace(whole, number=number, selections=rows) for number, rows in enumerate(shares)]
        return [
            replace(whole, number=number, channels=own, frame=replace(self._frame, channels=channels.part(own)))
            for number, own in enumerate(slice(*ends) for ends in even(channels.count, min(count, channels.count)))
        ]

    def _whole(self) -> Part:
        """Return all visibilities as one part."""
        request = self._request
        return Part(
            uuid4().hex[:12],
            0,
            tuple(_seen_from_anywhere(each) for each in request.selection.selections),
            self._frame,
            self._transform,
            slice(0, self.shape[0]),
            request.weighting.of_channels(read_frequencies(self.product("pb"))),
            request.gridding.smearing,
            self._fold_count,
            SHARE_OF_MEMORY / most_on_a_host(present_workers(self._client)),
        )

    @property
    def size(self) -> int:
        """How many visibilities there are."""
        assert self._parts is not None, "read"
        return self._parts.size

    def weigh_with_errors(
        self, error: Callable[[NDArray[np.floating]], NDArray[np.floating]], noise_scale: float
    ) -> None:
        """Image from now on with weights of thermal noise and errors of calibration together."""
        self._weigh((error, noise_scale))

    def _weigh(self, errors: Errors) -> None:
        assert self._parts is not None, "read"
        weighting = self._request.weighting
        self._parts.count(errors, together=weighting.has_one_density)
        self._image_by(DistributedVisibilities.weighted(self._transform, self._parts))

    def near(self, minor: MinorCycle) -> MinorCycle:
        """Return a minor cycle that takes its steps on the workers: of channels that are alone, or with chains."""
        assert self._parts is not None, "read"
        if isinstance(minor, Resolve):
            return minor.with_chains_run(ChainsOnWorkers(self._parts))
        channels = self._parts.channels
        if channels is None or not isinstance(minor, RegularisedMaximumLikelihood):
            return minor
        return MinorCycleByChannel(minor, self._parts, channels) if minor.has_independent_channels else minor

    def close(self) -> None:
        """Let go of every file, and of the workers' parts."""
        if self._parts is not None:
            self._parts.forget()
        super().close()


def _seen_from_anywhere(selection: Selection) -> Selection:
    """Return the same selection for a process in another folder."""
    return replace(selection, vis=absolute(selection.vis))
