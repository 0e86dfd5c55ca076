r"""The covariances of Gaussians in the frames of their axes, where bounds of the axes are bounds of single numbers.

In its own frame a covariance is major axis, rotation and minor axis, [[a, r], [r, b]] with r = 0. Unlike angles and
logarithms of axes, these stay regular for round sources and for points.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROUND = 1e-6  # pixels^2: axes that differ by less have no direction
MAJOR, ROTATION, MINOR = 2, 3, 4  # among x, y, the three numbers, flux


class Frames(NamedTuple):
    """Frames of sources.

    Attributes:
        axes: variances along both axes, the larger first, pixels^2, (source, 2).
        blocks: from a source's parameters in its frame to those in pixels, (source, 6, 6).
    """

    axes: NDArray[np.float64]
    blocks: NDArray[np.float64]

    def turned(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a matrix of normal equations in the frames, (parameter, parameter)."""
        count = len(self.axes)
        by_source = matrix.reshape(count, 6, count, 6)
        return np.einsum("kai,kalb,lbj->kilj", self.blocks, by_source, self.blocks).reshape(matrix.shape)

    def turned_gradient(self, gradient: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a gradient in the frames, (parameter,)."""
        return np.einsum("kai,ka->ki", self.blocks, gradient.reshape(-1, 6)).ravel()

    def free(self, gradient: NDArray[np.float64], largest: float) -> NDArray[np.bool_]:
        """Return which parameters in the frames may move, (source, 6): not those at a bound that are drawn beyond it.

        Args:
            gradient: the direction in which the likelihood rises, in the frames, (parameter,).
            largest: bound of the axes, pixels^2; the other one is 0.
        """
        drawn = gradient.reshape(-1, 6)[:, [MAJOR, MINOR]]
        low = (self.axes <= ROUND) & (drawn <= 0)
        held = low | ((self.axes >= largest - ROUND) & (drawn >= 0))
        free = np.ones((len(self.axes), 6), bool)
        free[:, [MAJOR, MINOR]] = ~held
        free[:, ROTATION] = ~(held.any(axis=1) & (self.axes[:, 0] - self.axes[:, 1] <= ROUND))
        return free


def frames(parameters: NDArray[np.float64], gradient: NDArray[np.float64]) -> Frames:
    """Return the frames of sources; that of a round one has the axes of the gradient.

    Args:
        parameters: x, y, covariance xx, xy and yy, flux, (source, 6).
        gradient: of the likelihood, (parameter,).
    """
    xx, xy, yy = parameters[:, 2:5].T
    mean, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    of_xx, of_xy, of_yy = gradient.reshape(-1, 6)[:, 2:5].T
    double = np.where(half <= ROUND / 2, np.arctan2(of_xy, of_xx - of_yy), np.arctan2(2 * xy, xx - yy))
    c, s = np.cos(double / 2), np.sin(double / 2)
    blocks = np.tile(np.eye(6), (len(parameters), 1, 1))
    turn = np.array([[c * c, -2 * c * s, s * s], [c * s, c * c - s * s, -c * s], [s * s, 2 * c * s, c * c]])
    blocks[:, 2:5, 2:5] = np.moveaxis(turn, -1, 0)
    return Frames(np.stack([mean + half, mean - half], axis=-1), blocks)


def moved(
    parameters: NDArray[np.float64], frame: Frames, in_frames: NDArray[np.float64], largest: float
) -> NDArray[np.float64]:
    """Return the parameters after a step, with variances along both axes between 0 and a bound, (source, 6).

    Args:
        parameters: (source, 6).
        frame: of the sources.
        in_frames: the step in the frames, (source, 6).
        largest: bound, pixels^2.
    """
    result = parameters + np.einsum("kai,ki->ka", frame.blocks, in_frames)
    # A line turns: added to its covariance, a rotation would make it wider.
    axes = np.clip(frame.axes + in_frames[:, [MAJOR, MINOR]], 0, largest)
    line = (axes[:, 1] <= ROUND) & (axes[:, 0] > ROUND)
    double = np.arctan2(2 * in_frames[:, ROTATION], axes[:, 0] - axes[:, 1])
    mean, half = axes.sum(axis=1) / 2, (axes[:, 0] - axes[:, 1]) / 2
    turned = np.stack([mean + half * np.cos(double), half * np.sin(double), mean - half * np.cos(double)], axis=-1)
    in_pixels = np.einsum("kai,ki->ka", frame.blocks[:, 2:5, 2:5], turned)
    result[line, 2:5] = in_pixels[line]
    return bounded(result, largest)


def bounded(parameters: NDArray[np.float64], largest: float) -> NDArray[np.float64]:
    """Return the parameters with the variances along both axes between 0 and a bound, pixels^2, (source, 6)."""
    covariance = parameters[:, [2, 3, 3, 4]].reshape(-1, 2, 2)
    axes, directions = np.linalg.eigh(covariance)
    axes = np.clip(axes, 0, largest)
    result = parameters.copy()
    result[:, 2:5] = ((directions * axes[:, None, :]) @ directions.transpose(0, 2, 1)).reshape(-1, 4)[:, [0, 1, 3]]
    return result
