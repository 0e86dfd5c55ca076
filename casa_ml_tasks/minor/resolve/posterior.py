"""What Bayesian imaging hands over: samples of the posterior, and how the inference came to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorCycle, MinorState

#: Of a Gaussian, one standard deviation on either side of the median.
LOWER, UPPER = 16.0, 84.0


@dataclass(frozen=True)
class PowerSpectrum:
    """Power spectrum of the logarithm of the sky: what the correlated field has learned.

    Attributes:
        frequency: spatial frequencies of the logarithm of the brightness, without zero, (bins,), cycles/arcsec.
        samples: power of one mode of that frequency, (sample, bins), arcsec^2: over the plane of frequencies it
            integrates to the variance of the logarithm, which has no unit.
    """

    frequency: NDArray[np.floating]
    samples: NDArray[np.floating]

    @property
    def median(self) -> NDArray[np.floating]:
        """Median over the samples, (bins,), arcsec^2."""
        return np.median(self.samples, axis=0)

    @property
    def lower(self) -> NDArray[np.floating]:
        """16th percentile over the samples, (bins,), arcsec^2."""
        return np.percentile(self.samples, LOWER, axis=0)

    @property
    def upper(self) -> NDArray[np.floating]:
        """84th percentile over the samples, (bins,), arcsec^2."""
        return np.percentile(self.samples, UPPER, axis=0)


@dataclass(frozen=True)
class GlobalIteration:
    """One global iteration of the inference: some trajectories of every chain.

    Attributes:
        iteration: 1 for the first.
        stage: what it was for: to 'warm' the chains up while the noise falls to the true one, to 'sample'.
        samples: of the posterior so far.
        energy: minus the logarithm of the probability of sky, spectrum and data, up to a constant; mean over the
            chains.
        mean_error: how far the mean is from that of endless chains, over the uncertainty, at the resolution, from
            pixels to the whole image, where it is farthest; infinite where a chain does not move, or its energy is far
            above that of others.
        operator_products: of the normal operator and an image, all chains together.
        accepted: part of the trajectories.
        residual: r.m.s. of the residual image of the mean over the noise.
        seconds: that it took.
    """

    iteration: int
    stage: str
    samples: int
    energy: float
    mean_error: float
    operator_products: int
    accepted: float
    residual: float
    seconds: float


@dataclass(frozen=True)
class Posterior:
    """Images that the data and the prior allow, each as probable as they are frequent among the samples.

    Attributes:
        samples: of the apparent sky, (sample, channel or term, stokes, ny, nx), float32, Jy/pixel; at least two.
        power_spectrum: of the logarithm of the sky; None where it is given and not inferred.
        iterations: of the inference, in turn.
        problem: what has not converged and what helps, in one sentence; empty where the mean is known much better than
            the sky, to a third of the uncertainty, at all resolutions.
        points: mean of the point-source component, (channel or term, stokes, ny, nx), Jy/pixel; None without one.
        components: samples of what else there is to know, by name, each (sample, channel or 1, stokes, ny, nx).
    """

    samples: NDArray[np.float32]
    power_spectrum: PowerSpectrum | None
    iterations: tuple[GlobalIteration, ...]
    problem: str
    points: Image | None = None
    components: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @cached_property
    def mean(self) -> NDArray[np.float32]:
        """Mean over the samples, (channel or term, stokes, ny, nx), Jy/pixel."""
        return self.samples.mean(axis=0, dtype=float).astype(np.float32)

    @cached_property
    def uncertainty(self) -> NDArray[np.float32]:
        """Standard deviation of the samples, (channel or term, stokes, ny, nx), Jy/pixel."""
        return self.samples.std(axis=0, ddof=1, dtype=float).astype(np.float32)

    @property
    def converged(self) -> bool:
        """Whether there is no problem."""
        return not self.problem

    @property
    def relative_uncertainty(self) -> NDArray[np.float32]:
        """Uncertainty over mean, (channel or term, stokes, ny, nx), NaN where the mean is not above the uncertainty."""
        detected = self.mean > self.uncertainty
        return np.divide(self.uncertainty, self.mean, out=np.full_like(self.mean, np.nan), where=detected)

    @property
    def fluxes(self) -> NDArray[np.float64]:
        """Flux of the whole image in every sample, (sample, channel or term, stokes), Jy.

        Its standard deviation is the uncertainty of the flux. The pixels' own cannot be added up to it, for the data
        know sums of neighbouring pixels better than they know each.
        """
        return self.samples.sum(axis=(-2, -1), dtype=float)

    def plane(self, channel: int, stokes: int = 0) -> Posterior:
        """Return the posterior of one image, with axes of length 1 for channel and Stokes, without its components."""
        at = np.s_[channel : channel + 1, stokes : stokes + 1]
        points = None if self.points is None else self.points[at]
        return replace(self, samples=self.samples[(slice(None), *at)], points=points, components={})


class Inference(MinorCycle, Protocol):
    """A minor cycle whose model is the mean of a posterior."""

    def posterior(self, state: MinorState) -> Posterior:
        """Return what the inference knows in a state that it left itself."""
        ...
