"""The visibilities of a mosaic, pointing by pointing, with what each pointing sees of the image."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.calibration.arrays import Coverage
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
from casa_ml_tasks.major.imaging_weights import Densities, WeightDensity
from casa_ml_tasks.major.mosaic_views import SeenPointings, boxes_of
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
        store: visibilities with natural weights, pointings numbered as the views of `seen`.
        seen: the pointings, with what each sees of the image.
        transform: of the image.
        channels: of the image.
        weighting: how the visibilities are weighted.
        groups: of pointings that share a density of weights, (view,).
    """

    store: Visibilities
    seen: SeenPointings
    transform: Transform
    channels: int
    weighting: Weighting
    groups: NDArray[np.integer]

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
            outside=weighting.has_one_density,
            pointings=pointings,
        )
        data = cls.sorted(store, pointings, frequencies, transform, weighting, request.gridding.mosweight, directory)
        check_used(data.store.size, store.size)
        log_views(data.seen.views)
        return data

    @classmethod
    def sorted(
        cls,
        store: Visibilities,
        pointings: Pointings,
        frequencies: NDArray[np.floating],
        transform: Transform,
        weighting: Weighting,
        mosweight: bool,
        directory: Path,
    ) -> MosaicData:
        """Sort visibilities that have been read; those that the image does not see are left out.

        Args:
            store: the visibilities.
            pointings: have numbered theirs. Where none sees the image, there is one view all the same.
            frequencies: of the channels of the image, Hz.
            transform: of the image.
            weighting: of the visibilities.
            mosweight: whether each field has a density of its own.
            directory: of the files of the store, if it has any.

        Raises:
            ValueError: no pointing that is known sees the image.
        """
        numbers: NDArray[np.integer] = np.zeros(0, np.uint16) if store.pointing is None else store.pointing
        field, centre = np.ones(transform.shape, bool), pointings.frame.centre
        wanted = set(np.unique(numbers).tolist())
        boxes = boxes_of(pointings.known, centre, frequencies, transform, field, wanted)
        order = np.lexsort((store.channel, numbers))
        bounds = np.searchsorted(numbers[order], np.arange(len(boxes) + 1))
        used = np.zeros(store.size, bool)
        for box, (first, last) in zip(boxes, pairwise(bounds.tolist()), strict=True):
            if box is not None:
                uvw = store.uvw[order[first:last]]
                turned = transform.of_view(box).baselines(uvw)
                used[first:last] = within_nyquist(uvw, transform.cell) & within_nyquist(turned, transform.cell)
        order = order[used]
        seen: NDArray[np.integer] = np.unique(numbers[order])
        if not seen.size:
            boxes = boxes_of(pointings.known, centre, frequencies, transform, field)
            seen = np.flatnonzero([box is not None for box in boxes])[:1]
        looks = SeenPointings.of(boxes, seen, pointings)
        store = reordered(store, order, directory)
        store = replace(store, pointing=looks.numbers[numbers[order]].astype(np.uint16))
        groups = groups_of(pointings, weighting, mosweight)[seen]
        return cls(store, looks, transform, frequencies.size, weighting, groups)

    def operator(
        self,
        visibilities: Visibilities | None = None,
        nominal: NDArray[np.floating] | None = None,
        thermal: NDArray[np.floating] | None = None,
        plans: Sequence[MeasurementOperator] = (),
        densities: Densities | None = None,
        most_bytes: float | None = None,
    ) -> VisibilityOperator:
        """Return the operator of all visibilities. Plans beyond the free memory are made anew in every cycle.

        Args:
            visibilities: `store` with corrected data or weights.
            nominal: (n,), weights that claim the noise of each, errors of calibration included, Jy^-2.
            thermal: (n,), weights that claim the thermal noise alone, Jy^-2.
            plans: of the same visibilities with other weights.
            densities: of visibilities of which there are more than these.
            most_bytes: of plans; `SHARE_OF_MEMORY` of what is free by default.
        """
        store = self.store if visibilities is None else visibilities
        nominal = self.store.weight if nominal is None else nominal
        thermal = self.store.weight if thermal is None else thermal
        parts = self._parts(store, nominal, thermal, densities or Densities({}))
        most_bytes = SHARE_OF_MEMORY * free_memory() if most_bytes is None else most_bytes
        return VisibilityOperator.planned(self.transform, self.channels, parts, 0, plans, self.seen.views, most_bytes)

    def densities(self, store: Visibilities, groups: Collection[int]) -> Densities:
        """Return the densities of groups of pointings. store: that of these data, or with other weights."""
        together = {key: segments for key, segments in self._together().items() if key[0] in groups}
        return Densities({key: self._density(store, segments) for key, segments in together.items()})

    def coverages(self, names: Sequence[str]) -> list[Coverage]:
        """Return where each Measurement Set looks. names: of the Measurement Set of each origin."""
        store, seen = self.store, self.seen
        assert store.origin is not None, "origins were asked for"
        assert store.pointing is not None, "of a mosaic"
        number = np.array([list(dict.fromkeys(names)).index(each) for each in names])[store.origin]
        uvdist, centre = np.hypot(store.uvw[:, 0], store.uvw[:, 1]), seen.pointings.frame.centre
        found = []
        for index, name in enumerate(dict.fromkeys(names)):
            here = number == index
            views = np.unique(store.pointing[here])
            looks = [seen.pointings.known[each] for each in seen.known[views]]
            places = np.array([direction_cosines(each, centre) for look in looks for each in set(look.directions)])
            dishes = frozenset(beam for look in looks for beam in look.beams)
            half_power = min(seen.views[each].half_power for each in views) * self.transform.cell
            found.append(Coverage(name, dishes, places, half_power, float(uvdist[here].max())))
        return found

    def _parts(
        self,
        store: Visibilities,
        nominal: NDArray[np.floating],
        thermal: NDArray[np.floating],
        densities: Densities,
    ) -> Iterator[WeightedVisibilities]:
        weights = self._imaging_weights(store, densities)
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
        if not pointing.size:
            return []
        begins = np.flatnonzero((np.diff(pointing) != 0) | (np.diff(channel) != 0)) + 1
        bounds = [0, *begins.tolist(), self.store.size]
        return [(int(pointing[a]), int(channel[a]), slice(a, b)) for a, b in pairwise(bounds) if b > a]

    def _imaging_weights(self, store: Visibilities, densities: Densities) -> NDArray[np.float32]:
        """Return imaging weights, (n,), with a density for each group of pointings and, if asked, each channel."""
        weights = np.empty(store.size, np.float32)
        for key, segments in self._together().items():
            density = densities.by_key.get(key) or self._density(store, segments)
            set_weights(weights, store, segments, density)
        return weights

    def _together(self) -> dict[tuple[int, int], list[slice]]:
        """The visibilities that share a density of weights, by group and, if asked, channel."""
        together: dict[tuple[int, int], list[slice]] = {}
        for pointing, channel, segment in self._segments:
            key = int(self.groups[pointing]), channel if self.weighting.per_channel else 0
            together.setdefault(key, []).extend(
                slice(segment.start + each.start, segment.start + each.stop)
                for each in chunks(segment.stop - segment.start)
            )
        return together

    def _density(self, store: Visibilities, segments: Sequence[slice]) -> WeightDensity:
        return density_of(store, segments, self.weighting, self.transform.shape, self.transform.cell)


def groups_of(pointings: Pointings, weighting: Weighting, mosweight: bool) -> NDArray[np.integer]:
    """Return which pointings share a density of weights, (pointing,). mosweight: whether those of each field do."""
    own = weighting.needs_density and mosweight
    return np.array(pointings.groups) if own else np.zeros(len(pointings.groups), int)


def check_used(used: int, total: int) -> None:
    """Warn of visibilities that an image does not see. used, total: how many are seen, and selected.

    Raises:
        ValueError: it sees none.
    """
    if not used:
        raise ValueError("no selected visibility is of a pointing that sees the image; check phasecenter and cell")
    if used < total:
        casalog.post(
            f"{total - used} of {total} visibilities lie beyond the grid of this cell, or are of "
            "pointings that do not see the image, and are left out",
            "WARN",
        )


def log_views(views: Sequence[Box]) -> None:
    """Tell the log of the pointings."""
    height, width = views[0].shape
    casalog.post(f"mosaic: {len(views)} pointings, each in {width} x {height} pixels", "INFO", "pointings")
