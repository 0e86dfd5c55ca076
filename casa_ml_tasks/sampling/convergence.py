"""How well the mean of images is known from chains of samples, by resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def errors_of_mean(samples: NDArray[np.floating]) -> list[float]:
    """Return the error of the mean over the uncertainty of the sky, r.m.s. over all squares of one size.

    The error is the distance from the mean of endless chains. The sizes are those of pixels, of squares of 2, 4 ...
    pixels, and of the whole image, for the flux of a region may move more slowly than that of any pixel in it.

    Args:
        samples: of all chains, (sample, chain, plane, ny, nx).
    """
    errors = [_error_at_one_resolution(samples)]
    while samples.shape[-2:] != (1, 1):
        errors.append(_error_at_one_resolution(samples := _sums_of_squares(samples)))
    return errors


def error_of_mean(samples: NDArray[np.floating]) -> float:
    """Return the largest of `errors_of_mean`. samples: (sample, chain, plane, ny, nx)."""
    return max(errors_of_mean(samples))


def _sums_of_squares(images: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the sums of 2 x 2 pixels, (..., ceil(ny / 2), ceil(nx / 2)). images: (..., ny, nx)."""
    for axis in (-2, -1):
        images = np.add.reduceat(images, np.arange(0, images.shape[axis], 2), axis)
    return images


def _error_at_one_resolution(samples: NDArray[np.floating]) -> float:
    r"""Return the error of the mean over the uncertainty, r.m.s. over all pixels; infinite where chains do not move.

    The means of m chains of length n have a variance B/n, which is that of their mean times m; with the variance W
    within chains the uncertainty is $\sigma^2 = (n - 1) W / n + B / n$ (Gelman & Rubin 1992, Statistical Science 7,
    457). B and W are those of halves of chains, so that chains which move all the same way are told from those that
    stay (Vehtari et al. 2021, Bayesian Analysis 16, 667); but halves do not count as so many chains, for one depends on
    the other. For chains that are long this is $\sqrt{2/N}$ with the effective number of samples N.
    """
    half = len(samples) // 2
    parts = np.concatenate([samples[:half], samples[-half:]], axis=1) if half > 1 else samples
    length = len(parts)
    within = parts.var(axis=0, ddof=min(1, length - 1), dtype=float).mean(axis=0)
    between = parts.mean(axis=0, dtype=float).var(axis=0, ddof=1)
    if not within.all():
        return float("inf")
    return float(np.sqrt(np.mean(between / samples.shape[1] / ((length - 1) / length * within + between))))
