"""The pointings of a mosaic that CASA's imager makes, from the Measurement Sets to a `Mosaic`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.image_channels import ChannelsOfWidth
from casa_ml_tasks.data.visibility_store import ImageFrame, read
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.kernels.uv_grid import within_nyquist
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.imaging_weights import WeightDensity, imaging_weights
from casa_ml_tasks.major.mosaic_views import FAINTEST, boxes_of
from casa_ml_tasks.major.pointings import Pointing, Pointings
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.weighting import Weighting

MOST_PIXELS = 100_000  # of an image


def mosaic_of(
    request: Request,
    frame: ImageFrame,
    frequencies: NDArray[np.floating],
    cell: float,
    field: NDArray[np.bool_],
    directory: Path,
) -> Mosaic:
    """Read where the telescopes pointed, and the uv coverage of each pointing.

    Args:
        request: what is imaged.
        frame: of the image.
        frequencies: of the channels of the image, Hz; the beams are those of their mean.
        cell: radians.
        field: where there is an image, (ny, nx).
        directory: for files, if memory does not suffice.

    Raises:
        ValueError: no pointing sees the image.
    """
    weighting = request.weighting.of_channels(frequencies)
    pointings = Pointings(frame)
    if weighting.per_channel and frequencies.size > 1:
        frame = replace(frame, channels=ChannelsOfWidth(float(np.abs(np.diff(frequencies)).mean())))
    store = read(request.selection.selections, frame, directory, progress=True, origins=pointings)
    assert store.origin is not None, "asked for"
    frequency = frequencies.mean(keepdims=True)
    weights = _weights(store, store.origin, weighting, field.shape, cell, request.gridding.mosweight)
    used = (weights > 0) & within_nyquist(store.uvw, cell)
    transform = Transform((field.shape[0], field.shape[1]), cell, w_term=False)
    boxes = boxes_of(pointings.known, frame.centre, frequency, transform, field)
    pairs = [
        (pointing, box, its_own)
        for number, (pointing, box) in enumerate(zip(pointings.known, boxes, strict=True))
        if box is not None and (its_own := np.flatnonzero(used & (store.origin == number))).size
    ]
    if not pairs:
        raise ValueError("no pointing sees the image; check phasecenter, imsize and cell")
    looking, views, members = zip(*pairs, strict=True)
    _warn_of_folded_beams(looking, float(frequency[0]), cell, min(field.shape))
    shape, corners = views[0].shape, np.array([view.corner for view in views])
    casalog.post(f"mosaic: {len(looking)} pointings, each in {shape[1]} x {shape[0]} pixels", "INFO", "pointings")
    beams = [view.beams[0].astype(float) for view in views]
    total = weights[np.concatenate(members)].sum()
    psfs = [psf_of_weights(store.uvw[each], 1.0, weights[each, None], shape, cell) / total for each in members]
    return Mosaic.in_flat_noise(np.stack(psfs, dtype=np.float32, casting="same_kind"), np.stack(beams), corners, field)


def _warn_of_folded_beams(pointings: Sequence[Pointing], frequency: float, cell: float, pixels: int) -> None:
    """CASA's mosaic gridder makes its beams on the image, however narrow that is (pixels, along its shorter side)."""
    angle = cell / 2 * np.arange(0, MOST_PIXELS, 2)
    beams = {beam for each in pointings for beam in each.beams}
    needed = 2 * max(int(np.argmax(each.power(angle, frequency) < FAINTEST)) for each in beams)
    if pixels < needed:
        casalog.post(
            f"an image of {pixels} pixels is narrower than the primary beams; CASA's mosaic gridder then folds them, "
            f"and fluxes are wrong: use imsize={needed} or more",
            "WARN",
            "pointings",
        )


def _weights(
    store: Visibilities,
    pointing: NDArray[np.uint16],
    weighting: Weighting,
    shape: tuple[int, int],
    cell: float,
    mosweight: bool,
) -> NDArray[np.float64]:
    """Imaging weights, (visibility,), with a density for each channel and, with `mosweight`, each pointing, as in CASA.

    Channels are as wide as those of the image.
    """
    weights = np.zeros(store.size)
    apart = weighting.needs_density and mosweight
    kinds = np.stack([store.channel, pointing if apart else np.zeros(store.size)], axis=1)
    _, group = np.unique(kinds, axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    for members in np.split(order, np.cumsum(np.bincount(group.ravel()))[:-1]):
        part = store[members]
        density = WeightDensity(weighting, shape, cell, store.hands)
        if weighting.needs_density:
            density.add(part.uvw[:, 0], part.uvw[:, 1], part.weight)
        weights[members] = imaging_weights(part.uvw[:, 0], part.uvw[:, 1], part.weight, density)
    return weights
