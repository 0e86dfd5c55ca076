"""Where the samplers begin: the highest modes of the posterior, and its curvature at the best of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from casa_ml_tasks.parametric.density import Density

POOL = 100  # draws from the prior, of which a chain begins at the best
NEGLIGIBLE = 20.0  # a mode so much lower in ln p does not matter
STEP = 1e-5  # in unconstrained coordinates, where priors are of order 1
FLATTEST = 0.1  # smallest curvature that is believed: a prior in unconstrained coordinates is about this flat


@dataclass(frozen=True)
class Laplace:
    """The posterior as a Gaussian, xi ~ N(0, 1), z = mode + scale @ xi.

    In xi all parameters have about unit variance and no correlations, whatever their units: what samplers like.
    """

    density: Density
    mode: Array  # (parameter,), z
    scale: Array  # (parameter, parameter)
    modes: Array  # (chain, parameter), xi: where each chain begins

    def z(self, xi: Array) -> Array:
        """xi: (..., parameter)."""
        return self.mode + xi @ self.scale.T

    def energy(self, xi: Array) -> Array:
        """Minus ln p; xi: (parameter,)."""
        return self.density.energy(self.z(xi))


def approximate(density: Density, key: Array, chains: int) -> Laplace:
    """Climb from the best of some prior draws, anew for each chain, so that several modes of like height are found.

    Raises:
        ValueError: the density is nowhere finite.
    """
    z = density.unconstrain(density.prior_draws(key, POOL * chains))
    compiled = _Compiled(jax.jit(density.energy), jax.jit(jax.grad(density.energy)))
    energy = np.array([compiled.energy(each) for each in z])
    energy = np.where(np.isfinite(energy), energy, np.inf).reshape(chains, POOL)
    if not np.isfinite(energy).any():
        raise ValueError(f"the likelihood is finite at none of {POOL * chains} draws from the priors; check the priors")
    starts = np.asarray(z).reshape(chains, POOL, -1)[np.arange(chains), energy.argmin(axis=1)]
    climbed = [compiled.climb(start) for start in starts[np.isfinite(energy.min(axis=1))]]
    heights = np.array([height for _, height in climbed])
    best = climbed[heights.argmin()][0]
    modes = np.stack([z for z, height in climbed if height < heights.min() + NEGLIGIBLE])
    curvature, axes = np.linalg.eigh(compiled.hessian(best))
    spread = np.sqrt(np.maximum(curvature, FLATTEST))
    return Laplace(
        density,
        mode=jnp.asarray(best),
        scale=jnp.asarray(axes / spread),
        modes=jnp.asarray(np.resize(modes - best, starts.shape) @ axes * spread),
    )


@dataclass(frozen=True)
class _Compiled:
    """The energy and its derivatives as scipy wants them."""

    energy: Callable[[ArrayLike], Array]
    gradient: Callable[[ArrayLike], Array]

    def hessian(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """By central differences: compiling the second derivatives would take longer than using them."""
        rows = [self.gradient(z + step) - self.gradient(z - step) for step in STEP * np.eye(z.size)]
        matrix = np.asarray(jnp.stack(rows)) / (2 * STEP)
        return (matrix + matrix.T) / 2

    def finite_energy(self, z: NDArray[np.float64]) -> float:
        """Infinite where it is undefined."""
        value = float(self.energy(z))
        return value if np.isfinite(value) else np.inf

    def climb(self, start: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """A local minimum of the energy by Newton's method in a trust region, and its height."""
        found = minimize(
            self.finite_energy,
            start,
            jac=lambda z: np.asarray(self.gradient(z)),
            hess=self.hessian,
            method="trust-exact",
            options={"gtol": 1e-2, "maxiter": 200},
        )
        return found.x, float(found.fun)
