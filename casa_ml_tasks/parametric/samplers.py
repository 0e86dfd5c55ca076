"""From the Laplace approximation to samples of the posterior: by NUTS, or by variational inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from numpy.typing import NDArray
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.distributions import ImproperUniform, constraints
from numpyro.infer import MCMC, NUTS, SVI, Trace_ELBO, init_to_value
from numpyro.infer.autoguide import AutoMultivariateNormal

from casa_ml_tasks.parametric.laplace import Laplace
from casa_ml_tasks.parametric.posterior import Convergence

GUIDE_DRAWS = 8  # per step of the variational inference
FIRST_STEP, LAST_STEP = 0.02, 0.0005  # in units of the Laplace approximation's standard deviations


@dataclass(frozen=True)
class Effort:
    """How long to sample."""

    samples: int  # a chain
    warmup: int  # a chain; NUTS
    chains: int
    steps: int  # SVI
    progress: bool


@dataclass(frozen=True)
class Draws:
    """Samples of the posterior, chain by chain."""

    z: Array  # (chain, sample, parameter), unconstrained
    energy: NDArray[np.float64]  # (chain, sample)
    convergence: Convergence


def nuts(laplace: Laplace, key: Array, effort: Effort) -> Draws:
    """The No-U-Turn sampler: exact in the long run, and its chains tell whether they ran long enough."""
    begin, run = jax.random.split(key)
    first = laplace.modes + jax.random.normal(begin, laplace.modes.shape)
    sampler = MCMC(
        NUTS(potential_fn=laplace.energy, dense_mass=True),
        num_warmup=effort.warmup,
        num_samples=effort.samples,
        num_chains=effort.chains,
        chain_method="sequential",
        progress_bar=effort.progress,
    )
    sampler.run(
        run,
        init_params=first if effort.chains > 1 else first[0],
        extra_fields=("diverging", "potential_energy"),
    )
    extra = sampler.get_extra_fields(group_by_chain=True)
    z = laplace.z(sampler.get_samples(group_by_chain=True))
    names = list(laplace.density.priors)
    chains = {name: np.asarray(values) for name, values in laplace.density.constrain(z).items()}
    convergence = Convergence(
        r_hat={name: float(split_gelman_rubin(chains[name])) for name in names},
        effective_sample_size={name: float(effective_sample_size(chains[name])) for name in names},
        divergences=int(extra["diverging"].sum()),
    )
    return Draws(z, np.asarray(extra["potential_energy"]), convergence)


def svi(laplace: Laplace, key: Array, effort: Effort) -> Draws:
    """Stochastic variational inference: the Gaussian in z that is nearest to the posterior. Fast, and approximate.

    How near it is, the importance weights p/q of its samples tell: their effective number, (sum w)^2 / sum w^2.
    """
    size = laplace.mode.size

    def model() -> None:
        xi = numpyro.sample("xi", ImproperUniform(constraints.real_vector, (), (size,)))
        numpyro.factor("posterior", -laplace.energy(xi))

    def step_size(step: Array) -> Array:
        return FIRST_STEP * (LAST_STEP / FIRST_STEP) ** (step / effort.steps)

    guide = AutoMultivariateNormal(model, init_loc_fn=init_to_value(values={"xi": jnp.zeros(size)}), init_scale=1.0)
    inference = SVI(model, guide, numpyro.optim.Adam(step_size), Trace_ELBO(GUIDE_DRAWS, vectorize_particles=False))
    climb, draw = jax.random.split(key)
    parameters = inference.run(climb, effort.steps, progress_bar=effort.progress).params
    gaussian = guide.get_posterior(parameters)
    xi = gaussian.sample(draw, (effort.chains * effort.samples,))
    energy = jax.lax.map(jax.jit(laplace.energy), xi)
    log_weight = -energy - gaussian.log_prob(xi)
    weight = np.asarray(jax.nn.softmax(jnp.where(jnp.isfinite(log_weight), log_weight, -jnp.inf)))
    effective = float(1 / np.sum(weight**2))
    convergence = Convergence({}, dict.fromkeys(laplace.density.priors, effective), 0)
    shape = (effort.chains, effort.samples)
    return Draws(laplace.z(xi).reshape(*shape, size), np.asarray(energy).reshape(shape), convergence)


METHODS: dict[str, Callable[[Laplace, Array, Effort], Draws]] = {"nuts": nuts, "svi": svi}
