"""What the report of jointdeconv shows of its data sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.calibration.flux_scale import FluxScales
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.pointing_view import Box, View
from casa_ml_tasks.major.sky_mosaic import ResidualOfSet, SkyMosaic
from casa_ml_tasks.report.joint_content import JointContent, Outline, Pointings, SetResidual
from casa_ml_tasks.tasks.joint_flux_scales import JointFluxScales
from casa_ml_tasks.tasks.single_dish_data import DishData

SEEN = 0.04  # of the largest power of a set: its residual is shown where it has more

Array = NDArray[np.floating]


def joint_content(
    major: SkyMosaic, data: JointFluxScales, scales: FluxScales, model: Image, corrected: bool
) -> JointContent:
    """Return what the report shows, of all channels the one with the brightest model.

    Args:
        major: open, with all data.
        data: all sets as they were imaged.
        scales: of the data as observed.
        model: (channel, 1, ny, nx), Jy/pixel.
        corrected: whether the data were divided by the scales.
    """
    cell = major.cell / arcsecond
    channel = int(np.argmax(np.abs(model[:, 0]).sum(axis=(1, 2))))
    sets, image = data.uv_bins(model), major.seen(model)
    power = major.operator.power()[channel, 0]
    residuals, pointings = [], []
    for number, name in enumerate(major.data_sets):
        residual = major.residual_of_set(number, model)
        residuals.append(_residual_of_visibilities(name, residual, channel, data.noise_scale, cell))
        pointings.append(_pointings(name, major.operator.views, residual.weights[channel], image.shape, channel, cell))
    maps = [each for each in data.divided_maps if np.isfinite(each.dish.level[channel])]
    return JointContent(
        sets=sets,
        shared=data.shared(),
        scales=scales,
        residuals=[*residuals, *(_residual_of_map(each, image, channel, cell) for each in maps)],
        pointings=pointings,
        outlines=[_outline(each, image.shape[-2:], cell) for each in data.maps],
        model=image[channel, 0],
        sensitivity=np.sqrt(power / power.max()),
        cell=cell,
        corrected=corrected,
    )


def _residual_of_visibilities(
    name: str, residual: ResidualOfSet, channel: int, noise_scale: float, cell: float
) -> SetResidual:
    """Return the residual in flat noise of one data set."""
    sums, power = residual.sums[channel, 0], residual.power[channel, 0]
    variance = residual.variance[channel, 0] * noise_scale**2
    largest = max(float(power.max()), np.finfo(float).tiny)
    scale = np.where(power > SEEN * largest, np.sqrt(power * largest), np.nan)
    return SetResidual(name, sums / scale, np.sqrt(variance) / scale, cell)


def _residual_of_map(each: DishData, model: Image, channel: int, cell: float) -> SetResidual:
    grid = each.sky_map.grid
    residual, noise = each.residual(model)[channel], np.asarray(each.sky_map.noise)[channel]
    # East is on the left of an image, whichever way the pixels of the map go.
    turned = np.s_[:: 1 if grid.step[0] > 0 else -1, :: 1 if grid.step[1] > 0 else -1]
    return SetResidual(
        each.sky_map.path, residual[turned], np.broadcast_to(noise, residual.shape)[turned], abs(grid.step[1]) * cell
    )


def _pointings(
    name: str, views: Sequence[View], weights: Array, shape: Sequence[int], channel: int, cell: float
) -> Pointings:
    """Return the pointings of one data set: where the primary beams are above half of their peaks.

    Args:
        name: of the set.
        views: of all sets.
        weights: sums of the set's imaging weights, (view,).
        shape: (..., ny, nx) of the image.
        channel: of the image.
        cell: arcsec.
    """
    rows = []
    for view, weight in zip(views, weights, strict=True):
        if weight > 0 and isinstance(view, Box):
            beam = np.asarray(view.beams[channel])
            y, x = np.nonzero(beam > 0.5 * beam.max())
            centre = y.mean() + view.corner[0], x.mean() + view.corner[1]
            rows.append((*_offset(centre[0], centre[1], shape[-2:], cell), cell * np.sqrt(y.size / np.pi)))
    east, north, radius = np.array(rows).reshape(-1, 3).T
    return Pointings(name, east, north, radius)


def _outline(each: DishData, shape: Sequence[int], cell: float) -> Outline:
    grid = each.sky_map.grid
    (south, north), (right, left) = (
        (positions[0] - step / 2, positions[-1] + step / 2)
        for positions, step in zip((grid.positions(0), grid.positions(1)), grid.step, strict=True)
    )
    corners = np.array([(south, right), (south, left), (north, left), (north, right)])
    easts, norths = _offset(corners[:, 0], corners[:, 1], shape, cell)
    return Outline(each.sky_map.path, np.asarray(easts), np.asarray(norths), each.sky_map.width)


def _offset(y: Array, x: Array, shape: Sequence[int], cell: float) -> tuple[Array, Array]:
    """Return offsets East and North of the middle pixel, arcsec, of pixels of the sky."""
    return (shape[1] // 2 - x) * cell, (y - shape[0] // 2) * cell
