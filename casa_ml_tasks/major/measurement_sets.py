"""Between Measurement Sets and our own major cycles: visibilities are read, and those of a model written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.data.measurement_set import SPEED_OF_LIGHT, Block, Selection, blocks
from casa_ml_tasks.data.model_column import ModelColumn
from casa_ml_tasks.data.visibility_store import ImageFrame, Origins, baselines, read
from casa_ml_tasks.kernels.pointing_view import View, WholeImage
from casa_ml_tasks.kernels.uv_grid import within_nyquist
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.quantities import casa_angle
from casa_ml_tasks.request.request import Request


def read_visibilities(
    request: Request,
    frame: ImageFrame,
    transform: Transform,
    directory: Path,
    origins: Origins | None = None,
) -> Visibilities:
    """Return the selected visibilities that the grid of the image holds; the log says how many it does not.

    Args:
        request: what is imaged.
        frame: of the image.
        transform: between the image and visibilities.
        directory: for files, if memory does not suffice.
        origins: numbers the origins of the visibilities.

    Raises:
        ValueError: the selection selects nothing, or nothing that the grid holds.
    """
    radius = transform.cell * float(np.hypot(*transform.shape)) / 2
    store = read(
        request.selection.selections,
        frame,
        directory,
        request.gridding.smearing,
        radius,
        progress=True,
        origins=origins,
        outside=request.weighting.has_one_density,
    )
    inside = within_nyquist(store.uvw, transform.cell)
    check_inside(int(np.count_nonzero(inside)), store.size, transform.cell)
    return store if inside.all() else store[inside]


def check_inside(inside: int, total: int, cell: float) -> None:
    """Warn of visibilities that the grid of an image does not hold.

    Args:
        inside: how many it holds.
        total: how many are selected.
        cell: of the image, radians.

    Raises:
        ValueError: it holds none.
    """
    if not inside:
        raise ValueError(
            f"cell='{casa_angle(cell / arcsecond)}' is too coarse for every selected visibility; use a smaller one"
        )
    if inside < total:
        casalog.post(
            f"{total - inside} of {total} visibilities lie beyond the grid of this cell and are left "
            "out; use a smaller cell",
            "WARN",
        )


def write_model_column(
    selections: Iterable[Selection],
    frame: ImageFrame,
    transform: Transform,
    images: NDArray[np.float32],
    views: Sequence[View] = (),
    view_of: Callable[[Block, str], NDArray[np.integer]] | None = None,
) -> None:
    """Write the visibilities of a model into MODEL_DATA; 0 where the image has no channel.

    Args:
        selections: of the Measurement Sets.
        frame: of the image.
        transform: between the image and visibilities.
        images: (channel, ny, nx), Jy/pixel.
        views: of the images, one for each pointing; the whole images by default.
        view_of: gives the number of the view of each row of a Block, (row,); -1 where it sees nothing of the images.
    """
    views = tuple(views) or (WholeImage(transform.shape),)
    for selection in selections:
        with ModelColumn(selection.vis) as column:
            for block in blocks(selection, progress=True):
                uvw, phase = baselines(block, selection.vis, frame)
                wavelengths = uvw[:, None] * (block.frequency[:, None] / SPEED_OF_LIGHT)
                channel = np.zeros(block.frequency.size, int)
                if frame.channels is not None:
                    channel = frame.channels.of(block.frequency)
                visibility = np.zeros(wavelengths.shape[1:], np.complex64)
                view: NDArray[np.integer] = np.zeros(block.row.size, np.int64)
                if view_of is not None:
                    view = view_of(block, selection.vis)
                for number, pointing in product(np.unique(channel[channel >= 0]), np.unique(view[view >= 0])):
                    group = np.ix_(channel == number, view == pointing)
                    points = wavelengths[:, channel == number][:, :, view == pointing].reshape(3, -1).T
                    seen = views[pointing].apply(images[number], number)
                    degridded = transform.of_view(views[pointing]).degrid(seen, points)
                    visibility[group] = degridded.reshape(visibility[group].shape)
                column.write(block, np.conj(phase) * visibility)
