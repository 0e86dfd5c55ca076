"""CASA images of one field: their names, mask, model and restoration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from casatasks import casalog

from casa_ml_tasks.casa_compat import ImagerParameters, PySynthesisImager
from casa_ml_tasks.data.casa_image import read_image, read_images, set_unit, write_image
from casa_ml_tasks.data.workspace import product_path, product_paths
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.major.imager import imager_parameters
from casa_ml_tasks.request.request import Request

EMPTY_MODEL = "Restoring with an empty model image"  # how CASA's warning begins


class CasaImages:
    r"""The CASA images of one field, in a folder of their own.

    They are (channel or term, stokes, y, x): with deconvolver='mtmfs' the Taylor terms of the spectrum, else
    channels. Term s of the residual has the weights times $((\nu - \nu_0)/\nu_0)^s$, and the sum of weights of term 0.
    """

    def __init__(self, request: Request, directory: str | Path):
        """Say where the images are.

        Args:
            request: of this field.
            directory: an existing folder for the images; what is in it is used again.
        """
        self._request = request
        self.imagename = Path(directory) / "image"
        self._restorer = PySynthesisImager(params=self.imager_parameters())

    @property
    def final_name(self) -> Path:
        """The imagename of the finished images."""
        return Path(self._request.output.imagename)

    def imager_parameters(self, **changes: Any) -> ImagerParameters:
        """Return CASA's reading of the parameters, for these images."""
        return imager_parameters(self._request.casa, self.imagename, **changes)

    @property
    def terms(self) -> int:
        """Taylor terms of the spectrum; 0 where the images are of channels."""
        return self._request.grid.taylor_terms

    def product(self, extension: str, term: int = 0) -> Path:
        """Return the path of a product, for instance of 'residual'; of a Taylor term, where there are any."""
        return product_path(self.imagename, extension, term if self.terms else None)

    def paths(self, extension: str) -> list[Path]:
        """Return the paths of a product of all Taylor terms, or the only one."""
        return product_paths(self.imagename, extension, self.terms)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channel or term, stokes, ny, nx) of the images."""
        channels, *plane = self.primary_beam().shape
        return (self.terms or channels, *plane)

    def primary_beam(self) -> Image:
        """Return (channel, stokes, ny, nx), dimensionless; one for all Taylor terms."""
        return read_image(self.product("pb"))

    def read_residual(self) -> Image:
        """Return (channel or term, stokes, ny, nx), Jy/beam."""
        return read_images(self.paths("residual"))

    def write_model(self, model: Image) -> None:
        """Write (channel or term, stokes, ny, nx), Jy/pixel, beside a residual, whose coordinates it has."""
        paths = self.paths("model")
        for path, part in zip(paths, np.split(model, len(paths)), strict=True):
            write_image(path, part, self.product("residual"), "Jy/pixel")

    def mask(self) -> Image:
        """Return where tclean would search for emission now, from `mask` and `usemask`.

        Returns:
            (channel, stokes, ny, nx), 1 or 0; Taylor terms have one together.
        """
        if self.product("mask").exists() and not self._request.masking.follows_residual:
            return read_image(self.product("mask"))
        self._restorer.initializeDeconvolvers()
        deconvolver = self._restorer.SDtools[0]
        deconvolver.initminorcycle()
        deconvolver.setupmask()
        mask = read_image(self.product("mask"))
        self._restorer.deleteDeconvolvers()
        self._restorer.SDtools = []
        return mask

    def restore(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write the model and, if asked, the restored image (model * CLEAN beam + residual), also over the beam."""
        self.write_model(model)
        for extension in ("residual", "psf"):  # which tclean leaves without a unit
            for path in self.paths(extension):
                set_unit(path, "Jy/beam")
        if not restoration:
            return
        self._restorer.alldecpars["0"] |= {"mask": "", "usemask": "user"}  # or it would object to its own mask
        self._restorer.initializeDeconvolvers()
        self._make_restored_image()
        if pbcor:
            self._restorer.pbcorImages()

    def _make_restored_image(self) -> None:
        """CASA's warning of an empty model is kept for runs that have looked for one."""
        dirty_only = self._request.stopping.dirty_only
        if dirty_only:
            casalog.filterMsg([EMPTY_MODEL])
        try:
            self._restorer.restoreImages()
        finally:
            if dirty_only:
                casalog.clearFilterMsgList()

    def close(self) -> None:
        """Let go of every file."""
        self._restorer.deleteTools()
