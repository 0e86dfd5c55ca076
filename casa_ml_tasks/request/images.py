"""Images on disk that a call names: each has to be there, and on the pixels of the image asked for."""

from __future__ import annotations

from pathlib import Path

from casa_ml_tasks.data.casa_image import image_shape, is_casa_image
from casa_ml_tasks.request.request import Request


def check_images(request: Request) -> None:
    """Check the images that the model begins with, and the masks.

    Raises:
        ValueError: one is not there, is no CASA image, or has another shape than the image asked for.
    """
    for path in request.output.startmodel:
        check_image("startmodel", path, request.grid.shape)
    for mask in request.masking.mask:
        _check_mask(mask, request.grid.shape)


def check_image(parameter: str, path: str, shape: tuple[int, int]) -> None:
    """Check one of them.

    Args:
        parameter: that names it.
        path: of the image.
        shape: (ny, nx) of the image asked for.

    Raises:
        ValueError: it is not there, is no CASA image, or has another shape.
    """
    if not Path(path).exists():
        raise ValueError(f"{parameter}='{path}' does not exist; give a CASA image in Jy/pixel, or ''")
    if not is_casa_image(path):
        raise ValueError(f"{parameter}='{path}' is not a CASA image; import it with importfits")
    _check_shape(parameter, path, shape, "regrid it with imregrid")


def _check_mask(mask: str, shape: tuple[int, int]) -> None:
    """A mask is a path, or region text, which has brackets."""
    if not Path(mask).exists():
        if "[" not in mask:
            raise ValueError(f"mask='{mask}' does not exist; give an image, a region file or a region string")
    elif is_casa_image(mask):
        _check_shape("mask", mask, shape, "regrid it with imregrid, or give a region")


def _check_shape(parameter: str, path: str, shape: tuple[int, int], remedy: str) -> None:
    if (found := image_shape(path)[-2:]) != shape:
        raise ValueError(
            f"{parameter}='{path}' has {found[1]} x {found[0]} pixels, imsize asks for {shape[1]} x {shape[0]}; "
            f"{remedy}"
        )
