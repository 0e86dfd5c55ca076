"""Major cycles of mosaics whose models are skies in another projection than SIN."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from casa_ml_tasks.data.casa_image import opened
from casa_ml_tasks.data.skies import sky_of, with_pixels_of
from casa_ml_tasks.data.sky_frame import SinImage, SkyFrame, jacobian, reprojection_of
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.reprojected_operator import ReprojectedNormalOperator, reprojected
from casa_ml_tasks.major.closing import closed_on_error
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.request.request import Request

BEYOND = 1.1  # highest spatial frequency over that of the longest baseline, for the primary beams


class ReprojectedMosaic(SkyMosaic):
    """Models and residuals have the pixels of a sky in a projection, about the same centre and as many.

    Images on disk are SIN, as visibilities make them, but the model, which has the coordinates of the sky.
    """

    def __init__(self, request: Request, directory: str | Path, projection: str):
        """Read the visibilities.

        Args:
            request: of the SIN image.
            directory: an existing folder for the images.
            projection: of the sky, one of `data.projections.PROJECTIONS`.

        Raises:
            ValueError: the pixels are too large for the longest baseline.
        """
        super().__init__(request, directory, origins=True)
        with closed_on_error(self):
            image = SinImage(self._frame.centre, self._frame.frame, self.cell, self._transform.shape)
            sky = sky_of(projection, image)
            assert isinstance(sky, SkyFrame), "the model has rows and columns"
            self._sky_frame, self._jacobian = sky, jacobian(sky, image)
            band = BEYOND * self.cell * float(np.hypot(*self.observed.uvw[:, :2].T).max())
            self._reprojection = reprojection_of(sky, image, band, precision=np.float32)

    def residual(self, model: Image) -> Image:
        """Return the residual at the pixels of the sky, Jy/beam, and write that of the SIN image."""
        return np.asarray(self._reprojection.adjoint(jnp.asarray(super().residual(model))))

    def draw_noise(self, seed: int) -> Image:
        """Return the dirty image of noise at the pixels of the sky; see `NativeMajorCycle.draw_noise`."""
        return np.asarray(self._reprojection.adjoint(jnp.asarray(super().draw_noise(seed))))

    def finish(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write the sky in its projection and, if asked, the restored SIN image, also over the primary beam."""
        super().finish(self.seen(model), restoration, pbcor)
        self.write_model(model)
        self.write_coordinates(self.product("model"))

    def write_coordinates(self, path: Path) -> None:
        """Give an image on disk the coordinates of the sky."""
        with opened(path) as tool:
            tool.setcoordsys(with_pixels_of(self._sky_frame, tool.coordsys()).torecord())

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
