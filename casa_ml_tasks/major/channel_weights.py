"""Imaging weights of stored visibilities, image channel by image channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.visibility_store import chunks
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.imaging_weights import WeightDensity, imaging_weights
from casa_ml_tasks.major.weighted_visibilities import WeightedVisibilities
from casa_ml_tasks.request.weighting import Weighting


def density_of(
    visibilities: Visibilities, parts: Sequence[slice], weighting: Weighting, shape: tuple[int, int], cell: float
) -> WeightDensity:
    """Return the density of the weights of visibilities, empty where the weighting needs none.

    Args:
        visibilities: with their natural weights.
        parts: of them, that fit in memory.
        weighting: what the density is for.
        shape: (ny, nx) of the image.
        cell: pixel size, radian.
    """
    density = WeightDensity(weighting, shape, cell, visibilities.hands)
    if weighting.needs_density:
        for part in parts:
            density.add(visibilities.uvw[part, 0], visibilities.uvw[part, 1], visibilities.weight[part])
    return density


def set_weights(
    weights: NDArray[np.float32], visibilities: Visibilities, parts: Sequence[slice], density: WeightDensity
) -> None:
    """Set the imaging weights, (n,), of parts of the visibilities."""
    for part in parts:
        u, v = visibilities.uvw[part, 0], visibilities.uvw[part, 1]
        weights[part] = imaging_weights(u, v, visibilities.weight[part], density)


def weights_of_channels(
    visibilities: Visibilities,
    weighting: Weighting,
    channels: int,
    shape: tuple[int, int],
    cell: float,
    density: WeightDensity | None = None,
) -> Iterator[tuple[int, slice | NDArray[np.bool_], NDArray[np.float32]]]:
    """Yield each image channel with data, which visibilities it has, and their imaging weights.

    Args:
        visibilities: with their natural weights; those in no channel count in a density for all channels.
        weighting: how they are weighted.
        channels: of the image.
        shape: (ny, nx) of the image.
        cell: pixel size, radian.
        density: of all visibilities of the image, where these are a part of them and have one density for all channels.
    """
    if density is None:
        density = density_of(visibilities, list(chunks(visibilities.size)), weighting, shape, cell)
    for channel in range(channels):
        inside = visibilities.channel == channel
        members = slice(None) if inside.all() else inside
        of_channel = visibilities[members]
        if of_channel.size == 0:
            continue
        parts = list(chunks(of_channel.size))
        if weighting.per_channel:
            density = density_of(of_channel, parts, weighting, shape, cell)
        weights = np.empty(of_channel.size, np.float32)
        set_weights(weights, of_channel, parts, density)
        yield channel, members, weights


def weighted_by_channel(
    visibilities: Visibilities,
    nominal: NDArray[np.floating],
    thermal: NDArray[np.floating],
    weighting: Weighting,
    channels: int,
    shape: tuple[int, int],
    cell: float,
    density: WeightDensity | None = None,
) -> Iterator[WeightedVisibilities]:
    """Yield visibilities with their imaging weights, channel by channel, in chunks that are planned at once.

    Args:
        visibilities: with the natural weights to image with.
        nominal: (n,), weights that claim the noise of each, errors of calibration included, Jy^-2.
        thermal: (n,), weights that claim the thermal noise alone, Jy^-2.
        weighting, channels, shape, cell, density: as those of `weights_of_channels`.
    """
    for channel, members, weights in weights_of_channels(visibilities, weighting, channels, shape, cell, density):
        some, claimed, alone = visibilities[members], nominal[members], thermal[members]
        for part in chunks(some.size):
            yield WeightedVisibilities(
                channel,
                some.uvw[part],
                some.visibility[part],
                weights[part],
                some.weight[part],
                claimed[part],
                alone[part],
            )


def with_errors(
    visibilities: Visibilities, error: Callable[[NDArray[np.floating]], NDArray[np.floating]], noise_scale: float
) -> Visibilities:
    """Return visibilities with natural weights of thermal noise and errors of calibration together.

    Args:
        visibilities: with weights of thermal noise.
        error: gives errors of calibration, Jy, at uv distances, wavelengths.
        noise_scale: true thermal noise over the noise that the weights claim; the new ones claim it as well.
    """
    errors = error(np.hypot(visibilities.uvw[:, 0], visibilities.uvw[:, 1]))
    weight = visibilities.weight / (1 + visibilities.weight * (errors / noise_scale) ** 2)
    return replace(visibilities, weight=weight.astype(np.float32))
