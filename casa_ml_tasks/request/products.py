"""Whether the products of a call can be written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from casa_ml_tasks.data.casa_image import image_shape, is_casa_image
from casa_ml_tasks.data.workspace import product_path
from casa_ml_tasks.request.request import Request

IMAGES_ON_DISK = 12 + 3 * 4  # the products, and three of them once more at twice the image size


def check_outputs(request: Request, samples: int = 0) -> None:
    """Check that the products can be written: folder, disk, and products that an earlier run left.

    Args:
        request: of the task.
        samples: images of a posterior that are written too, once in the checkpoint and once as a product.

    Raises:
        ValueError: the folder is missing or not writable, the disk is too full, or with restart=True a product of
            that name has another shape.
    """
    grid, imagename = request.grid, request.output.imagename
    folder = check_folder(imagename)
    ny, nx = grid.shape
    planes = len(grid.planes) * (grid.taylor_terms or 1)
    images = IMAGES_ON_DISK + 2 * samples
    needed, free = 4 * nx * ny * planes * images, shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"imagename='{imagename}': images of {nx} x {ny} pixels need {needed / 1e9:.3g} GB in '{folder}', where "
            f"{free / 1e9:.3g} GB are free; make room or choose another disk"
        )
    _check_measurement_sets_are_writable(request)
    if request.output.restart:
        term = 0 if grid.taylor_terms else None
        for extension in ("model", "residual", "psf"):
            _check_product(product_path(imagename, extension, term), request)


def check_folder(imagename: str) -> Path:
    """Return the folder of the products.

    Raises:
        ValueError: it is missing or not writable.
    """
    folder = Path(imagename).parent
    if not folder.is_dir():
        raise ValueError(f"imagename='{imagename}': the folder '{folder}' does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"imagename='{imagename}': the folder '{folder}' is not writable; choose another")
    return folder


def _check_product(product: Path, request: Request) -> None:
    """Check that a product of an earlier run has the shape that is asked for."""
    if not product.exists():
        return
    grid, imagename = request.grid, request.output.imagename
    if not is_casa_image(product):
        raise ValueError(f"imagename='{imagename}': '{product}' exists and is not a CASA image; choose another name")
    remedy = "choose another imagename or remove the old products"
    channels, planes, *shape = image_shape(product)
    if planes != len(grid.planes):
        raise ValueError(
            f"imagename='{imagename}': '{product}' exists with {planes} Stokes planes, and stokes='{grid.stokes}' has "
            f"{len(grid.planes)}; {remedy}"
        )
    if grid.channels is not None and channels != grid.channels:
        asked = f"specmode='{grid.specmode}'" if grid.continuum else f"nchan={grid.channels}"
        raise ValueError(
            f"imagename='{imagename}': '{product}' exists with {channels} channels, {asked} asks for {grid.channels}; "
            f"{remedy}"
        )
    if tuple(shape) != grid.shape:
        raise ValueError(
            f"imagename='{imagename}': '{product}' exists with {shape[1]} x {shape[0]} pixels, imsize asks for "
            f"{grid.shape[1]} x {grid.shape[0]}; {remedy}"
        )


def _check_measurement_sets_are_writable(request: Request) -> None:
    savemodel = request.output.savemodel
    for vis in () if savemodel == "none" else request.selection.vis:
        if Path(vis).exists() and not os.access(vis, os.W_OK):
            raise ValueError(
                f"savemodel='{savemodel}' writes into vis='{vis}', which is not writable; use savemodel='none', or a "
                "copy"
            )
