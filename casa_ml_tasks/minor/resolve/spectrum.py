"""The power spectrum, given the field: what the data say of it is all in how strong the field's modes are."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField
from casa_ml_tasks.minor.resolve.leapfrog import Dynamics, follow, unit_curvature

MOST_ITERATIONS = 200  # of the search for the most probable spectrum
TRAJECTORIES, LEAPS, STEP = 5, 12, 0.25  # of a draw


def power_of_rings(field: CorrelatedField, coefficients: jax.Array) -> jax.Array:
    """Sum of squares in each ring of modes, (rings,). coefficients: amplitudes times excitations, (ny, nx)."""
    return jnp.zeros(field.modes.count.size).at[field.modes.ring].add(coefficients**2)


def spectral_energy(
    field: CorrelatedField, spectrum: jax.Array, power: jax.Array, seen: jax.Array | float = 1.0
) -> jax.Array:
    r"""$E(\theta) = \sum_k \left[\frac{c_k^2}{2 A_k(\theta)^2} + \ln A_k(\theta)\right] + |\theta|^2/2$.

    Minus the logarithm of the probability of a spectrum, given the coefficients $c = A\xi$ of the field (as the
    critical filter has it, Ensslin & Frommert 2011, Phys. Rev. D 83, 105014, here for a field without uncertainty).

    Args:
        field: with the prior of the spectrum.
        spectrum: (parameters,).
        power: of c, (rings,).
        seen: part of the field that has this power, (rings,), where the rest is not known.
    """
    logarithm, count = jnp.log(field.amplitude_of_rings(spectrum)), seen * field.modes.count
    misfit = jnp.sum(jnp.where(count > 0, 0.5 * power * jnp.exp(-2 * logarithm) + count * logarithm, 0))
    return misfit + 0.5 * jnp.vdot(spectrum, spectrum)


def most_probable(
    field: CorrelatedField, coefficients: jax.Array, part: float, beam_area: float
) -> NDArray[np.float64]:
    """The spectrum that suits what an image shows best, (parameters,).

    Args:
        field: with the prior of the spectrum.
        coefficients: of the logarithm of the image, (ny, nx), as if it were even where nothing is seen.
        part: of the image in which something is.
        beam_area: solid angle of the CLEAN beam, pixels; what is smaller is not seen either.
    """
    frequency = field.frequency_of_rings()
    resolved = jnp.exp(-np.pi * beam_area * frequency**2)
    power = resolved * power_of_rings(field, coefficients)
    value_and_gradient = jax.jit(jax.value_and_grad(partial(spectral_energy, field, seen=part * resolved)))

    def of_arrays(spectrum: NDArray[np.floating]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = value_and_gradient(jnp.asarray(spectrum), power)
        return float(value), np.asarray(gradient, float)

    start, options = np.zeros(field.parameters), {"maxiter": MOST_ITERATIONS}
    return np.asarray(scipy.optimize.minimize(of_arrays, start, jac=True, method="L-BFGS-B", options=options).x)


@partial(jax.jit, static_argnames="field")
def scale_of(field: CorrelatedField, spectrum: jax.Array) -> jax.Array:
    r"""T, (parameters, parameters): E is as curved as $|t|^2/2$ along $\theta = T t$, for c as strong as A."""
    slopes = jax.jacobian(lambda each: jnp.log(field.amplitude_of_rings(each)))(spectrum)
    return unit_curvature(2 * slopes.T @ (field.modes.count[:, None] * slopes))


@partial(jax.jit, static_argnames="field")
def draw(
    field: CorrelatedField, coefficients: jax.Array, spectrum: jax.Array, key: jax.Array, scale: jax.Array
) -> jax.Array:
    """A spectrum that suits the field, (parameters,), by trajectories of Hamiltonian Monte Carlo that see no data.

    Args:
        field: with the prior of the spectrum.
        coefficients: of the field, (ny, nx).
        spectrum: where to begin, (parameters,).
        key: of the random numbers.
        scale: as `scale_of` gives it.
    """
    power = power_of_rings(field, coefficients)

    def energy_and_slope(spectrum: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, slope = jax.value_and_grad(spectral_energy, argnums=1)(field, spectrum, power)
        return value, scale.T @ slope

    dynamics = Dynamics(energy_and_slope, lambda momentum: momentum, lambda velocity: scale @ velocity)

    def trajectory(start: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        of_momentum, rest = jax.random.split(key)
        momentum = jax.random.normal(of_momentum, start.shape)
        return follow(dynamics, start, momentum, STEP, LEAPS, rest).position, None

    return jax.lax.scan(trajectory, spectrum, jax.random.split(key, TRAJECTORIES))[0]
