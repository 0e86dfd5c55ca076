"""Elliptical Gaussian sources in the pixels of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.sources.gaussian_pixels import FWHM_PER_SIGMA, TAPS, patch, sharpened

BOX = 2.0  # sigma: half the sides of a source's box enclose its ellipse of this size


@dataclass(frozen=True)
class Gaussians:
    """Gaussian sources; arrays are (source,).

    Attributes:
        x, y: of the centres, pixels from the centre of the first.
        major, minor: FWHM of the axes, pixels; 0 is a point.
        angle: of the major axis from the x axis towards the y axis, radians.
        flux: integrated, Jy or the noise of an image in Jy/beam.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    major: NDArray[np.float64]
    minor: NDArray[np.float64]
    angle: NDArray[np.float64]
    flux: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Take any sequences of numbers."""
        for field in fields(self):
            object.__setattr__(self, field.name, np.atleast_1d(np.asarray(getattr(self, field.name), float)))

    def __len__(self) -> int:
        """Return the number of sources."""
        return len(self.x)

    @classmethod
    def empty(cls) -> Gaussians:
        """Return no sources."""
        return cls(*np.zeros((6, 0)))

    @classmethod
    def concatenated(cls, *several: Gaussians) -> Gaussians:
        """Return the sources of all."""
        return cls(*(np.concatenate([getattr(some, field.name) for some in several]) for field in fields(cls)))

    @classmethod
    def from_covariances(
        cls, x: NDArray[np.float64], y: NDArray[np.float64], covariances: NDArray[np.float64], flux: NDArray[np.float64]
    ) -> Gaussians:
        """Return the sources with these covariances: xx, xy and yy, pixels^2, (source, 3)."""
        xx, xy, yy = covariances.T
        mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
        axes = FWHM_PER_SIGMA * np.sqrt(np.maximum([mean + half, mean - half], 0))
        return cls(x, y, axes[0], axes[1], np.arctan2(2 * xy, xx - yy) / 2 % np.pi, flux)

    def chosen(self, index: NDArray[Any] | Sequence[int] | slice) -> Gaussians:
        """Return the sources of an index, a mask or a slice."""
        return Gaussians(*(getattr(self, field.name)[index] for field in fields(self)))

    def distances(self, others: Gaussians) -> NDArray[np.float64]:
        """Return how far each source is from the nearest of others, pixels, (source,); infinite where there is none."""
        apart = np.hypot(self.x[:, None] - others.x, self.y[:, None] - others.y)
        return np.min(apart, axis=1, initial=np.inf)

    def covariances(self) -> NDArray[np.float64]:
        """Return the second moments xx, xy and yy, pixels^2, (source, 3)."""
        major, minor = (self.major / FWHM_PER_SIGMA) ** 2, (self.minor / FWHM_PER_SIGMA) ** 2
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        across = (major - minor) * sine * cosine
        return np.stack([major * cosine**2 + minor * sine**2, across, major * sine**2 + minor * cosine**2], axis=-1)

    def image(self, shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return the sum of the sources, (ny, nx), flux a pixel.

        It is band-limited as `gaussian_pixels` says. What lies outside the image is missing in it.
        """
        widened = np.zeros((shape[0] + 2 * TAPS, shape[1] + 2 * TAPS))
        for x, y, covariance, flux in zip(self.x, self.y, self.covariances(), self.flux, strict=True):
            source = patch(x, y, covariance, shape)
            widened[source.where] += flux * source.values
        return sharpened(widened)

    def boxes(self) -> NDArray[np.float64]:
        """Return x0, y0, x1, y1 of the boxes around the ellipses of 2 sigma, pixels, (source, 4)."""
        xx, _, yy = self.covariances().T
        half_x, half_y = BOX * np.sqrt(xx), BOX * np.sqrt(yy)
        return np.stack([self.x - half_x, self.y - half_y, self.x + half_x, self.y + half_y], axis=-1)
