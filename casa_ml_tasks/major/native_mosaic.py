"""Major cycles of mosaics by our own kernels: one read, each pointing in its box with its own primary beam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import mask_where_zero, read_frequencies
from casa_ml_tasks.data.measurement_set import Block
from casa_ml_tasks.data.visibility_store import Origins
from casa_ml_tasks.engine.protocols import Fold, Image
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.kernels.w_term import MeasurementOperator
from casa_ml_tasks.major.measurement_sets import write_model_column
from casa_ml_tasks.major.mosaic_data import MosaicData
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.visibility_operator import VisibilityOperator
from casa_ml_tasks.request.request import Request


class NativeMosaicMajorCycle(NativeMajorCycle):
    r"""Images in flat noise, as CASA makes them with normtype='flatnoise', or in units of the sky.

    With the power $P = \sum_k w_k A_k^2$ of the pointings k, sums of weights w and beams A, the primary beam is
    $\sqrt{P/\max P}$. In flat noise models are the sky times it, and residuals $\sum_k A_k F_k^H W_k (d - F_k A_k I) /
    \sqrt{P \max P}$. In units of the sky models are the sky itself, and residuals have $\max P$ in the denominator: a
    source at the best place has its flux as its peak, and the noise falls off where the sensitivity does.
    """

    def __init__(self, request: Request, directory: str | Path, sky_units: bool = False, origins: bool = False):
        """Read the visibilities, weight and sort them, and make PSF and primary beam.

        Args:
            request: what is imaged, which our own kernels can.
            directory: an existing folder for the images; what is in it is used again but for PSF and primary beam.
            sky_units: of models and residuals, in an image that may be larger than the mosaic; else flat noise.
            origins: tell visibilities apart by where they come from.

        Raises:
            ValueError: the selection selects nothing, or nothing that the image sees.
        """
        self._sky_units = sky_units
        super().__init__(request, directory, origins=origins)

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
        operator = self._data.operator(store, nominal, thermal, plans)
        self._power = operator.power()
        largest = self._power.max(axis=(2, 3), keepdims=True)
        beam = np.sqrt(np.divide(self._power, largest, where=largest > 0, out=np.zeros_like(self._power)))
        self._beam = np.where(beam > abs(self._request.gridding.pblimit), beam, 0)
        self._flattening = self._noise_over_sums(operator)
        self.mosaic = operator.mosaic(self._field(), self._sky_units)
        return operator

    def _noise_over_sums(self, operator: VisibilityOperator) -> NDArray[np.float64]:
        """Return the noise at the best place over that of a single pointing with all the data, (channel, 1).

        In flat noise it is the median over the image: with other than natural weights it is not quite even.
        """
        flattening = np.ones((self.shape[0], 1))
        squares = operator.power(operator.sums.squares_of_pointings)
        for channel in np.flatnonzero(operator.sums.weight > 0):
            power, seen = self._power[channel, 0], self._beam[channel, 0] > 0
            best = power == power.max()
            ratio = squares[channel, 0][best if self._sky_units else seen] / power[best if self._sky_units else seen]
            flattening[channel] = np.sqrt(np.median(ratio) / power.max()) / operator.noise()[channel]
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
        if is_new and not self._sky_units:
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
        if self._sky_units:
            return model
        return np.divide(model, self._beam, where=self._beam > 0, out=np.zeros(model.shape))

    def _normalised(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self._sky_units:
            return self._in_flat_noise(sums)
        largest = self._power.max(axis=(2, 3), keepdims=True)
        return sums / np.where(largest > 0, largest, 1)

    def _in_flat_noise(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        largest = self._power.max(axis=(2, 3), keepdims=True)
        return np.divide(sums, np.sqrt(self._power * largest), where=self._beam > 0, out=np.zeros_like(sums))

    def _field(self) -> NDArray[np.bool_]:
        return np.ones(self._transform.shape, bool) if self._sky_units else self._in_beam()

    def _in_beam(self) -> NDArray[np.bool_]:
        return np.any(self._beam > 0, axis=(0, 1))

    def _write_model_column(self, images: NDArray[np.float32]) -> None:
        data = self._data

        def view_of(block: Block, vis: str) -> NDArray[np.integer]:
            return data.numbers_of(block, vis)

        selections = self._request.selection.selections
        write_model_column(selections, self._frame, self._transform, images, data.views, view_of)
