"""Imaging weights of stored visibilities, image channel by image channel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.visibility_store import chunks
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.imaging_weights import WeightDensity, imaging_weights
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
    visibilities: Visibilities, weighting: Weighting, channels: int, shape: tuple[int, int], cell: float
) -> Iterator[tuple[int, slice | NDArray[np.bool_], NDArray[np.float32]]]:
    """Yield each image channel with data, which visibilities it has, and their imaging weights.

    Args:
        visibilities: with their natural weights; those in no channel count in a density for all channels.
        weighting: how they are weighted.
        channels: of the image.
        shape: (ny, nx) of the image.
        cell: pixel size, radian.
    """
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
