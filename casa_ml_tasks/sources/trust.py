"""Signs that an input is not like what the networks were trained on, or that a source is not like its fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.networks.network_grid import TILE
from casa_ml_tasks.sources.dirty_cube import Plane
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.looks import MOST_IN_TILE, Look

LARGEST_RMS = 1.1  # of the residual, in units of the noise
LARGEST_PEAK = 6.0  # of the residual, in units of the noise
LARGEST_NOISE_RATIO = 1.2  # measured over claimed noise, or its inverse
LARGEST_ELONGATION = 3.0  # of the beam
LARGEST_SOURCE = TILE / 4 / 5.2  # beams, FWHM; the largest of the training
LARGEST_LOCAL_RMS = 1.5  # of the residual inside the 2-sigma ellipse of a source, in units of the noise


def robust_rms(image: NDArray[np.floating]) -> float:
    """Return 1.4826 times the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(image - np.median(image))))


def field_flags(plane: Plane, residual: NDArray[np.floating], first: Look) -> tuple[str, ...]:
    """Return what makes the whole field doubtful, one sentence each.

    Args:
        plane: integrated over the channels.
        residual: of all sources, (ny, nx), Jy/beam.
        first: of the network, at the plane.
    """
    rms, robust, peak = residual.std() / plane.noise, robust_rms(residual) / plane.noise, np.abs(residual).max()
    flags = []
    if not first.is_compact:
        flags.append(
            f"it is no set of compact sources ({first.densest} candidates where fields of the training have up to "
            f"{MOST_IN_TILE}), and only the brightest are fitted: there is extended emission, or the calibration has "
            "errors; image it with rmlclean or resolveimage"
        )
    if not 1 / LARGEST_NOISE_RATIO < robust < LARGEST_NOISE_RATIO:
        flags.append(f"the noise is {robust:.2f} times what was stated, and sources are measured against it")
    if rms > LARGEST_RMS:
        flags.append(
            f"the residual is {rms:.2f} times the noise (r.m.s.); there is emission that is not Gaussian, or the "
            "calibration has errors"
        )
    if peak > LARGEST_PEAK * plane.noise:
        flags.append(f"the residual has a peak of {peak / plane.noise:.1f} times the noise that no source explains")
    elongation = plane.beam.major / plane.beam.minor
    if elongation > LARGEST_ELONGATION:
        flags.append(f"the beam is {elongation:.1f} times as long as wide; the network was trained up to 3")
    return tuple(flags)


def source_flags(
    plane: Plane, gaussians: Gaussians, at_bound: NDArray[np.bool_], residual: NDArray[np.floating], first: Look
) -> list[tuple[str, ...]]:
    """Return what makes each source doubtful, a word each.

    'bound': an axis is as large as the fit allows. 'large': larger than sources of the training. 'blend': another
    source is closer than a beam. 'edge': it reaches over the edge of the image. 'shape': what the Gaussian leaves there
    is more than noise. 'field': the whole field is no set of compact sources.

    Args:
        plane: in which they were fitted.
        gaussians: all of them.
        at_bound: whether an axis is as large as the fit allows, (source,).
        residual: of all sources, (ny, nx), Jy/beam.
        first: of the network, at the plane.
    """
    is_extended = not first.is_compact
    return [
        tuple(
            word
            for word, is_so in (
                ("bound", bool(at_bound[number])),
                ("large", gaussians.major[number] > LARGEST_SOURCE * plane.beam.mean),
                ("blend", _nearest(gaussians, number) < plane.beam.mean),
                ("edge", _over_edge(gaussians, number, plane.dirty.shape)),
                ("shape", _local_rms(plane, gaussians, number, residual) > LARGEST_LOCAL_RMS),
                ("field", is_extended),
            )
            if is_so
        )
        for number in range(len(gaussians))
    ]


def _nearest(gaussians: Gaussians, number: int) -> float:
    distance = np.hypot(gaussians.x - gaussians.x[number], gaussians.y - gaussians.y[number])
    distance[number] = np.inf
    return float(distance.min())


def _over_edge(gaussians: Gaussians, number: int, shape: tuple[int, ...]) -> bool:
    x0, y0, x1, y1 = gaussians.boxes()[number]
    return bool(x0 < -0.5 or y0 < -0.5 or x1 > shape[1] - 0.5 or y1 > shape[0] - 0.5)


def _local_rms(plane: Plane, gaussians: Gaussians, number: int, residual: NDArray[np.floating]) -> float:
    """Return the r.m.s. of the residual in the box of a source and a beam around it, in units of the noise."""
    x0, y0, x1, y1 = gaussians.boxes()[number]
    margin = plane.beam.mean / 2
    rows = slice(max(int(y0 - margin), 0), int(y1 + margin) + 2)
    columns = slice(max(int(x0 - margin), 0), int(x1 + margin) + 2)
    inside = residual[rows, columns]
    return float(np.sqrt(np.mean(inside**2)) / plane.noise) if inside.size else 0.0
