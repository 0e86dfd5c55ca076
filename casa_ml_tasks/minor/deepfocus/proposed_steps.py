r"""Steps towards proposed models, of which none can raise chi^2, wherever the proposals come from.

With the residual r and the exact normal operator H, all in units of the noise, a step $a \delta$ changes chi^2 by
$a^2 \delta^T H \delta - 2 a \delta^T r$. The best length, $a = \delta^T r / \delta^T H \delta$ between 0 and 1, never
raises it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator

#: Most steps of one plane. A network has found what it can find by then.
MOST_STEPS = 4
#: Shorter steps are not taken: the data contradict the proposal.
SHORTEST_STEP = 0.1
#: A step that lowers the r.m.s. of the residual by less, relatively, is the last.
SMALLEST_FALL = 0.05

#: From a residual and its model, both in units of the noise and (ny, nx), to a new model.
Proposes = Callable[[NDArray[np.floating], NDArray[np.floating]], NDArray[np.floating]]
#: H: from an image, (ny, nx), to its dirty image.
Operator = Callable[[NDArray[np.floating]], NDArray[np.float64]]


class Plane(NamedTuple):
    """One image, in units of the noise of its dirty image.

    Attributes:
        residual: of the model, (ny, nx), noise units a beam.
        model: (ny, nx), noise units a pixel.
        steps: that were taken.
    """

    residual: NDArray[np.float64]
    model: NDArray[np.float64]
    steps: int = 0

    @property
    def rms(self) -> float:
        """Of the residual, noise units a beam."""
        return float(np.sqrt(np.mean(self.residual**2)))


def step_length(slope: float, curvature: float) -> float:
    r"""Return how much of a step lowers chi^2 most, from 0 to 1; 0 as well where a number is not finite.

    Args:
        slope: $\delta^T r$.
        curvature: $\delta^T H \delta$. Rounding may make it negative.
    """
    if not (np.isfinite(slope) and np.isfinite(curvature)) or slope <= 0:
        return 0.0
    return 1.0 if curvature <= slope else slope / curvature


def exact_operator(psf: NDArray[np.floating]) -> Operator:
    """Return H in double precision, whatever the precision around it. psf: (2 ny, 2 nx), Jy/beam."""
    with jax.enable_x64(True):
        operator = ConvolutionNormalOperator.from_psf(psf)

    def dirty(image: NDArray[np.floating]) -> NDArray[np.float64]:
        with jax.enable_x64(True):
            return np.asarray(operator(jnp.asarray(image, float)))

    return dirty


def take_steps(start: Plane, propose: Proposes, operator: Operator, support: NDArray[np.bool_]) -> Plane:
    """Take what lowers chi^2 of proposed models, until a proposal is of little use.

    Args:
        start: where to begin.
        propose: the next model; what of it is negative or outside of the support is left out.
        operator: H.
        support: (ny, nx), True where the model may change.
    """
    plane = start
    while plane.steps < MOST_STEPS:
        new = np.maximum(propose(plane.residual, plane.model), 0)
        change = np.where(support, new - plane.model, 0.0)
        dirty = operator(change)
        length = step_length(float(np.vdot(change, plane.residual)), float(np.vdot(change, dirty)))
        if length < SHORTEST_STEP:
            break
        before = plane
        plane = Plane(before.residual - length * dirty, before.model + length * change, before.steps + 1)
        if plane.rms > (1 - SMALLEST_FALL) * before.rms:
            break
    return plane
