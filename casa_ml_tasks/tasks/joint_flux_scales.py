"""The flux scales of Measurement Sets and single-dish maps that are imaged together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.flux_scale import FluxScales, SetOfVisibilities, fit_flux_scales
from casa_ml_tasks.calibration.map_modes import modes_of_map
from casa_ml_tasks.engine.protocols import HoldsVisibilities, Image, MinorCycle, MinorState
from casa_ml_tasks.kernels.visibilities import Visibilities
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
        self._observed = self._visibilities.observed

    @property
    def names(self) -> list[str]:
        """The Measurement Sets, then the maps."""
        sets = dict.fromkeys(origin.vis for origin in self._visibilities.origins)
        return [*sets, *(each.sky_map.path for each in self.maps)]

    @property
    def divided_maps(self) -> list[DishData]:
        """The maps over their factors."""
        return [divided_map(each, by) for each, by in zip(self.maps, self._of_maps(self.factors), strict=True)]

    def divide(self, factors: Factors) -> None:
        """Image with the data as observed over these factors from now on, (set,)."""
        self.factors = factors
        self._visibilities.replace_observed(divided(self._observed, self._of_visibilities(factors)))

    def compare(self, model: Image) -> FluxScales:
        """Return the scales of the data as they are divided now.

        Args:
            model: that the minor cycle has found for them, (channel, 1, ny, nx), Jy/pixel.
        """
        changes = self._changes(model) if len(self.names) > 1 and model.any() else []
        return fit_flux_scales(self.sets(model, changes), REFERENCE)

    def sets(self, model: Image, changes: Sequence[Image] = ()) -> list[SetOfVisibilities]:
        """Return all data sets as they are divided now, beside a model.

        Args:
            model: (channel, 1, ny, nx), Jy/pixel.
            changes: derivative of the model by the relative flux scale of each set; none where they are not known.
        """
        visibilities = self._visibilities
        imaged, nominal, _ = visibilities.imaged
        used = imaged.channel >= 0
        imaged, nominal = imaged[used], nominal[used]
        assert imaged.origin is not None, "the major cycle was asked for origins"
        skies = [model, *changes]
        predicted = np.stack([visibilities.predicted(sky) for sky in skies])
        number, uvdist = self._set_of_origin()[imaged.origin], np.hypot(imaged.uvw[:, 0], imaged.uvw[:, 1])
        found = []
        for index, name in enumerate(self.names[: len(self.names) - len(self.maps)]):
            of_set = np.flatnonzero(number == index)
            found.append(
                SetOfVisibilities(
                    name,
                    uvdist[of_set],
                    imaged.visibility[of_set].astype(complex),
                    predicted[0, of_set].astype(complex),
                    nominal[of_set].astype(float) / self.noise_scale**2,
                    predicted[1:, of_set].astype(complex) if changes else None,
                )
            )
        images = [self.major.seen(sky) for sky in skies]
        return [*found, *(_modes(each, images, visibilities.cell) for each in self.divided_maps)]

    def _changes(self, model: Image) -> list[Image]:
        """Return the derivative of the model by the relative flux scale of each set but the reference, whose is 0.

        The minor cycle goes on from the model, once as the data are and once for each set with data that are brighter
        by `PROBE`.
        """
        same = np.ones(len(self.names))
        before = self._continued(model, same)
        changes = [np.zeros_like(model)]
        for number in range(1, len(self.names)):
            brighter = same.copy()
            brighter[number] = 1 / (1 + PROBE)
            changes.append((self._continued(model, brighter) - before) / PROBE)
        return changes

    def _continued(self, model: Image, factors: Factors) -> Image:
        """Return the model that the minor cycle makes of another with data over some factors; their noise stays."""
        visibilities, by = self._visibilities, self._of_visibilities(factors)
        imaged, nominal, thermal = visibilities.imaged
        if np.any(by != 1):
            assert imaged.origin is not None, "the major cycle was asked for origins"
            changed = (imaged.visibility / by[imaged.origin]).astype(np.complex64)
            visibilities.image_with(replace(imaged, visibility=changed), nominal, thermal)
        residual = self.major.residual(model)
        if np.any(by != 1):
            visibilities.image_with(imaged, nominal, thermal)
        pairs = zip(self.divided_maps, self._of_maps(factors), strict=True)
        minor = self.minor_cycle([brighter_map(each, 1 / by) for each, by in pairs])
        return minor.update(residual, model, MinorState())[0]

    @property
    def _visibilities(self) -> HoldsVisibilities:
        return self.major

    def _set_of_origin(self) -> NDArray[np.intp]:
        names = self.names
        return np.array([names.index(origin.vis) for origin in self._visibilities.origins], np.intp)

    def _of_visibilities(self, factors: Factors) -> Factors:
        """Return the factor of each origin."""
        return factors[self._set_of_origin()]

    def _of_maps(self, factors: Factors) -> Factors:
        return factors[len(factors) - len(self.maps) :]


def divided(observed: Visibilities, factors: Factors) -> Visibilities:
    """Return visibilities, and their noise, over the factor of their origin, (origin,)."""
    assert observed.origin is not None, "visibilities are told apart by their origin"
    factor = factors[observed.origin]
    return replace(
        observed,
        visibility=(observed.visibility / factor).astype(np.complex64),
        weight=(observed.weight * factor**2).astype(np.float32),
    )


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
        beam, level, step = each.sky_map.beams[channel], float(dish.level[channel]), each.sky_map.grid.step
        pixels = np.where(counted, dish.pixels[channel], np.nan)
        seen = [modes_of_map(each.sky_map.path, pixels, one[channel], level, beam, step, cell) for one in maps]
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
