"""A part of the visibilities of a mosaic: those of pointings of its own, each with its primary beam."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.image_channels import ImageChannels
from casa_ml_tasks.data.measurement_set import Selection, rows
from casa_ml_tasks.data.shares_of_rows import shares_of_fields
from casa_ml_tasks.data.visibility_store import FIELD_ID, ImageFrame, Origins, read
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.data_sets import DataSets, factors_of
from casa_ml_tasks.major.imaging_weights import Densities
from casa_ml_tasks.major.mosaic_data import MosaicData, groups_of
from casa_ml_tasks.major.pointings import Pointings
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.parallel.part import Density, Factors, HeldPart, Part, PartIsLost, held_part


@dataclass(frozen=True)
class Looks:
    """Where all rows of a mosaic look, before any visibility is read.

    Attributes:
        pointings: numbers all of them, on every worker alike.
        fields: of each selection the numbers of the pointings of each field, by FIELD_ID.
        hands: parallel hands in a sample, the most of all rows.
    """

    pointings: Pointings
    fields: tuple[Mapping[int, frozenset[int]], ...]
    hands: int

    @classmethod
    def of(cls, selections: Sequence[Selection], frame: ImageFrame, usepointing: bool, outside: bool) -> Looks:
        """Read where the rows of selections look.

        Args:
            selections: of the Measurement Sets.
            frame: of the image.
            usepointing: as that of `Pointings`.
            outside: also those that have no channel of the image.

        Raises:
            ValueError: a selection selects nothing.
        """
        pointings, hands = Pointings(frame, usepointing), 1
        channels = None if outside or not isinstance(frame.channels, ImageChannels) else frame.channels
        fields: list[dict[int, frozenset[int]]] = []
        for selection in selections:
            found: dict[int, frozenset[int]] = {}
            for some in rows(selection, channels):
                hands = max(hands, len(some.hands))
                pairs = np.array([some.streams[FIELD_ID], pointings.of(some, selection.vis)], int)
                for field, number in np.unique(pairs, axis=1).T.tolist():
                    found[field] = found.get(field, frozenset()) | {number}
            fields.append(found)
        return cls(pointings, tuple(fields), hands)

    def shares(self, selections: Sequence[Selection], count: int) -> list[tuple[Selection, ...]]:
        """Return selections that share the rows of those that were read, with all rows of a field together."""
        return shares_of_fields(selections, [self.pointings.places(each.vis) for each in selections], count)

    def groups_in(
        self, share: Sequence[Selection], selections: Sequence[Selection], groups: NDArray[np.integer]
    ) -> frozenset[int]:
        """Return the groups of the pointings of a share of selections. groups: of all pointings."""
        of_vis = [each.vis for each in selections]
        fields = [(of_vis.index(each.vis), field) for each in share for field in each.fields or ()]
        numbers = chain.from_iterable(self.fields[k].get(field, ()) for k, field in fields)
        return frozenset(int(groups[number]) for number in numbers)


@dataclass
class HeldMosaic(HeldPart):
    """What a worker holds of a mosaic.

    Attributes:
        data: the visibilities as they were read, with their pointings.
        paths: Measurement Set of each origin; none where origins were not asked for.
    """

    data: MosaicData | None = None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MosaicPart(Part):
    """What a worker must know to read some pointings of a mosaic.

    Attributes:
        looks: of all parts.
        frequencies: of the channels of the image, Hz.
        mosweight: whether each field has a density of weights of its own.
        has_origins: whether visibilities of different Measurement Sets are told apart.
        shared_groups: of pointings that other parts have visibilities of as well.
    """

    looks: Looks
    frequencies: NDArray[np.floating]
    mosweight: bool
    has_origins: bool = False
    shared_groups: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls, part: Part, looks: Looks, frequencies: NDArray[np.floating], mosweight: bool, has_origins: bool
    ) -> MosaicPart:
        """Return all pointings as one part. part: all visibilities, as those of one pointing; others: as attributes."""
        return cls(**vars(part), looks=looks, frequencies=frequencies, mosweight=mosweight, has_origins=has_origins)

    def divided(self, count: int) -> list[MosaicPart]:
        """Return this in parts. count: of them."""
        shares = self.looks.shares(self.selections, count)
        groups = groups_of(self.looks.pointings, self.weighting, self.mosweight)
        own = [self.looks.groups_in(share, self.selections, groups) for share in shares]
        counted = list(chain.from_iterable(own)) if self.weighting.needs_density else []
        shared = frozenset(group for group in set(counted) if counted.count(group) > 1)
        return [
            replace(self, number=number, selections=share, shared_groups=shared & mine)
            for number, (share, mine) in enumerate(zip(shares, own, strict=True))
        ]

    def read(self, directory: Path) -> tuple[HeldPart, int]:
        """Return the visibilities, and how many the image does not see. directory: for files."""
        pointings, origins = deepcopy(self.looks.pointings), Origins() if self.has_origins else None
        store = read(
            self.selections,
            self.frame,
            directory,
            origins=origins,
            outside=self.weighting.has_one_density,
            pointings=pointings,
            most_bytes=self.most_bytes,
        )
        store = replace(store, hands=self.looks.hands)
        data = MosaicData.sorted(
            store, pointings, self.frequencies, self.transform, self.weighting, self.mosweight, directory
        )
        paths = () if origins is None else tuple(each.vis for each in origins.known)
        return HeldMosaic(data.store, data.store, data=data, paths=paths), store.size - data.store.size

    def corrected(self, held: HeldPart, factors: Factors) -> Visibilities:
        """Return the visibilities as they were read over the factor of their Measurement Set."""
        mosaic = _mosaic(held)
        store = _data(held).store
        return store.over(factors_of(mosaic.paths, factors, store)) if factors else store

    def density(self, held: HeldPart) -> Density:
        """Return the densities of the groups of pointings that other parts share."""
        return _data(held).densities(held.imaged, self.shared_groups)

    def planned(self, held: HeldPart, density: Density | None) -> VisibilityOperator:
        """Plan the visibilities, or use their plans again. density: of the groups that parts share."""
        assert density is None or isinstance(density, Densities), "of a mosaic"
        nominal, thermal = held.imaged.weight, held.observed.weight
        return _data(held).operator(held.imaged, nominal, thermal, held.plans, density, self.most_bytes)


def pointings_of_part(part: Part) -> NDArray[np.integer]:
    """Return the number of the pointing of each of its views, (view,)."""
    return _data(held_part(part)).seen.known


def ask_sets(part: Part, question: Callable[..., Any], *arguments: Any) -> Any:
    """Return the answer of the data sets in a planned part: question(data sets, *arguments)."""
    mosaic = _mosaic(held_part(part))
    if mosaic.operator is None:
        raise PartIsLost(part.number)
    nominal, thermal = mosaic.imaged.weight, mosaic.observed.weight
    sets = DataSets(_data(mosaic), mosaic.imaged, nominal, thermal, mosaic.operator, mosaic.paths)
    return question(sets, *arguments)


def _mosaic(held: HeldPart) -> HeldMosaic:
    assert isinstance(held, HeldMosaic), "of a mosaic"
    return held


def _data(held: HeldPart) -> MosaicData:
    data = _mosaic(held).data
    assert data is not None, "read"
    return data
