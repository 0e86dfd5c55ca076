r"""The posterior density of the free parameters.

With r = d - V, $\ln p = \sum_k \ln N(\mathrm{Re}\,r_k; 0, \sigma_k) + \ln N(\mathrm{Im}\,r_k; 0, \sigma_k)$
plus the logarithms of the priors, and $\sigma_k = s / \sqrt{w_k}$ with the noise scale s. Student's t in place of the
normal distribution forgives outliers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro.distributions import Distribution, Normal, StudentT, biject_to

from casa_ml_tasks.parametric.components import Component
from casa_ml_tasks.parametric.observation import Observation
from casa_ml_tasks.parametric.sky_model import free_parameters, visibilities

Values = dict[str, Any]  # name of a free parameter to its value


@dataclass(frozen=True)
class Density:
    """In constrained values by name, and in unconstrained coordinates z, (free parameter,), which samplers need.

    Attributes:
        observation: the data.
        sky: components by name.
        noise_scale: true sigma over nominal sigma: a number, or a prior.
        student_t: degrees of freedom of Student's t, a number or a prior; None for the normal distribution.
    """

    observation: Observation
    sky: Mapping[str, Component]
    noise_scale: Any
    student_t: Any = None

    @property
    def priors(self) -> dict[str, Distribution]:
        """Of all free parameters, by name."""
        of_noise = {name: getattr(self, name) for name in ("noise_scale", "student_t")}
        return free_parameters(self.sky) | {
            n: prior for n, prior in of_noise.items() if isinstance(prior, Distribution)
        }

    def prior_draws(self, key: Array, count: int) -> Values:
        """Arrays of (count,)."""
        keys = jax.random.split(key, len(self.priors))
        return {
            name: prior.sample(each, (count,)) for each, (name, prior) in zip(keys, self.priors.items(), strict=True)
        }

    def constrain(self, z: Array) -> Values:
        """Values at z, (..., free parameter)."""
        return {name: biject_to(prior.support)(z[..., i]) for i, (name, prior) in enumerate(self.priors.items())}

    def unconstrain(self, values: Values) -> Array:
        """z, (..., free parameter)."""
        return jnp.stack([biject_to(prior.support).inv(values[name]) for name, prior in self.priors.items()], axis=-1)

    def energy(self, z: Array) -> Array:
        """Minus the logarithm of the posterior density with respect to z, up to a constant."""
        values = self.constrain(z)
        log_prior = sum(
            prior.log_prob(values[name]) + biject_to(prior.support).log_abs_det_jacobian(z[i], values[name])
            for i, (name, prior) in enumerate(self.priors.items())
        )
        return -(self.log_likelihood(values) + log_prior)

    def log_likelihood(self, values: Values) -> Array:
        """A scalar."""
        data = self.observation
        residual = data.visibility - visibilities(self.sky, values, data.u, data.v)
        sigma = values.get("noise_scale", self.noise_scale) / np.sqrt(data.weight)
        freedom = values.get("student_t", self.student_t)
        noise = Normal(0.0, sigma) if freedom is None else StudentT(freedom, 0.0, sigma)
        return jnp.sum(noise.log_prob(residual.real) + noise.log_prob(residual.imag))

    def chi2(self, values: Values) -> Array:
        r"""$\sum_k w_k |r_k|^2 / s^2$."""
        data = self.observation
        residual = data.visibility - visibilities(self.sky, values, data.u, data.v)
        scale = values.get("noise_scale", self.noise_scale)
        return jnp.sum(data.weight * jnp.abs(residual) ** 2) / scale**2
