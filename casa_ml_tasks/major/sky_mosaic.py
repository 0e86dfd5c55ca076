"""Major cycles of mosaics whose models are the sky itself, which may reach beyond the mosaic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from casa_ml_tasks.calibration.arrays import Coverage, arrays_of
from casa_ml_tasks.calibration.flux_scale import Span
from casa_ml_tasks.data.casa_image import write_image
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.data_sets import DataSets, ReduceSet, absolute, factors_of
from casa_ml_tasks.major.imaged_visibilities import ImagedVisibilities
from casa_ml_tasks.major.native_mosaic import NativeMosaic


@dataclass(frozen=True)
class ResidualOfSet:
    """The residual of one data set; images are (channel, 1, ny, nx).

    Attributes:
        sums: F^H W (d - F model).
        power: as `ImagedVisibilities.power`.
        variance: of the sums, if WEIGHT claims the noise.
        weights: sums of the imaging weights, (channel, view).
    """

    sums: NDArray[np.float64]
    power: NDArray[np.float64]
    variance: NDArray[np.float64]
    weights: NDArray[np.float64]


class SkyMosaic(NativeMosaic):
    r"""Models are the sky, Jy/pixel; residuals are $\sum_k A_k F_k^H W_k (d - F_k A_k I) / \max P$, Jy/beam.

    So a source where the power P is largest has its flux as its peak, and the residual is fainter where the pointings
    see less; nothing is divided by a primary beam. The residual and the restored image on disk are in flat noise, as
    those of `NativeMosaic`, and the model on disk is the sky.
    """

    _as_read: Visibilities | None = None  # the data before they were divided

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

    @property
    def data_sets(self) -> list[str]:
        """The names of the data sets: Measurement Sets, or those of an array that share no pointing."""
        return list(dict.fromkeys(self._set_names.values()))

    @cached_property
    def spans(self) -> list[Span]:
        """The shortest and the longest uv distance of each data set, wavelengths."""
        of_parts = self._gathered(DataSets.spans, self._set_numbers)
        return [(min(low for low, _ in each), max(high for _, high in each)) for each in zip(*of_parts, strict=True)]

    def divide(self, factors: NDArray[np.floating]) -> None:
        """Image from now on with the data as they were read, and their noise, over factors of the data sets, (set,)."""
        if self._as_read is None:
            self._as_read = self.observed
        paths = [origin.vis for origin in self.origins]
        of_paths = {path: factors[number] for path, number in self._set_numbers.items()}
        self.replace_observed(self._as_read.over(factors_of(paths, of_paths, self._as_read)))

    def reduced_sets(self, skies: Sequence[Image], noise_scale: float, reduce: ReduceSet) -> list[NDArray[np.float64]]:
        """Return the sums that a function makes of the visibilities of each data set, as they are imaged now.

        Args:
            skies: the model, and its derivatives by the flux scale of each set or none.
            noise_scale: true thermal noise over the noise that WEIGHT claims.
            reduce: of a set, or of a part of one.
        """
        images = [self._sky(sky).astype(np.float32) for sky in skies]
        return list(self._total(DataSets.reduced, self._set_numbers, images, noise_scale, reduce))

    def residual_of_set(self, number: int, model: Image) -> ResidualOfSet:
        """Return the residual of one data set alone. model: (channel, 1, ny, nx), Jy/pixel."""
        image = self._sky(model).astype(np.float32)
        sums, *of_pointings = self._total(DataSets.residual, self._set_numbers, number, image)
        weights, squares = (each[:, self._seen_pointings.known] for each in of_pointings)
        return ResidualOfSet(sums, self.operator.power(weights), self.operator.power(squares), weights)

    def dirty_of_set(self, number: int) -> Image:
        """Return the dirty image of the data of one set, as a part of that of all, (channel, 1, ny, nx), Jy/beam."""
        return self._normalised(self._total(DataSets.dirty_sums, self._set_numbers, number)).astype(np.float32)

    def _gathered(self, question: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return what a question to `DataSets` is answered, by each part of the visibilities; there is one."""
        visibilities, nominal, thermal = self.imaged
        paths = tuple(origin.vis for origin in self.origins)
        return [question(DataSets(self._data, visibilities, nominal, thermal, self._held, paths), *arguments)]

    def _total(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """Return the sum of these answers."""
        return self._gathered(question, *arguments)[0]

    @cached_property
    def _set_names(self) -> dict[str, str]:
        """The name of the data set that each Measurement Set is in, by its own name, in the order of the data."""
        given = {absolute(each.vis): each.vis for each in self._request.selection.selections}
        coverages: dict[str, Coverage] = {}
        for each in chain.from_iterable(self._gathered(DataSets.coverages)):
            name = given[absolute(each.name)]
            found = replace(each, name=name)
            coverages[name] = coverages[name] | found if name in coverages else found
        return arrays_of([coverages[name] for name in given.values() if name in coverages])

    @cached_property
    def _set_numbers(self) -> dict[str, int]:
        """The number of the data set of each Measurement Set, by its absolute path."""
        names = self.data_sets
        return {absolute(vis): names.index(name) for vis, name in self._set_names.items()}

    def _pointings(self, operator: ImagedVisibilities, field: NDArray[np.bool_], channel: int | None = None) -> Mosaic:
        return operator.mosaic(np.ones(self._transform.shape, bool), sky_units=True, channel=channel)

    def _sky(self, model: Image) -> Image:
        return model

    def _normalised(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        largest = self._power.max(axis=(2, 3), keepdims=True)
        return np.divide(sums, largest, where=largest > 0, out=np.zeros_like(sums))
