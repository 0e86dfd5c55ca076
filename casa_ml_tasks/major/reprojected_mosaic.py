"""Major cycles of mosaics whose models are skies in another projection than SIN."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from casa_ml_tasks.data.casa_image import opened
from casa_ml_tasks.data.skies import sky_of, with_pixels_of, write_sky
from casa_ml_tasks.data.sky_frame import SinImage, SkyFrame, jacobian, reprojection_of
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.reprojected_operator import ReprojectedNormalOperator, psf_on_sky, reprojected
from casa_ml_tasks.major.closing import closed_on_error
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.request.request import Request

BEYOND = 1.1  # highest spatial frequency over that of the longest baseline, for the primary beams


class ReprojectedMosaic(SkyMosaic):
    """Models and residuals have the pixels of a sky in a projection about the same centre, or in HEALPix.

    Images on disk are SIN, as visibilities make them, but the model, which has the coordinates of the sky. That of a
    sky in HEALPix, which CASA images cannot hold, is SIN too.
    """

    def __init__(self, request: Request, directory: str | Path, projection: str):
        """Read the visibilities.

        Args:
            request: of the SIN image.
            directory: an existing folder for the images.
            projection: of the sky, one of `data.projections`.

        Raises:
            ValueError: the pixels are too large for the longest baseline, or there is no such sky in HEALPix.
        """
        super().__init__(request, directory, origins=True)
        with closed_on_error(self):
            image = SinImage(self._frame.centre, self._frame.frame, self.cell, self._transform.shape)
            self.sky = sky = sky_of(projection, image)
            self._jacobian = jacobian(sky, image)
            band = BEYOND * self.cell * max(longest for _, longest in self.spans)
            self._reprojection = reprojection_of(sky, image, band, precision=np.float32)

    @property
    def sky_shape(self) -> tuple[int, ...]:
        """(channel, stokes, ny, nx) of models and residuals."""
        return (*self.shape[:2], *self.sky.shape)

    @property
    def pixels_of_sky(self) -> float:
        """How many pixels of the sky, at its centre, are as large as one of the image."""
        return float(1 / np.abs(np.linalg.det(self._jacobian)))

    def psf_of_sky(self) -> Image:
        """Return the PSF between the pixels of the sky, (channel, 1, 2 ny, 2 nx) of the sky, Jy/beam."""
        planes = [psf_on_sky(each[0].astype(float), self._jacobian, self.sky.shape) for each in self.psf()]
        return np.stack(planes)[:, None].astype(np.float32)

    def dirty_image(self, dirty: Image) -> Image:
        """Return the SIN dirty image of all data, (channel, 1, ny, nx), Jy/beam. dirty: at the pixels of the sky."""
        return self._normalised(self.operator.residual_sums(np.zeros(self.shape, np.float32))).astype(np.float32)

    def residual(self, model: Image) -> Image:
        """Return the residual at the pixels of the sky, Jy/beam, and write that of the SIN image."""
        return np.asarray(self._reprojection.adjoint(jnp.asarray(super().residual(model))))

    def dirty_of_set(self, number: int) -> Image:
        """Return the dirty image of one set at the pixels of the sky; see `SkyMosaic.dirty_of_set`."""
        return np.asarray(self._reprojection.adjoint(jnp.asarray(super().dirty_of_set(number))))

    def draw_noise(self, seed: int) -> Image:
        """Return the dirty image of noise at the pixels of the sky; see `NativeMajorCycle.draw_noise`."""
        return np.asarray(self._reprojection.adjoint(jnp.asarray(super().draw_noise(seed))))

    def finish(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write the sky in its projection and, if asked, the restored SIN image, also over the primary beam."""
        super().finish(self.seen(model), restoration, pbcor)
        if isinstance(self.sky, SkyFrame):
            self.write_model(model)
            self._write_coordinates(self.product("model"), self.sky)

    def write_sky(self, sky: Image) -> None:
        """Write the whole sky: a CASA image, or a table of the pixels of HEALPix."""
        if isinstance(self.sky, SkyFrame):
            super().write_sky(sky)
            self._write_coordinates(self.product("sky"), self.sky)
        else:
            write_sky(self.product("sky"), self.product("residual"), self.sky, sky, "Jy/pixel")

    @staticmethod
    def _write_coordinates(path: Path, sky: SkyFrame) -> None:
        with opened(path) as tool:
            tool.setcoordsys(with_pixels_of(sky, tool.coordsys()).torecord())

    def seen(self, sky: Image) -> Image:
        """Return the SIN image of a sky, (..., ny, nx), Jy/pixel."""
        return np.asarray(self._reprojection(jnp.asarray(sky, jnp.float32)))

    def normal(self, precision: DTypeLike) -> NormalOperator:
        """Return the normal operator of the sky."""
        return ReprojectedNormalOperator.of(self._reprojection, super().normal(precision), self._jacobian)

    def of_sky(self, likelihood: QuadraticLikelihood, sky: Image) -> QuadraticLikelihood:
        """Return the likelihood of a sky from that of its SIN image."""
        return reprojected(likelihood, self._reprojection, jnp.asarray(sky, jnp.float32), self._jacobian)

    def _sky(self, model: Image) -> Image:
        return self.seen(model)
