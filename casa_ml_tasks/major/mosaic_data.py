"""The visibilities of a mosaic, pointing by pointing, with what each pointing sees of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.calibration.arrays import Coverage
from casa_ml_tasks.data.measurement_set import Block
from casa_ml_tasks.data.visibility_store import (
    SHARE_OF_MEMORY,
    ImageFrame,
    Origins,
    chunks,
    free_memory,
    read,
    reordered,
)
from casa_ml_tasks.kernels.pointing_view import Box
from casa_ml_tasks.kernels.uv_grid import within_nyquist
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.channel_weights import density_of, set_weights
from casa_ml_tasks.major.mosaic_views import boxes_of
from casa_ml_tasks.major.pointings import Pointings, direction_cosines
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.major.weighted_visibilities import WeightedVisibilities
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.weighting import Weighting


@dataclass(frozen=True)
class MosaicData:
    """The visibilities of a mosaic in the order of their pointings, and of channels in these.

    Attributes:
        store: visibilities with natural weights, pointings numbered as in `views`.
        views: what each pointing sees of the image.
        transform: of the image.
        channels: of the image.
        weighting: how the visibilities are weighted.
        groups: of pointings that share a density of weights, (pointing,).
        numbers: of the views by the number in `pointings`, -1 where a pointing sees nothing of the image.
        pointings: numbers the pointings of other rows of the same Measurement Sets.
    """

    store: Visibilities
    views: tuple[Box, ...]
    transform: Transform
    channels: int
    weighting: Weighting
    groups: NDArray[np.integer]
    numbers: NDArray[np.int64]
    pointings: Pointings

    @classmethod
    def read(
        cls,
        request: Request,
        frame: ImageFrame,
        frequencies: NDArray[np.floating],
        transform: Transform,
        directory: Path,
        origins: Origins | None = None,
    ) -> MosaicData:
        """Read the selected visibilities, in one pass over the Measurement Sets.

        Args:
            request: what is imaged.
            frame: of the image.
            frequencies: of the channels of the image, Hz.
            transform: of the image.
            directory: for files, if memory does not suffice.
            origins: numbers the origins of the visibilities.

        Raises:
            ValueError: the selection selects nothing, or nothing that the image sees.
        """
        weighting = request.weighting.of_channels(frequencies)
        pointings = Pointings(frame, request.gridding.usepointing)
        store = read(
            request.selection.selections,
            frame,
            directory,
            progress=True,
            origins=origins,
            outside=weighting.needs_density and not weighting.per_channel,
            pointings=pointings,
        )
        boxes = boxes_of(pointings.known, frame.centre, frequencies, transform, np.ones(transform.shape, bool))
        assert store.pointing is not None, "asked for"
        order = np.lexsort((store.channel, store.pointing))
        bounds = np.searchsorted(store.pointing[order], np.arange(len(boxes) + 1))
        used = np.zeros(store.size, bool)
        for box, (first, last) in zip(boxes, pairwise(bounds.tolist()), strict=True):
            if box is not None:
                uvw = store.uvw[order[first:last]]
                turned = transform.of_view(box).baselines(uvw)
                used[first:last] = within_nyquist(uvw, transform.cell) & within_nyquist(turned, transform.cell)
        if not used.any():
            raise ValueError("no selected visibility is of a pointing that sees the image; check phasecenter and cell")
        _warn_of_unused(used)
        order = order[used]
        seen = np.unique(store.pointing[order])
        numbers = np.full(len(boxes), -1)
        numbers[seen] = np.arange(seen.size)
        store = reordered(store, order, directory)
        store = replace(store, pointing=numbers[store.pointing].astype(np.uint16))
        views = tuple(box for number in seen if (box := boxes[number]) is not None)
        height, width = views[0].shape
        casalog.post(f"mosaic: {len(views)} pointings, each in {width} x {height} pixels", "INFO", "pointings")
        groups = np.array(pointings.groups)[seen]
        if not (weighting.needs_density and request.gridding.mosweight):
            groups = np.zeros(seen.size, int)
        return cls(store, views, transform, frequencies.size, weighting, groups, numbers, pointings)

    def operator(
        self,
        visibilities: Visibilities | None = None,
        nominal: NDArray[np.floating] | None = None,
        thermal: NDArray[np.floating] | None = None,
        plans: Sequence[MeasurementOperator] = (),
    ) -> VisibilityOperator:
        """Return the operator of all visibilities. Plans beyond the free memory are made anew in every cycle.

        Args:
            visibilities: `store` with corrected data or weights.
            nominal: (n,), weights that claim the noise of each, errors of calibration included, Jy^-2.
            thermal: (n,), weights that claim the thermal noise alone, Jy^-2.
            plans: of the same visibilities with other weights.
        """
        store = self.store if visibilities is None else visibilities
        nominal = self.store.weight if nominal is None else nominal
        thermal = self.store.weight if thermal is None else thermal
        parts = self._parts(store, nominal, thermal)
        most_bytes = SHARE_OF_MEMORY * free_memory()
        return VisibilityOperator.planned(self.transform, self.channels, parts, 0, plans, self.views, most_bytes)

    def numbers_of(self, block: Block, vis: str) -> NDArray[np.int64]:
        """Return the number of the view of each row of a Block, (row,); -1 where it sees nothing of the image."""
        pointing = self.pointings.of(block, vis).astype(int)
        return np.where(pointing < self.numbers.size, self.numbers[np.minimum(pointing, self.numbers.size - 1)], -1)

    def coverages(self, names: Sequence[str]) -> list[Coverage]:
        """Return where each Measurement Set looks. names: of the Measurement Set of each origin."""
        store, known = self.store, np.flatnonzero(self.numbers >= 0)
        assert store.origin is not None, "origins were asked for"
        assert store.pointing is not None, "of a mosaic"
        number = np.array([list(dict.fromkeys(names)).index(each) for each in names])[store.origin]
        uvdist, centre = np.hypot(store.uvw[:, 0], store.uvw[:, 1]), self.pointings.frame.centre
        found = []
        for index, name in enumerate(dict.fromkeys(names)):
            here = number == index
            views = np.unique(store.pointing[here])
            looks = [self.pointings.known[each] for each in known[views]]
            places = np.array([direction_cosines(each, centre) for look in looks for each in set(look.directions)])
            dishes = frozenset(beam for look in looks for beam in look.beams)
            half_power = min(self.views[each].half_power for each in views) * self.transform.cell
            found.append(Coverage(name, dishes, places, half_power, float(uvdist[here].max())))
        return found

    def _parts(
        self, store: Visibilities, nominal: NDArray[np.floating], thermal: NDArray[np.floating]
    ) -> Iterator[WeightedVisibilities]:
        weights = self._imaging_weights(store)
        for pointing, channel, segment in self._segments:
            if channel < 0:
                continue
            for each in chunks(segment.stop - segment.start):
                part = slice(segment.start + each.start, segment.start + each.stop)
                some = store[part]
                yield WeightedVisibilities(
                    channel,
                    some.uvw,
                    some.visibility,
                    weights[part],
                    some.weight,
                    nominal[part],
                    thermal[part],
                    pointing,
                )

    @cached_property
    def _segments(self) -> list[tuple[int, int, slice]]:
        """Pointing, channel and where its visibilities are."""
        pointing, channel = self.store.pointing, self.store.channel
        assert pointing is not None, "of a mosaic"
        begins = np.flatnonzero((np.diff(pointing) != 0) | (np.diff(channel) != 0)) + 1
        bounds = [0, *begins.tolist(), self.store.size]
        return [(int(pointing[a]), int(channel[a]), slice(a, b)) for a, b in pairwise(bounds) if b > a]

    def _imaging_weights(self, store: Visibilities) -> NDArray[np.float32]:
        """Return imaging weights, (n,), with a density for each group of pointings and, if asked, each channel."""
        weights = np.empty(store.size, np.float32)
        together: dict[tuple[int, int], list[slice]] = {}
        for pointing, channel, segment in self._segments:
            key = int(self.groups[pointing]), channel if self.weighting.per_channel else 0
            together.setdefault(key, []).extend(
                slice(segment.start + each.start, segment.start + each.stop)
                for each in chunks(segment.stop - segment.start)
            )
        for segments in together.values():
            density = density_of(store, segments, self.weighting, self.transform.shape, self.transform.cell)
            set_weights(weights, store, segments, density)
        return weights


def _warn_of_unused(used: NDArray[np.bool_]) -> None:
    if not used.all():
        casalog.post(
            f"{np.count_nonzero(~used)} of {used.size} visibilities lie beyond the grid of this cell, or are of "
            "pointings that do not see the image, and are left out",
            "WARN",
        )
