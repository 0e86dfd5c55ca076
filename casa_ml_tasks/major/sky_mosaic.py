"""Major cycles of mosaics whose models are the sky itself, which may reach beyond the mosaic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike, NDArray

from casa_ml_tasks.calibration.arrays import arrays_of
from casa_ml_tasks.data.casa_image import write_image
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.major.imaged_visibilities import ImagedVisibilities
from casa_ml_tasks.major.native_mosaic import NativeMosaic
from casa_ml_tasks.major.visibility_operator import VisibilityOperator


class SkyMosaic(NativeMosaic):
    r"""Models are the sky, Jy/pixel; residuals are $\sum_k A_k F_k^H W_k (d - F_k A_k I) / \max P$, Jy/beam.

    So a source where the power P is largest has its flux as its peak, and the residual is fainter where the pointings
    see less; nothing is divided by a primary beam. The residual and the restored image on disk are in flat noise, as
    those of `NativeMosaic`, and the model on disk is the sky.
    """

    def write_residual(self, residual: NDArray[np.floating]) -> None:
        """Write the residual, (channel, 1, ny, nx), Jy/beam, over the primary beam: in flat noise."""
        super().write_residual(self._over_beam(residual))

    def finish(self, model: Image, restoration: bool, pbcor: bool) -> None:
        """Write the sky and, if asked, the restored image, also over the primary beam."""
        self.restore((model * self._beam).astype(np.float32), restoration, pbcor)
        self.write_model(model)

    def write_sky(self, sky: Image) -> None:
        """Write the whole sky, (channel, 1, ny, nx), Jy/pixel, beside a residual of the same coordinates."""
        write_image(self.product("sky"), sky, self.product("residual"), "Jy/pixel")

    @property
    def sky_shape(self) -> tuple[int, ...]:
        """(channel, stokes, ny, nx) of models and residuals."""
        return self.shape

    @property
    def pixels_of_sky(self) -> float:
        """How many pixels of the sky are as large as one of the image."""
        return 1.0

    def psf_of_sky(self) -> Image:
        """Return the PSF between the pixels of the sky, (channel, 1, 2 ny, 2 nx) of the sky, Jy/beam."""
        return self.psf()

    def dirty_image(self, dirty: Image) -> Image:
        """Return the SIN dirty image of all data, (channel, 1, ny, nx), Jy/beam. dirty: at the pixels of the sky."""
        return dirty

    def seen(self, sky: Image) -> Image:
        """Return the SIN image of a sky, (..., ny, nx), Jy/pixel, which it is."""
        return sky

    def normal(self, precision: DTypeLike) -> NormalOperator:
        """Return the normal operator of the sky, Jy/pixel to Jy/beam."""
        assert self.mosaic is not None, "planned"
        return self.mosaic.normal(precision)

    def of_sky(self, likelihood: QuadraticLikelihood, sky: Image) -> QuadraticLikelihood:
        """Return the likelihood of a sky from that of its SIN image, which it is."""
        return likelihood

    @cached_property
    def data_sets(self) -> list[str]:
        """The name of the data set of each origin: a Measurement Set, or those of an array that share no pointing."""
        names = [origin.vis for origin in self.origins]
        arrays = arrays_of(self._data.coverages(names))
        return [arrays[name] for name in names]

    def parts(self) -> Iterator[tuple[str, VisibilityOperator]]:
        """Yield the name and the visibilities of each data set, as they are imaged now."""
        visibilities, nominal, thermal = self.imaged
        assert visibilities.origin is not None, "origins were asked for"
        names = np.array(self.data_sets)
        for name in dict.fromkeys(names.tolist()):
            members = (names == name)[visibilities.origin]
            part = replace(self._data, store=visibilities[members])
            yield name, part.operator(nominal=nominal[members], thermal=thermal[members])

    def dirty_of(self, visibilities: NDArray[np.complexfloating]) -> Image:
        """Return the dirty image of other visibilities in the place of the data, (channel, 1, ny, nx), Jy/beam.

        Args:
            visibilities: (n,), Jy, in the order of `predicted`.
        """
        return self._normalised(self._held.dirty_sums(visibilities)).astype(np.float32)

    def _pointings(self, operator: ImagedVisibilities, field: NDArray[np.bool_], channel: int | None = None) -> Mosaic:
        return operator.mosaic(np.ones(self._transform.shape, bool), sky_units=True, channel=channel)

    def _sky(self, model: Image) -> Image:
        return model

    def _normalised(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        largest = self._power.max(axis=(2, 3), keepdims=True)
        return np.divide(sums, largest, where=largest > 0, out=np.zeros_like(sums))
