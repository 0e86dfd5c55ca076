"""The power spectra, given the fields, of which only the power of the modes matters."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky
from casa_ml_tasks.sampling.leapfrog import Dynamics, trajectory, unit_curvature

MOST_ITERATIONS = 200  # of the search for the most probable spectrum
TRAJECTORIES, LEAPS, STEP = 20, 10, 0.2  # of a draw
NOTHING = 1e-12  # of the power of another field: rounding


@jax.jit
def power_of_rings(sky: LogNormalSky, coefficients: jax.Array) -> jax.Array:
    """Return the sum of squares in each ring of modes, (field, rings). coefficients: (field, ny, nx)."""
    zeros = jnp.zeros((len(coefficients), sky.modes.count.size))
    return zeros.at[:, sky.modes.ring].add(coefficients**2)


def spectral_energy(sky: LogNormalSky, spectrum: jax.Array, power: jax.Array) -> jax.Array:
    r"""Return $E(\theta) = \sum_k \left[\frac{c_k^2}{2 A_k(\theta)^2} + \ln A_k(\theta)\right] - \ln p(\theta)$.

    Minus the logarithm of the probability of the spectra, given the coefficients $c = A\xi$ of the fields (as the
    critical filter has it, Ensslin & Frommert 2011, Phys. Rev. D 83, 105014, here for fields without uncertainty).

    Args:
        sky: with the prior of the spectra.
        spectrum: (parameters,).
        power: of c, (field, rings).
    """
    return _misfit(sky, spectrum, power) + sky.prior_of_spectra(spectrum)


def _misfit(sky: LogNormalSky, spectrum: jax.Array, power: jax.Array, seen: jax.Array | float = 1.0) -> jax.Array:
    """Return the sum in E; seen: part of the fields that has this power, (field or 1, rings), the rest is not known."""
    logarithm, count = sky.log_amplitude_of_rings(spectrum), seen * sky.modes.count
    return jnp.sum(jnp.where(count > 0, 0.5 * power * jnp.exp(-2 * logarithm) + count * logarithm, 0))


def most_probable(sky: LogNormalSky, coefficients: jax.Array, part: float, beam_area: float) -> NDArray[np.float64]:
    """Return the spectra that suit best what an image shows, of the most probable `standard` numbers, (parameters,).

    Args:
        sky: with the prior of the spectra.
        coefficients: of the fields, (field, ny, nx), as if they were even where nothing is seen.
        part: of the image in which something is.
        beam_area: solid angle of the CLEAN beam, pixels; what is smaller is not seen either.
    """
    resolved = np.exp(-np.pi * beam_area * sky.modes.frequency_of_rings() ** 2)
    power = resolved * np.asarray(power_of_rings(sky, coefficients))
    of_fields = power.sum(axis=1, keepdims=True)
    shown = of_fields > NOTHING * of_fields.max()  # a field that no image shows may be anything
    seen = part * resolved * shown

    def of_arrays(standard: NDArray[np.floating]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = _energy_of_standard(jnp.asarray(standard), sky, power, seen)
        return float(value), np.asarray(gradient, float)

    start, options = np.zeros(sky.parameters), {"maxiter": MOST_ITERATIONS}
    found = scipy.optimize.minimize(of_arrays, start, jac=True, method="L-BFGS-B", options=options).x
    return np.asarray(sky.spectrum(jnp.asarray(found)))


@jax.jit
@jax.value_and_grad
def _energy_of_standard(standard: jax.Array, sky: LogNormalSky, power: jax.Array, seen: jax.Array) -> jax.Array:
    """Return the energy of the spectra of standard normal numbers."""
    return _misfit(sky, sky.spectrum(standard), power, seen) + 0.5 * jnp.vdot(standard, standard)


@jax.jit
def curvature(sky: LogNormalSky, spectrum: jax.Array, modes: jax.Array | NDArray[np.floating]) -> jax.Array:
    r"""Return the curvature of the sum in E, (parameters, parameters), for c as strong as A.

    It is $2 \sum_k n_k\, \partial_\theta \ln A_k\, \partial_\theta \ln A_k$.

    modes: n, (field, rings), how many are at fixed coefficients; w^2 for each in coordinates of a `Centring`.
    """
    slopes = jax.jacobian(sky.log_amplitude_of_rings)(spectrum)
    return 2 * jnp.einsum("frs,fr,frt->st", slopes, modes, slopes)


def scale_of(sky: LogNormalSky, spectrum: jax.Array) -> NDArray[np.float64]:
    r"""Return T, (parameters, parameters), so that E is as curved as $|t|^2/2$ along $\theta = T t$, for c like A."""
    of_sum = curvature(sky, spectrum, np.broadcast_to(sky.modes.count, (len(sky.offsets), sky.modes.count.size)))
    return unit_curvature(np.asarray(of_sum), np.asarray(sky.curvature_of_prior(spectrum)))


def draw(
    sky: LogNormalSky,
    coefficients: jax.Array,
    spectrum: jax.Array,
    generator: np.random.Generator,
    scale: NDArray[np.float64],
) -> jax.Array:
    """Return spectra that suit the fields, (parameters,), drawn by Hamiltonian Monte Carlo that sees no data.

    Args:
        sky: with the prior of the spectra.
        coefficients: of the fields, (field, ny, nx).
        spectrum: where to begin, (parameters,).
        generator: of the random numbers.
        scale: as `scale_of` gives it.
    """
    momenta, chances = generator.standard_normal((TRAJECTORIES, len(spectrum))), generator.random((TRAJECTORIES, 2))
    return _drawn(sky, coefficients, spectrum, momenta, chances, scale)


@jax.jit
def _drawn(
    sky: LogNormalSky,
    coefficients: jax.Array,
    spectrum: jax.Array,
    momenta: jax.Array,
    chances: jax.Array,
    scale: jax.Array,
) -> jax.Array:
    power = power_of_rings(sky, coefficients)

    def energy(spectrum: jax.Array) -> jax.Array:
        return spectral_energy(sky, spectrum, power)

    def slope(spectrum: jax.Array) -> jax.Array:
        return scale.T @ jax.grad(energy)(spectrum)

    dynamics = Dynamics(energy, slope, lambda momentum: momentum, lambda velocity: scale @ velocity)

    def move(start: jax.Array, random: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        momentum, chance = random
        return trajectory(dynamics, start, momentum, STEP, LEAPS, chance).position, None

    return jax.lax.scan(move, spectrum, (momenta, chances))[0]
