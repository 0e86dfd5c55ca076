r"""Gaussians of any width, points included, on pixels: exact for all spatial frequencies that an array measures.

Pixels that sample a Gaussian narrower than two pixels take its high spatial frequencies for low ones. Therefore each is
sampled after a convolution with a round Gaussian of WIDENED pixels, and a short filter along rows and columns takes
that convolution back for frequencies below BAND. Up to 0.3 cycles a pixel the amplitudes are right to 1e-4 for a source
of 2 pixels FWHM, and to 3e-3 for a point. Sources narrower than 2 pixels have faint negative rings around them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
WIDENED = 2.0  # FWHM, pixels
VARIANCE = (WIDENED / FWHM_PER_SIGMA) ** 2  # pixels^2
BAND = 0.35  # cycles a pixel
TAPS = 8  # of the filter, to each side
REACH = 6.0  # sigma; beyond, a Gaussian is left out: 1e-8 of its peak


def _filter() -> NDArray[np.float64]:
    """Return the symmetric filter, (2 TAPS + 1,), that takes the convolution back, by least squares."""
    frequency = np.linspace(0, 0.5, 501)
    widened = np.exp(-2 * np.pi**2 * VARIANCE * frequency**2)
    cosines = np.cos(2 * np.pi * frequency[:, None] * np.arange(TAPS + 1)) * np.where(np.arange(TAPS + 1), 2, 1)
    weight = np.where(frequency <= BAND, 1.0, 1e-3)  # what is above the band shall only stay small
    taps = np.linalg.lstsq(cosines * (widened * weight)[:, None], weight, rcond=None)[0]
    return np.concatenate([taps[:0:-1], taps])


FILTER = _filter()


def sharpened(widened: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the field of images with a border, (..., ny + 2 TAPS, nx + 2 TAPS) to (..., ny, nx)."""
    along_rows = correlate1d(widened, FILTER, axis=-1, mode="constant")[..., TAPS:-TAPS]
    return correlate1d(along_rows, FILTER, axis=-2, mode="constant")[..., TAPS:-TAPS, :]


def sharpened_adjoint(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply the transpose of `sharpened`, (..., ny, nx) to (..., ny + 2 TAPS, nx + 2 TAPS)."""
    border = [(0, 0)] * (image.ndim - 2) + [(TAPS, TAPS)] * 2
    padded = np.pad(image.astype(float), border)
    along_rows = correlate1d(padded, FILTER, axis=-1, mode="constant")
    return correlate1d(along_rows, FILTER, axis=-2, mode="constant")


class Patch(NamedTuple):
    """A widened Gaussian of flux 1 where it is not negligible.

    Attributes:
        where: rows and columns in the field with its border.
        values: (y, x), 1/pixel.
        along: the inverse of the covariance times the distance to the centre, along x and y, (2, y, x), 1/pixel.
        inverse: of the covariance: xx, xy, yy, 1/pixel^2.
    """

    where: tuple[slice, slice]
    values: NDArray[np.float64]
    along: NDArray[np.float64]
    inverse: NDArray[np.float64]

    def derivatives(self, flux: float) -> NDArray[np.float64]:
        """Return the derivatives of flux times the Gaussian to x, y, the covariance's xx, xy and yy, and the flux.

        The result is (6, y, x).
        """
        x, y = self.along
        xx, xy, yy = self.inverse
        scaled = flux * self.values
        of_covariance = (x**2 - xx) / 2 * scaled, (x * y - xy) * scaled, (y**2 - yy) / 2 * scaled
        return np.stack([x * scaled, y * scaled, *of_covariance, self.values])


def patch(x: float, y: float, covariance: NDArray[np.float64], shape: tuple[int, int]) -> Patch:
    """Return a widened Gaussian.

    Args:
        x, y: of the centre, pixels of the field.
        covariance: xx, xy, yy, pixels^2.
        shape: (ny, nx) of the field, without its border.
    """
    xx, xy, yy = covariance[0] + VARIANCE, covariance[1], covariance[2] + VARIANCE
    rows = _range(y, yy, shape[0])
    columns = _range(x, xx, shape[1])
    north = np.arange(rows.start, rows.stop)[:, None] - TAPS - y
    east = np.arange(columns.start, columns.stop)[None, :] - TAPS - x
    determinant = xx * yy - xy**2
    inverse = np.array([yy, -xy, xx]) / determinant
    along = np.stack([inverse[0] * east + inverse[1] * north, inverse[1] * east + inverse[2] * north])
    exponent = along[0] * east + along[1] * north
    values = np.exp(-exponent / 2) / (2 * np.pi * np.sqrt(determinant))
    return Patch((rows, columns), values, along, inverse)


class Pixels(NamedTuple):
    """The pixels of a Gaussian of flux 1.

    Attributes:
        where: rows and columns in the field.
        values: (y, x), 1/pixel.
    """

    where: tuple[slice, slice]
    values: NDArray[np.float64]


def pixels(x: float, y: float, covariance: NDArray[np.float64], shape: tuple[int, int]) -> Pixels:
    """Return the pixels of a Gaussian that are not negligible. For the arguments see `patch`."""
    widened = patch(x, y, covariance, shape)
    where, values = sharpened_patch(widened.values[None], widened.where, shape)
    return Pixels(where, values[0])


def sharpened_patch(
    widened: NDArray[np.float64], place: tuple[slice, slice], shape: tuple[int, int]
) -> tuple[tuple[slice, slice], NDArray[np.float64]]:
    """Return rows and columns of the field that parts of widened images reach, and their pixels, (..., y, x).

    Args:
        widened: (..., y, x).
        place: rows and columns of these parts in the field with its border.
        shape: (ny, nx) of the field.
    """
    starts = [max(axis.start - 2 * TAPS, 0) for axis in place]
    stops = [min(axis.stop, size) for axis, size in zip(place, shape, strict=True)]
    border = [
        (axis.start - start, stop + 2 * TAPS - axis.stop)
        for axis, start, stop in zip(place, starts, stops, strict=True)
    ]
    where = slice(starts[0], stops[0]), slice(starts[1], stops[1])
    return where, sharpened(np.pad(widened, [(0, 0)] * (widened.ndim - 2) + border))


def _range(centre: float, variance: float, size: int) -> slice:
    """Return the pixels within REACH of a centre along one axis of the field with its border."""
    reach = REACH * np.sqrt(variance)
    first = int(np.clip(np.floor(centre - reach) + TAPS, 0, size + 2 * TAPS - 1))
    last = int(np.clip(np.ceil(centre + reach) + TAPS, first, size + 2 * TAPS - 1))
    return slice(first, last + 1)
