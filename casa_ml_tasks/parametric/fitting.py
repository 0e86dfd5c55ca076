"""Fit a sky of simple components to visibilities."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import jax
import numpy as np
from numpyro.distributions import Distribution

from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.parametric.density import Density
from casa_ml_tasks.parametric.laplace import approximate
from casa_ml_tasks.parametric.observation import Observation, read_observation
from casa_ml_tasks.parametric.posterior import Posterior
from casa_ml_tasks.parametric.samplers import METHODS, Draws, Effort
from casa_ml_tasks.parametric.sky_model import TRIALS, Components, check_finite, check_parameter, named

Data = Observation | Visibilities | str | os.PathLike[str] | Sequence[str]


def fit(
    data: Data,
    components: Components,
    method: str = "nuts",
    *,
    seed: int = 1,
    samples: int = 500,
    warmup: int = 300,
    chains: int = 4,
    steps: int = 2000,
    noise_scale: float | Distribution | None = None,
    student_t: float | Distribution | None = None,
    progress: bool | None = None,
) -> Posterior:
    """Sample the posterior of the components' free parameters; warns when the samples cannot be believed.

    JAX's settings stay as they are; inside, all is in double precision.

    Args:
        data: an Observation, Visibilities, or what `read_observation` reads with its defaults.
        components: one, several, or several by name. A parameter that is a numpyro distribution is free.
        method: "nuts", or the faster and approximate "svi".
        seed: of the random numbers; the same seed gives the same samples.
        samples: of each chain.
        warmup: steps of each chain that are thrown away ("nuts").
        chains: independent ones; the more, the surer that they found all of the posterior.
        steps: of the optimisation ("svi").
        noise_scale: true sigma over nominal sigma; a distribution, such as LogNormal(0, 1), makes it free. By default
            what `read_observation` measured, and 1 for Visibilities.
        student_t: degrees of freedom of Student's t, a number or a distribution, where outliers are feared.
        progress: show progress bars; by default where the standard error goes to a terminal.

    Returns:
        The Posterior.

    Raises:
        ValueError: bad data, parameters or components, no free parameter, or a model that is not finite.
    """
    _check(method, samples=samples, warmup=warmup, chains=chains, steps=steps)
    sky = named(components)
    observation = _observation(data)
    density = Density(observation, sky, observation.noise_scale if noise_scale is None else noise_scale, student_t)
    check_parameter("noise_scale", density.noise_scale)
    if student_t is not None:
        check_parameter("student_t", student_t)
    if not density.priors:
        raise ValueError(
            "components have no free parameter; give at least one a prior, for example flux=Uniform(0, 1) from "
            "numpyro.distributions"
        )
    shown = sys.stderr.isatty() if progress is None else progress
    with jax.enable_x64(True):
        look, climb, sample = jax.random.split(jax.random.PRNGKey(seed), 3)
        drawn = density.prior_draws(look, TRIALS)
        trials = [{name: values[i] for name, values in drawn.items()} for i in range(TRIALS)]
        check_finite(sky, trials, observation.u, observation.v)
        laplace = approximate(density, climb, chains)
        posterior = _posterior(density, METHODS[method](laplace, sample, Effort(samples, warmup, chains, steps, shown)))
    if posterior.convergence.problem:
        warnings.warn(f"method='{method}' has not converged: {posterior.convergence.problem}", stacklevel=2)
    return posterior


def _check(method: str, **counts: int) -> None:
    if method not in METHODS:
        raise ValueError(f"method='{method}' is unknown; use {' or '.join(repr(name) for name in METHODS)}")
    for name, count in counts.items():
        fewest = 4 if name == "samples" else 1
        if not isinstance(count, int) or count < fewest:
            raise ValueError(f"{name}={count!r} is not a whole number of at least {fewest}; give for example 500")


def _observation(data: Data) -> Observation:
    if isinstance(data, Observation):
        return data
    if isinstance(data, Visibilities):
        return Observation.of(data)
    return read_observation(os.fspath(data) if isinstance(data, os.PathLike) else data)


def _posterior(density: Density, draws: Draws) -> Posterior:
    values = {name: np.asarray(each, float).ravel() for name, each in density.constrain(draws.z).items()}
    highest = int(np.nanargmin(draws.energy))
    best = {name: float(each[highest]) for name, each in values.items()}
    return Posterior(
        samples=values,
        sky=density.sky,
        best=best,
        chi2=float(density.chi2(best)),
        degrees_of_freedom=2 * density.observation.u.size - len(best),
        noise_scale=float(best.get("noise_scale", density.noise_scale)),
        convergence=draws.convergence,
    )
