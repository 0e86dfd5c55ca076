"""The images of our own major cycles: coordinates, primary beam, CLEAN beam and normalisation are CASA's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import empty_copy, mask_where_zero, note, write_image
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.major.casa_images import CasaImages
from casa_ml_tasks.major.closing import closed_on_error
from casa_ml_tasks.major.imager import open_imager
from casa_ml_tasks.request.request import Request


class NativeImages(CasaImages):
    """Images whose pixels come from elsewhere, beside a primary beam that CASA's imager makes."""

    def __init__(self, request: Request, directory: str | Path):
        """Make the primary beam where it is not there yet.

        Args:
            request: what is imaged, of which our own kernels can.
            directory: an existing folder for the images; what is in it is used again but for PSF and primary beam.
        """
        super().__init__(request, directory)
        self._imager = open_imager([self.imager_parameters()])
        with closed_on_error(self):
            self._prepare()

    def _prepare(self) -> None:
        """Make the primary beam, also where a killed run left one: CASA's normaliser has no images before."""
        self._imager.setWeighting()
        if self._request.grid.continuum:
            self._imager.makePB()
        else:
            self._imager.makePSF()  # which is where CASA makes a cube's primary beam

    def write_psf(self, psf: Image, weight: NDArray[np.floating]) -> None:
        """Write the PSF with its CLEAN beam, and the sums of weights.

        Args:
            psf: on twice the field, (channel, 1, 2 ny, 2 nx), Jy/beam.
            weight: sum of the imaging weights, (channel,).
        """
        ny, nx = (n // 2 for n in psf.shape[-2:])
        y, x = ny - ny // 2, nx - nx // 2
        centre, sums = psf[..., y : y + ny, x : x + nx], weight[:, None, None, None]
        self._write("sumwt", sums)
        shutil.rmtree(self.product("psf"), ignore_errors=True)  # or CASA would keep its beam
        if self._request.grid.continuum:
            self._write("psf", centre * sums)
            self._imager.PStools[0].dividepsfbyweight()
            self._disown_weight()
        else:
            self._write("psf", centre)
            self._imager.PStools[0].makepsfbeamset()

    def write_primary_beam(self, beam: NDArray[np.floating], weight: NDArray[np.floating]) -> None:
        """Write the primary beam of a mosaic, masked where it is 0, and the share of the weights that pixels see.

        Args:
            beam: (channel, 1, ny, nx), 0 where there is no image.
            weight: (channel, 1, ny, nx).
        """
        self._write("pb", beam)
        mask_where_zero(self.product("pb"), self.product("pb"))
        self._write("weight", weight)
        note(self.product("sumwt"), "useweightimage", True)

    def write_residual(self, residual: NDArray[np.floating]) -> None:
        """Write (channel, 1, ny, nx), Jy/beam."""
        if self._request.grid.continuum and not self.product("residual").exists():
            self._make_residual_image()
        self._write("residual", residual)

    def note_model(self, model: Image) -> None:
        """Let CASA's imager note the model, (channel, 1, ny, nx), Jy/pixel, as `savemodel` says."""
        self.write_model(model)
        self._imager.deleteTools()
        self._imager = open_imager([self.imager_parameters(savemodel=self._request.output.savemodel)])
        self._imager.setWeighting()
        self._imager.predictModel()

    def close(self) -> None:
        """Let go of every file."""
        self._imager.deleteTools()
        super().close()

    def _make_residual_image(self) -> None:
        """Let CASA's normaliser make the image of a zero residual, for the mask of `pblimit` that it sets."""
        self._write("residual", np.zeros(self.shape))
        self._imager.PStools[0].divideresidualbyweight()
        self._disown_weight()

    def _disown_weight(self) -> None:
        """Forget the image of weights that makePB made: of one pointing, tclean has none, and wants none."""
        shutil.rmtree(self.product("weight"), ignore_errors=True)
        note(self.product("sumwt"), "useweightimage", False)

    def _write(self, extension: str, pixels: NDArray[np.floating]) -> None:
        if not self.product(extension).exists():
            empty_copy(self.product("pb"), self.product(extension), pixels.shape)
        write_image(self.product(extension), pixels, self.product("pb"), "")
