"""Which weight each pointing of a mosaic has in each channel of a cube."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from casa_ml_tasks.kernels.mosaic import Mosaic

DIFFERENT = 0.2  # of a pointing's weight in all channels: less is no matter of another operator
FAINTEST = 0.05  # of it: no more than an error of the fit
MOST_PIXELS = 4096


def shares_of_weights(weights: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """Return the part of a channel's weight that each pointing has over its part in all channels, (channel, pointing).

    It is 1 in channels without data, and None where all channels are alike.

    Args:
        weights: sums of weights, (channel, pointing).
    """
    total = weights.sum(axis=1, keepdims=True)
    of_all = weights.sum(axis=0) / weights.sum()
    of_channels = np.divide(weights, total, where=total > 0, out=np.zeros(weights.shape))
    shares = np.where(total > 0, np.divide(of_channels, of_all, where=of_all > 0, out=np.ones(weights.shape)), 1)
    return shares if np.abs(shares - 1).max() > DIFFERENT else None


def channels_of_images(
    mosaic: Mosaic, weights: NDArray[np.floating], sums: NDArray[np.floating], fields: NDArray[np.bool_]
) -> tuple[Mosaic, ...] | None:
    r"""Return the mosaics of channels from images of the weight that pixels see, $\sum_k f_k A_k^2$ of each channel.

    A channel's image over that of all channels is $\sum_k s_k f_k a_k^2$ with its shares s, which are fitted to pixels
    of the field, none below 0.

    Args:
        mosaic: of all channels, in flat noise.
        weights: the images, (channel, ny, nx).
        sums: of all weights of each channel, (channel,).
        fields: where each channel has an image, (channel, ny, nx).

    Returns:
        None where all channels are alike.
    """
    (height, width), pixels = mosaic.beams.shape[1:], np.argwhere(mosaic.seen())
    y, x = pixels[:: -(-len(pixels) // MOST_PIXELS)].T
    responses = np.zeros((y.size, len(mosaic.beams)))
    for k, (psf, beam, corner) in enumerate(zip(mosaic.psfs, mosaic.beams, mosaic.corners, strict=True)):
        rows, columns = y - corner[0], x - corner[1]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        responses[inside, k] = psf[height, width] * beam[rows[inside], columns[inside]].astype(float) ** 2
    seen = weights[:, y, x].astype(float)
    of_all = np.average(seen, axis=0, weights=sums)
    known = of_all > 0
    fitted = np.array([nnls(responses[known], each[known] / of_all[known])[0] for each in seen])
    peaks = mosaic.psfs[:, height, width]
    shares = shares_of_weights(np.where(sums[:, None] > 0, fitted, 0) * peaks * sums[:, None])
    if shares is None:
        return None
    shares = np.where(shares < FAINTEST, 0, shares)
    return tuple(mosaic.with_shares(share, field) for share, field in zip(shares, fields, strict=True))
