"""What a fit returns: samples of the posterior, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.parametric.components import Component
from casa_ml_tasks.parametric.sky_model import visibilities

LARGEST_R_HAT = 1.02
FEWEST_EFFECTIVE = 100.0  # samples: the mean is then known to a tenth of the standard deviation
MOST_DRAWS = 200  # that a mean of predictions is taken of


@dataclass(frozen=True)
class Estimate:
    """Of one parameter, in its unit."""

    mean: float
    std: float
    lower: float  # 16 % of the samples are below
    median: float
    upper: float  # 84 % of the samples are below


@dataclass(frozen=True)
class Convergence:
    """Whether the samples can be believed."""

    r_hat: Mapping[str, float]  # split r-hat by parameter, 1 when the chains agree; empty for svi, which has none
    effective_sample_size: Mapping[str, float]  # for svi, of its importance weights
    divergences: int  # steps of NUTS that failed

    @property
    def problem(self) -> str:
        """What is wrong and what helps, in one sentence; empty where nothing is."""
        unlike = {name: value for name, value in self.r_hat.items() if not value < LARGEST_R_HAT}
        few = {name: size for name, size in self.effective_sample_size.items() if not size >= FEWEST_EFFECTIVE}
        if unlike:
            name = max(unlike, key=lambda each: np.nan_to_num(unlike[each], nan=np.inf))
            return (
                f"the chains disagree on {name} (r-hat {unlike[name]:.3f}, above {LARGEST_R_HAT}): raise warmup and "
                "samples, or narrow its prior if the posterior has several modes"
            )
        if few:
            name = min(few, key=lambda each: few[each])
            remedy = "raise samples" if self.r_hat else "use method='nuts', for no Gaussian fits this posterior"
            return f"{name} has only {few[name]:.0f} effective samples, below {FEWEST_EFFECTIVE:.0f}: {remedy}"
        if self.divergences:
            return (
                f"{self.divergences} steps of NUTS diverged, so part of the posterior may be missing: raise warmup, or "
                "keep the priors away from where the model degenerates"
            )
        return ""

    @property
    def converged(self) -> bool:
        """Whether there is no problem."""
        return not self.problem


@dataclass(frozen=True)
class Posterior:
    """Samples of the free parameters, and the sky that they belong to."""

    samples: Mapping[str, NDArray[np.float64]]  # by name, (sample,), chain by chain
    sky: Mapping[str, Component]  # by name
    best: Mapping[str, float]  # the sample of the highest posterior density
    chi2: float  # of `best`: sum of weight |residual|^2 / noise_scale^2
    degrees_of_freedom: int  # 2 visibilities - free parameters
    noise_scale: float  # true sigma over nominal sigma; where it was free, of `best`
    convergence: Convergence

    def summary(self) -> dict[str, Estimate]:
        """The Estimate of each free parameter."""

        def estimate(values: NDArray[np.float64]) -> Estimate:
            quantiles = np.percentile(values, (16, 50, 84))
            return Estimate(float(values.mean()), float(values.std(ddof=1)), *(float(each) for each in quantiles))

        return {name: estimate(values) for name, values in self.samples.items()}

    def predict(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.complex128]:
        """Mean visibilities of the posterior, Jy, (visibility,); u, v: (visibility,), wavelengths."""
        at_u, at_v = np.atleast_1d(u).astype(float), np.atleast_1d(v).astype(float)
        size = min(len(each) for each in self.samples.values())
        chosen = np.unique(np.linspace(0, size - 1, MOST_DRAWS).astype(int))
        with jax.enable_x64(True):
            draws = {name: jnp.asarray(values[chosen]) for name, values in self.samples.items()}
            models = jax.lax.map(lambda values: visibilities(self.sky, values, at_u, at_v), draws)
            return np.asarray(models.mean(axis=0))

    def image(self, imsize: int, cell: float, beam: float | None = None) -> NDArray[np.float64]:
        """The mean sky of the posterior, convolved with a circular Gaussian beam.

        Args:
            imsize: pixels on a side.
            cell: arcsec.
            beam: full width at half maximum, arcsec; 2.5 cells by default. Less leaves ripples at sharp edges.

        Returns:
            (y, x), Jy/pixel; North is up, East to smaller x, the phase centre in pixel imsize // 2.

        Raises:
            ValueError: imsize, cell or beam is not positive.
        """
        beam = 2.5 * cell if beam is None else beam
        if not (imsize > 0 and cell > 0 and beam > 0):
            raise ValueError(f"imsize={imsize}, cell={cell}, beam={beam} must be positive; give pixels and arcsec")
        frequency = np.fft.fftfreq(imsize, cell * arcsecond)
        v, u = np.meshgrid(-frequency, frequency, indexing="ij")
        taper = np.exp(-((np.pi * beam * arcsecond) ** 2) / (4 * np.log(2)) * (u**2 + v**2))
        grid = self.predict(u.ravel(), v.ravel()).reshape(u.shape) * taper
        return np.fft.fftshift(np.fft.ifft2(grid)).real

    def __str__(self) -> str:
        """A table, chi^2, and the problem if there is one."""
        width = max(len(name) for name in self.samples)
        rows = [f"{'':{width}}  {'mean':>12} {'std':>10} {'16 %':>12} {'50 %':>12} {'84 %':>12}"]
        rows += [
            f"{name:{width}}  {e.mean:12.6g} {e.std:10.3g} {e.lower:12.6g} {e.median:12.6g} {e.upper:12.6g}"
            for name, e in self.summary().items()
        ]
        rows.append(f"chi^2 {self.chi2:.6g}, {self.degrees_of_freedom} degrees of freedom")
        rows.append(f"noise scale {self.noise_scale:.4g}")
        problem = self.convergence.problem
        return "\n".join([*rows, f"NOT CONVERGED: {problem}"] if problem else rows)
