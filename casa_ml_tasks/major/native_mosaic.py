"""Major cycles of mosaics by our own kernels: one read, each pointing in its box with its own primary beam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import mask_where_zero, read_frequencies
from casa_ml_tasks.data.visibility_store import Origins
from casa_ml_tasks.engine.protocols import Fold, Image
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.mosaic_shares import shares_of_weights
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.imaged_visibilities import ImagedVisibilities
from casa_ml_tasks.major.measurement_sets import write_model_column
from casa_ml_tasks.major.mosaic_data import MosaicData
from casa_ml_tasks.major.mosaic_views import SeenPointings
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.visibility_operator import VisibilityOperator


class NativeMosaic(NativeMajorCycle):
    r"""Images in flat noise, as CASA makes them with normtype='flatnoise'.

    With the power $P = \sum_k w_k A_k^2$ of the pointings k, sums of weights w and beams A, the primary beam is
    $\sqrt{P/\max P}$, models are the sky times it, and residuals are $\sum_k A_k F_k^H W_k (d - F_k A_k I) / \sqrt{P
    \max P}$.
    """

    _seen: NDArray[np.bool_] | None = None  # where there is an image, (channel, 1, ny, nx)

    def _read(self, directory: Path, numbering: Origins | None) -> Visibilities:
        frequencies = read_frequencies(self.product("pb"))
        self._data = MosaicData.read(self._request, self._frame, frequencies, self._transform, directory, numbering)
        return self._data.store

    def _planned(
        self,
        store: Visibilities,
        nominal: NDArray[np.floating],
        thermal: NDArray[np.floating],
        plans: Sequence[MeasurementOperator] = (),
    ) -> VisibilityOperator:
        return self._data.operator(store, nominal, thermal, plans)

    def _image_by(self, operator: ImagedVisibilities) -> None:
        """Image by an operator from now on: find the power, the beam and the noise of its weights first."""
        self._power = operator.power()
        largest = self._power.max(axis=(2, 3), keepdims=True)
        beam = np.sqrt(np.divide(self._power, largest, where=largest > 0, out=np.zeros_like(self._power)))
        if self._seen is None:  # with other weights a pixel at the edge must not leave the image, nor its emission
            self._seen = beam > abs(self._request.gridding.pblimit)
        self._beam = np.where(self._seen, beam, 0)
        squares = operator.power(operator.sums.squares_of_pointings)
        self._flattening = self._noise_over_sums(operator, squares, largest[..., 0, 0])
        self.mosaic = self._mosaic(operator)
        super()._image_by(operator)

    def _mosaic(self, operator: ImagedVisibilities) -> Mosaic:
        """Return the pointings as the minor cycle needs them."""
        mosaic = self._pointings(operator, self._field())
        if shares_of_weights(operator.used_weights()) is None:
            return mosaic
        fields = self._beam[:, 0] > 0
        channels = [
            self._pointings(operator, field, channel) if field.any() else mosaic for channel, field in enumerate(fields)
        ]
        return replace(mosaic, channels=tuple(channels))

    def _pointings(self, operator: ImagedVisibilities, field: NDArray[np.bool_], channel: int | None = None) -> Mosaic:
        """Return the pointings of one channel, or of all alike. field: where there is an image, (ny, nx)."""
        return operator.mosaic(field, channel=channel)

    def _noise_over_sums(
        self, operator: ImagedVisibilities, squares: NDArray[np.float64], largest: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the noise in flat noise, the median of pixels, over that of a single pointing with all the data.

        Args:
            operator: of the data.
            squares: the variance of sums of gridded visibilities, (channel, 1, ny, nx).
            largest: power, (channel, 1).
        """
        flattening = np.ones_like(largest)
        for channel in np.flatnonzero(largest[:, 0] > 0):
            seen = self._beam[channel, 0] > 0
            variance = np.median(squares[channel, 0][seen] / self._power[channel, 0][seen])
            flattening[channel] = np.sqrt(variance / largest[channel]) / operator.noise()[channel]
        return flattening

    def write_psf(self, psf: Image, weight: NDArray[np.floating]) -> None:
        """Write the PSF with its CLEAN beam, the sums of weights, and the primary beam.

        The image has the mean PSF of the pointings: that of all pixels on average, `psf`, is sharper, because less and
        less of two pixels is in the same pointing.

        Args:
            psf: is not written.
            weight: sum of the imaging weights, (channel,).
        """
        of_pointings = self.operator.psf().sum(axis=1, keepdims=True)
        (height, width), (ny, nx) = (n // 2 for n in of_pointings.shape[-2:]), self._transform.shape
        mean = np.zeros((len(of_pointings), 1, 2 * ny, 2 * nx), np.float32)
        mean[..., ny - height : ny + height, nx - width : nx + width] = of_pointings
        super().write_psf(mean, weight)
        self._write_beam()

    def write_residual(self, residual: NDArray[np.floating]) -> None:
        """Write (channel, 1, ny, nx), Jy/beam, masked where there is no image."""
        is_new = not self.product("residual").exists()
        super().write_residual(residual)
        if is_new:
            mask_where_zero(self.product("residual"), self.product("pb"))

    def _disown_weight(self) -> None:
        """Put the mosaic's weight in the place of that of one pointing, which CASA's normaliser leaves."""
        super()._disown_weight()
        self._write_beam()

    def _write_beam(self) -> None:
        weight = self.operator.sums.weight[:, None, None, None]
        share = np.divide(self._power, weight, where=weight > 0, out=np.zeros_like(self._power))
        self.write_primary_beam(self._beam, share)

    def psf(self) -> Image:
        """Return the PSF on twice the field that is that of all pixels on average, (channel, 1, 2 ny, 2 nx), Jy/beam.

        It is 0 in channels without data.
        """
        has_data = self.operator.sums.weight[:, None, None, None] > 0
        assert self.mosaic is not None, "planned"
        return np.where(has_data, self.mosaic.psf().astype(np.float32), np.float32(0))

    def noise(self) -> NDArray[np.float64]:
        """Return the r.m.s. of each dirty image, (channel, 1), Jy/beam, as that of a single pointing."""
        return super().noise() * self._flattening

    def image_noise(
        self, error: Callable[[NDArray[np.floating]], NDArray[np.floating]], noise_scale: float
    ) -> NDArray[np.float64]:
        """Return the r.m.s. of each dirty image with errors of calibration; see `NativeMajorCycle.image_noise`."""
        return super().image_noise(error, noise_scale) * self._flattening

    def folds(self) -> list[Fold]:
        """Return no folds: visibilities of a mosaic are not split.

        Raises:
            ValueError: always.
        """
        raise ValueError("the visibilities of a mosaic are not split for cross-validation; give regstrength as numbers")

    def _sky(self, model: Image) -> Image:
        return self._over_beam(model)

    def _over_beam(self, image: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return an image over the primary beam, 0 where there is none."""
        return np.divide(image, self._beam, where=self._beam > 0, out=np.zeros(image.shape))

    def _normalised(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._in_flat_noise(sums)

    def _in_flat_noise(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        largest = self._power.max(axis=(2, 3), keepdims=True)
        seen = self._beam > 0
        return np.divide(sums, np.sqrt(self._power * largest), where=seen, out=np.zeros_like(sums))

    def _field(self) -> NDArray[np.bool_]:
        return np.any(self._beam > 0, axis=(0, 1))

    def _write_model_column(self, images: NDArray[np.float32]) -> None:
        seen = self._seen_pointings
        selections = self._request.selection.selections
        write_model_column(selections, self._frame, self._transform, images, seen.views, seen.numbers_of)

    @property
    def _seen_pointings(self) -> SeenPointings:
        """The pointings that see something of the image."""
        return self._data.seen
