"""The power spectrum, given the field: what the data say of it is all in how strong the field's modes are."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, Spectrum

MOST_ITERATIONS = 200


class SpectrumFit:
    r"""$E(\theta) = \sum_k \left[\frac{\langle c_k^2\rangle}{2 A_k(\theta)^2} + \ln A_k(\theta)\right] + |\theta|^2/2$.

    Minus the logarithm of the probability of the spectrum's parameters, given the coefficients $c = A\xi$ of the field,
    averaged over samples of the field: its minimum is the step of expectation maximisation that the critical filter
    takes (Ensslin & Frommert 2011, Phys. Rev. D 83, 105014).
    """

    def __init__(self, field: CorrelatedField):
        """field: with the prior of the spectrum."""
        self._modes = field.modes
        vector, self._named = ravel_pytree(field.expected_spectrum())
        self.size = vector.size

        def energy(vector: jax.Array, power: jax.Array) -> jax.Array:
            amplitude = field.amplitude_of_rings(self._named(vector))
            counts = field.modes.count
            misfit = jnp.sum(jnp.where(counts > 0, 0.5 * power / amplitude**2 + counts * jnp.log(amplitude), 0))
            return misfit + 0.5 * jnp.vdot(vector, vector)

        self.energy = jax.jit(energy)
        self._value_and_gradient = jax.jit(jax.value_and_grad(energy))

    def named(self, vector: NDArray[np.floating]) -> Spectrum:
        """The parameters that a vector holds, (size,)."""
        return self._named(jnp.asarray(vector))

    def power(self, coefficients: NDArray[np.floating]) -> NDArray[np.float64]:
        """Sum of squares in each ring of modes, (rings,), mean over samples. coefficients: (sample, ny, nx)."""
        squares = np.mean(np.square(coefficients), axis=0)
        return np.bincount(self._modes.ring.ravel(), squares.ravel(), self._modes.count.size).astype(float)

    def most_probable(
        self, power: NDArray[np.floating], start: NDArray[np.floating], iterations: int = MOST_ITERATIONS
    ) -> NDArray[np.float64]:
        """The parameters of least energy, (size,). power: as `power` gives it; start: (size,)."""
        function = partial(self._of_arrays, jnp.asarray(power))
        options = {"maxiter": iterations}
        return np.asarray(scipy.optimize.minimize(function, start, jac=True, method="L-BFGS-B", options=options).x)

    def _of_arrays(self, power: jax.Array, vector: NDArray[np.floating]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = self._value_and_gradient(jnp.asarray(vector), power)
        return float(value), np.asarray(gradient, float)
