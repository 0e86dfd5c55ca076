"""A sample of the posterior: the most probable sky for data and prior that are both randomised."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.minor.resolve.coarse_likelihood import CoarseInverse
from casa_ml_tasks.minor.resolve.correlated_field import hartley

#: A Newton step that lowers the energy by less is the last: a sample's energy itself scatters by the root of half the
#: number of what the data determine, hundreds.
NEGLIGIBLE = 5.0
MOST_STEPS = 8
MOST_CONJUGATE_GRADIENT = 100
#: Conjugate gradients end when two iterations in a row gain less than this part of all that the step has gained.
LAST_GAIN = 0.003
SHORTEST_STEP = 1e-3


class Likelihood(NamedTuple):
    r"""$\frac{1}{\sigma^2}\left[\frac12 \Delta^T H \Delta - \Delta^T r\right]$ of a sky I, $\Delta = I - I_0$.

    With it goes what the sky's prior says of the fluxes of pixels, $\lambda \sum I / \sigma$.

    Attributes:
        operator: H, Jy/pixel to Jy/beam.
        residual: r, (ny, nx), Jy/beam.
        model: $I_0$, whose residual that is, (ny, nx), Jy/pixel.
        sigma: noise of the residual, Jy/beam.
        offset: mean logarithm of the sky, ln(Jy/pixel).
        flux_prior: $\lambda$, the inverse mean of an exponential prior of the fluxes, times sigma.
    """

    operator: NormalOperator
    residual: jax.Array
    model: jax.Array
    sigma: jax.Array | float
    offset: jax.Array | float
    flux_prior: jax.Array | float = 0.0

    def sky(self, amplitude: jax.Array, excitations: jax.Array) -> jax.Array:
        """amplitude, excitations: (ny, nx). Returns the sky, (ny, nx), Jy/pixel."""
        return jnp.exp(self.offset + hartley(amplitude * excitations))


class Randomised(NamedTuple):
    """What a sample is the most probable answer to.

    Attributes:
        noise: drawn from the noise of the dirty image, (ny, nx), Jy/beam.
        excitations: drawn from the prior, (ny, nx).
    """

    noise: jax.Array
    excitations: jax.Array


class Found(NamedTuple):
    """Where the search for a sample ended.

    Attributes:
        excitations: (ny, nx).
        energy: of these.
        gain: of energy in the last step.
        iterations: of conjugate gradients.
    """

    excitations: jax.Array
    energy: float
    gain: float
    iterations: int


def energy(excitations: jax.Array, amplitude: jax.Array, likelihood: Likelihood, drawn: Randomised) -> jax.Array:
    r"""$\frac12 |\xi - \xi_0|^2 + \lambda \sum I / \sigma
    + \frac{1}{\sigma^2}\left[\frac12 \Delta^T H \Delta - \Delta^T (r + n)\right]$.

    If noise n and excitations $\xi_0$ are drawn from their distributions, and the sky were linear in $\xi$, the minimum
    would be an exact sample of the posterior (randomise then optimise: Bardsley et al. 2014, SIAM J. Sci. Comput. 36,
    A1895). Where the data say nothing the sample is $\xi_0$.
    """
    sky = likelihood.sky(amplitude, excitations)
    change = sky - likelihood.model
    misfit = 0.5 * likelihood.operator(change) - likelihood.residual - drawn.noise
    prior = 0.5 * jnp.sum((excitations - drawn.excitations) ** 2)
    prior += likelihood.flux_prior * jnp.sum(sky) / likelihood.sigma
    return prior + jnp.vdot(change, misfit) / likelihood.sigma**2


def most_probable(
    start: jax.Array,
    amplitude: jax.Array,
    likelihood: Likelihood,
    drawn: Randomised,
    preconditioner: CoarseInverse,
    steps: int = MOST_STEPS,
) -> Found:
    """Newton's method with the curvature of the linearised sky; each step by preconditioned conjugate gradients.

    Args:
        start: excitations to begin with, (ny, nx).
        amplitude: of the field, (ny, nx).
        likelihood, drawn: what to explain.
        preconditioner: nearly the inverse of the curvature.
        steps: at most.

    Raises:
        FloatingPointError: the energy of the start is not a number.
    """
    value, gradient = _value_and_gradient(start, amplitude, likelihood, drawn)
    if not jnp.isfinite(value):
        raise FloatingPointError(
            f"the energy is {value}, because the visibilities, their weights or the model hold what is no number; flag "
            "them and call again: the last good state is kept"
        )
    excitations, iterations, gain = start, 0, float("inf")
    for _ in range(steps):
        step, count = _newton_step(excitations, gradient, amplitude, likelihood, preconditioner)
        iterations, length = iterations + int(count), 1.0
        while length > SHORTEST_STEP:
            trial = excitations - length * step
            trial_value, trial_gradient = _value_and_gradient(trial, amplitude, likelihood, drawn)
            if trial_value <= value:
                break
            length *= 0.4
        else:
            return Found(excitations, float(value), 0.0, iterations)
        gain = float(value - trial_value)
        excitations, value, gradient = trial, trial_value, trial_gradient
        if gain < NEGLIGIBLE:
            break
    return Found(excitations, float(value), gain, iterations)


_value_and_gradient = jax.jit(jax.value_and_grad(energy))


class _Iteration(NamedTuple):
    """Of conjugate gradients, in Hestenes' and Stiefel's words."""

    solution: jax.Array
    residual: jax.Array
    direction: jax.Array
    product: jax.Array
    iterations: int | jax.Array
    small: int | jax.Array
    gained: float | jax.Array


@jax.jit
def _newton_step(
    excitations: jax.Array,
    gradient: jax.Array,
    amplitude: jax.Array,
    likelihood: Likelihood,
    preconditioner: CoarseInverse,
) -> tuple[jax.Array, jax.Array]:
    r"""Solve $(1 + J^T H J / \sigma^2)\,s = g$, $J = \mathrm{diag}(I)\, \mathcal{H} A$. Returns s and iterations."""
    sky = likelihood.sky(amplitude, excitations)
    precondition = partial(preconditioner, amplitude)

    def curvature(vector: jax.Array) -> jax.Array:
        brighter = sky * hartley(amplitude * vector)
        return vector + amplitude * hartley(sky * likelihood.operator(brighter)) / likelihood.sigma**2

    def iterate(now: _Iteration) -> _Iteration:
        curved = curvature(now.direction)
        length = now.product / jnp.vdot(now.direction, curved)
        residual = now.residual - length * curved
        preconditioned = precondition(residual)
        product = jnp.vdot(residual, preconditioned)
        gain = 0.5 * length * now.product
        gained = now.gained + gain
        return _Iteration(
            now.solution + length * now.direction,
            residual,
            preconditioned + product / now.product * now.direction,
            product,
            now.iterations + 1,
            jnp.where(gain < jnp.maximum(LAST_GAIN * gained, 0.05 * NEGLIGIBLE), now.small + 1, 0),
            gained,
        )

    def unfinished(now: _Iteration) -> jax.Array:
        return (now.small < 2) & (now.iterations < MOST_CONJUGATE_GRADIENT) & (now.product > 0)

    first = precondition(gradient)
    start = _Iteration(jnp.zeros_like(gradient), gradient, first, jnp.vdot(gradient, first), 0, 0, 0.0)
    last = jax.lax.while_loop(unfinished, iterate, start)
    return last.solution, jnp.asarray(last.iterations)
