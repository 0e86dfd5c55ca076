"""Imaging weights of stored visibilities, image channel by image channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.visibility_store import chunks
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.imaging_weights import WeightDensity, imaging_weights
from casa_ml_tasks.request.weighting import Weighting


def density_of(visibilities: Visibilities, weighting: Weighting, shape: tuple[int, int], cell: float) -> WeightDensity:
    """Return the density of the weights of visibilities, empty where the weighting needs none.

    Args:
        visibilities: with their natural weights.
        weighting: what the density is for.
        shape: (ny, nx) of the image.
        cell: pixel size, radian.
    """
    density = WeightDensity(weighting, shape, cell, visibilities.hands)
    if weighting.needs_density:
        for part in chunks(visibilities.size):
            density.add(visibilities.uvw[part, 0], visibilities.uvw[part, 1], visibilities.weight[part])
    return density


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
    density = density_of(visibilities, weighting, shape, cell)
    for channel in range(channels):
        inside = visibilities.channel == channel
        members = slice(None) if inside.all() else inside
        part = visibilities[members]
        if part.size == 0:
            continue
        if weighting.per_channel:
            density = density_of(part, weighting, shape, cell)
        weights = np.empty(part.size, np.float32)
        for some in chunks(part.size):
            weights[some] = imaging_weights(part.uvw[some, 0], part.uvw[some, 1], part.weight[some], density)
        yield channel, members, weights


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
