"""What the sums over visibilities tell of images, wherever the visibilities are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import ComparedVisibilities, Fold, Image, Reduced
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.pointing_view import Box, View
from casa_ml_tasks.kernels.uv_annuli import annulus_edges, longest_on_grid
from casa_ml_tasks.major.transform import Transform
from casa_ml_tasks.major.weighted_visibilities import WeightSums

Array = NDArray[np.floating]
#: Gives errors, Jy, at uv distances, wavelengths, of the same shape.
ErrorOfDistance = Callable[[Array], Array]


@dataclass(frozen=True)
class ImagedVisibilities(ABC):
    r"""All visibilities, or a part of them: images in, sums of gridded visibilities out.

    Images are (channel, 1, ny, nx); models in Jy/pixel, sums in Jy/beam times the sum of the imaging weights. The
    visibilities of a pointing k are those of its view of the image, $F_k A_k I$.

    Attributes:
        transform: between the image and visibilities.
        sums: of their weights.
        views: of the image, one for each pointing.
    """

    transform: Transform
    sums: WeightSums
    views: tuple[View, ...]

    @abstractmethod
    def residual_sums(self, model: Image) -> NDArray[np.float64]:
        """Return F^H W (d - F model), of all pointings together: the sum of A_k F_k^H W (d - F_k A_k model)."""

    @abstractmethod
    def sums_beside(self, model: Image, innermost: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the residual in the next field to the North-East, of visibilities beyond a uv distance.

        Args:
            model: whose residual it is.
            innermost: the uv distance, wavelengths.

        Returns:
            The sums; and of the same visibilities the sums of g^2 / w, as `WeightSums.squares`, (channel,).
        """

    @abstractmethod
    def counts(self) -> NDArray[np.integer]:
        """Return how many visibilities there are in each annulus, (annulus,)."""

    @abstractmethod
    def noise_squares(self, error: ErrorOfDistance, noise_scale: float) -> NDArray[np.float64]:
        r"""Return $\sum g^2 (s^2/w + c^2)$, (channel,); arguments as those of `image_noise`."""

    @abstractmethod
    def noise_sums(self, generator: np.random.Generator) -> NDArray[np.float64]:
        """Return gridded random visibilities: nothing but the noise that natural weights claim."""

    @abstractmethod
    def reduced(self, model: Image, reduce: Callable[[Iterable[ComparedVisibilities]], Reduced]) -> list[Reduced]:
        """Return what a function makes of the visibilities beside those of a model, for each part of them."""

    @abstractmethod
    def fold_sums(self) -> tuple[Array, Array, Array]:
        """Return, of each fold and of the core, what its dirty image, weight and power are sums of.

        Returns:
            (fold + 1, ny, nx), Jy/beam times weight; (fold + 1,), imaging weights; (fold + 1,), Jy^2 times weight.
        """

    def power(self, weights: Array | None = None) -> NDArray[np.float64]:
        r"""Return $\sum_k w_k A_k^2$ of each pixel, (channel, 1, ny, nx).

        Args:
            weights: w, (channel, pointing); the sums of the imaging weights by default.
        """
        power, ones = self._zeros(), np.ones(self.transform.shape, np.float32)
        for channel, weights_of_channel in enumerate(self.sums.weights if weights is None else weights):
            for view, weight in zip(self.views, weights_of_channel, strict=True):
                if weight:
                    view.add_adjoint(weight * view.apply(ones, channel), power[channel, 0], channel)
        return power

    def used_weights(self) -> NDArray[np.float64]:
        """Return the sums of the imaging weights of the pointings that have any, (channel, pointing)."""
        return self.sums.weights[:, self.sums.weights.sum(axis=0) > 0]

    def mosaic(self, field: NDArray[np.bool_], sky_units: bool = False, channel: int | None = None) -> Mosaic:
        """Return the pointings as an operator, of all channels with the mean of their beams or of one channel.

        Args:
            field: where there is an image, (ny, nx).
            sky_units: of an image that is not multiplied with the primary beam; else in flat noise.
            channel: its number; all by default.

        Raises:
            ValueError: a view is no box of the image.
        """
        channels = np.flatnonzero(self.sums.weight > 0) if channel is None else np.array([channel])
        psfs, share = self.sums.psf[channels].sum(axis=0), self.sums.weights[channels].sum(axis=0)
        used = np.flatnonzero(share > 0)
        boxes = [view for view in self.views if isinstance(view, Box)]
        if len(boxes) < len(self.views):
            raise ValueError("a mosaic is made of boxes of its image; give each pointing one")
        beams = [np.mean([boxes[k].beams[each] for each in channels], axis=0) for k in used]
        corners = np.array([boxes[k].corner for k in used])
        make = Mosaic.in_sky_units if sky_units else Mosaic.in_flat_noise
        return make(psfs[used] / np.float32(share.sum()), np.stack(beams), corners, field)

    def normalised(self, sums: Array) -> NDArray[np.float64]:
        """Return images over the sum of weights of their channel, Jy/beam; 0 for channels without data."""
        return sums / _or_one(self.sums.weight)[:, None, None, None]

    def psf(self) -> Image:
        """Return the PSF of each pointing without w, (channel, pointing, 2 height, 2 width), Jy/beam.

        Those of a channel are normalised together. Of a single pointing it is on twice the field.
        """
        return self.sums.psf / _or_one(self.sums.weight).astype(np.float32)[:, None, None, None]

    def noise(self) -> NDArray[np.float64]:
        r"""Return the r.m.s. of each dirty image, (channel, 1), Jy/beam: $\sqrt{\sum g^2/w}\,/\sum g$.

        It is infinite for a channel without data.
        """
        return self._over_weight(np.sqrt(self.sums.squares))

    def image_noise(self, error: ErrorOfDistance, noise_scale: float) -> NDArray[np.float64]:
        r"""Return the r.m.s. of each dirty image, (channel, 1), Jy/beam: $\sqrt{\sum g^2 (s^2/w + c^2)}\,/\sum g$.

        Args:
            error: gives errors c, Jy, at uv distances, wavelengths.
            noise_scale: s, of the weights of thermal noise w.
        """
        return self._over_weight(np.sqrt(self.noise_squares(error, noise_scale)))

    def annulus_radii(self) -> NDArray[np.float64]:
        """Return the outer radius of each annulus, wavelengths."""
        return annulus_edges(longest_on_grid(self.transform.cell))[1:]

    def uv_distance(self, share: float) -> float:
        """Return the uv distance within which this share of the visibilities lies, wavelengths; 0 for none."""
        cumulated = np.cumsum(self.counts())
        inside = np.searchsorted(cumulated, cumulated[-1] * share, side="right")
        return float(annulus_edges(longest_on_grid(self.transform.cell))[inside])

    def folds(self) -> list[Fold]:
        """Return the folds, and last the core, which may be empty."""
        dirty, weight, power = self.fold_sums()
        total = _or_one(weight)
        return [
            Fold(self.sums.fold_psf[k] / total[k], dirty[k] / total[k], weight[k], power[k] / total[k])
            for k in range(len(weight))
        ]

    def _zeros(self) -> NDArray[np.float64]:
        return np.zeros((self.sums.weight.size, 1, *self.transform.shape))

    def _over_weight(self, deviation: Array) -> NDArray[np.float64]:
        total = self.sums.weight
        return np.where(total > 0, deviation / _or_one(total), np.inf)[:, None]


def _or_one(weight: Array) -> Array:
    """Return sums of weights, 1 where there is no data."""
    return np.where(weight > 0, weight, 1)
