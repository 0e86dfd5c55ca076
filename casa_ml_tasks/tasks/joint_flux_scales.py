"""The flux scales of Measurement Sets and single-dish maps that are imaged together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.flux_scale import (
    FluxScales,
    SetOfVisibilities,
    Span,
    annulus_edges,
    annulus_sums,
    overlap,
    scales_of,
    span,
)
from casa_ml_tasks.calibration.map_modes import modes_of_map
from casa_ml_tasks.calibration.uv_bins import UvBins, bin_sums, bins_of, uv_bins
from casa_ml_tasks.engine.protocols import Image, MinorCycle, MinorState
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.tasks.single_dish_data import DishData

PROBE = 0.05  # relative change of a data set, for the derivative of the model
REFERENCE = 0  # the first Measurement Set

Factors = NDArray[np.floating]


@dataclass
class JointFluxScales:
    """The data sets of one sky, and what each is divided by.

    Attributes:
        major: holds the visibilities, with their origins.
        maps: as observed.
        minor_cycle: makes the minor cycle of given maps.
        noise_scale: true thermal noise over the noise that WEIGHT claims.
        factors: what the data are divided by now, (set,).
    """

    major: SkyMosaic
    maps: Sequence[DishData]
    minor_cycle: Callable[[Sequence[DishData]], MinorCycle]
    noise_scale: float
    factors: Factors = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the data as observed."""
        self.factors = np.ones(len(self.names))

    @property
    def names(self) -> list[str]:
        """The Measurement Sets, those of one array that see different parts of the sky as one, then the maps."""
        return [*self.major.data_sets, *(each.sky_map.path for each in self.maps)]

    @property
    def divided_maps(self) -> list[DishData]:
        """The maps over their factors."""
        return [divided_map(each, by) for each, by in zip(self.maps, self._of_maps(self.factors), strict=True)]

    def divide(self, factors: Factors) -> None:
        """Image with the data as observed over these factors from now on, (set,)."""
        self.factors = factors
        self.major.divide(factors[: len(factors) - len(self.maps)])

    def compare(self, model: Image) -> FluxScales:
        """Return the scales of the data as they are divided now.

        Args:
            model: that the minor cycle has found for them, (channel, 1, ny, nx), Jy/pixel.
        """
        skies = [model, *(self._changes(model) if len(self.names) > 1 and model.any() else [])]
        maps, names = self._modes(skies), self.names
        edges = annulus_edges([*self.major.spans, *map(span, maps)])

        def sums(each: SetOfVisibilities, number: int) -> NDArray[np.float64]:
            return annulus_sums(each, number, len(names), edges)

        of_visibilities = self.major.reduced_sets(skies, self.noise_scale, sums)
        of_maps = [sums(each, len(of_visibilities) + number) for number, each in enumerate(maps)]
        return scales_of(names, [*of_visibilities, *of_maps], REFERENCE, knows_changes=len(skies) > 1)

    def uv_bins(self, model: Image) -> list[UvBins]:
        """Return all data sets as they are divided now beside a model, (channel, 1, ny, nx), in bins of uv distance."""
        spans, names = self.major.spans, self.names

        def sums(each: SetOfVisibilities, number: int) -> NDArray[np.float64]:
            return bin_sums(each, spans[number])

        of_visibilities = self.major.reduced_sets([model], self.noise_scale, sums)
        bins = [bins_of(*each) for each in zip(names, spans, of_visibilities, strict=False)]
        return [*bins, *map(uv_bins, self._modes([model]))]

    def shared(self) -> Span | None:
        """Return the shortest and the longest uv distance that two sets share, wavelengths; None where none is."""
        empty = np.zeros(self.major.sky_shape, np.float32)
        return overlap([*self.major.spans, *map(span, self._modes([empty]))])

    def _modes(self, skies: Sequence[Image]) -> list[SetOfVisibilities]:
        """Return the modes of each map beside those of a model and of its changes."""
        images = [self.major.seen(sky) for sky in skies]
        return [_modes(each, images, self.major.cell) for each in self.divided_maps]

    def _changes(self, model: Image) -> list[Image]:
        """Return the derivative of the model by the relative flux scale of each set but the reference, whose is 0.

        The minor cycle goes on from the model, once as the data are and once for each set with data that are brighter
        by `PROBE`. Their noise stays.
        """
        residual, sets = self.major.residual(model), len(self.names) - len(self.maps)
        before, changes = self._continued(model, residual), [np.zeros_like(model)]
        for brighter in range(1, len(self.names)):
            more = PROBE * self.major.dirty_of_set(brighter) if brighter < sets else 0
            changes.append((self._continued(model, residual + more, brighter - sets) - before) / PROBE)
        return changes

    def _continued(self, model: Image, residual: Image, brighter: int = -1) -> Image:
        """Return the model that the minor cycle makes of another.

        Args:
            model: to go on from.
            residual: of the visibilities.
            brighter: number of the map that is brighter by `PROBE`; negative for none.
        """
        maps = [
            brighter_map(each, 1 + PROBE) if number == brighter else each
            for number, each in enumerate(self.divided_maps)
        ]
        return self.minor_cycle(maps).update(residual, model, MinorState())[0]

    def _of_maps(self, factors: Factors) -> Factors:
        return factors[len(factors) - len(self.maps) :]


def divided_map(each: DishData, factor: float) -> DishData:
    """Return a map, and its noise, over a factor."""
    sky_map = replace(each.sky_map, pixels=each.sky_map.pixels / factor, noise=each.sky_map.noise / factor)
    return replace(
        each, sky_map=sky_map, dish=replace(each.dish, pixels=each.dish.pixels / factor, level=each.dish.level / factor)
    )


def brighter_map(each: DishData, factor: float) -> DishData:
    """Return a map times a factor, with the noise as it is."""
    return replace(each, dish=replace(each.dish, pixels=each.dish.pixels * factor))


def _modes(each: DishData, skies: Sequence[Image], cell: float) -> SetOfVisibilities:
    """Return the modes of all channels of a map beside those of a model and of its changes."""
    dish, counted = each.dish, each.dish.precision.counted
    maps = [dish.predicted(np.asarray(sky[:, 0], float)) for sky in skies]
    channels = []
    for channel in np.flatnonzero(np.isfinite(dish.level)):
        beam, level, known = each.sky_map.beams[channel], float(dish.level[channel]), each.sky_map
        pixels = np.where(counted, dish.pixels[channel], np.nan)
        seen = [
            modes_of_map(known.path, pixels, one[channel], level, beam, known.grid.step, cell, known.correlation)
            for one in maps
        ]
        changes = np.stack([one.model for one in seen[1:]]) if len(seen) > 1 else None
        channels.append(replace(seen[0], changes=changes))
    return replace(
        channels[0],
        uvdist=np.concatenate([one.uvdist for one in channels]),
        data=np.concatenate([one.data for one in channels]),
        model=np.concatenate([one.model for one in channels]),
        weight=np.concatenate([one.weight for one in channels]),
        changes=None
        if len(skies) == 1
        else np.concatenate([one.changes for one in channels if one.changes is not None], axis=1),
    )
