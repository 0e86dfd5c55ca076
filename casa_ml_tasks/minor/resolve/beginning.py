"""Where chains begin: at skies that show what a first image does, and are as rough as the prior in what it does not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.correlated_field import hartley
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position, mix
from casa_ml_tasks.minor.resolve.mass import Mass, Noise
from casa_ml_tasks.minor.resolve.spectrum import most_probable

TINY = 1e-9  # of the noise: above zero, which has no logarithm


def position_of(
    sky: LogNormalSky, planes: NDArray[np.floating], noise: NDArray, beam_area: float, darkest: NDArray
) -> Position:
    """Of planes that fade into the offset of the prior below the noise, with the spectra that suit them best.

    No data tell an empty pixel from a darker one. With the offset of a dark prior there, the edges of sources would
    be as high as that is dark, and the first spectra so rough that chains forget it in a hundred trajectories.

    Args:
        sky: of which they are planes.
        planes: (plane, ny, nx), Jy/pixel, not negative.
        noise: of a beam, spread over it, (plane, 1, 1), Jy/pixel; infinite for a plane that is not seen.
        beam_area: solid angle of the CLEAN beam, pixels.
        darkest: what takes the place of a lower offset, (plane, 1, 1), ln(Jy/pixel).
    """
    seen = planes**2 / (planes**2 + noise**2)
    empty = np.maximum(mix(sky.mixing, sky.offsets), darkest)
    shown = np.maximum(planes, TINY * np.where(np.isfinite(noise), noise, 1.0))
    log_planes = seen * np.log(shown) + (1 - seen) * empty
    coefficients = sky.coefficients(jnp.asarray(log_planes))
    spectrum = jnp.asarray(most_probable(sky, coefficients, float(seen.mean()), beam_area))
    return Position(coefficients / sky.amplitude(spectrum), spectrum)


@jax.jit
def fainter(sky: LogNormalSky, position: Position, mass: Mass, noise: Noise) -> Position:
    """A sky that is as rough as its spectra say where nothing is seen, but nowhere brighter.

    The logarithm of the brightness is lowered by the modulus of a random field, of the covariance that the `Mass` gives
    to what is not known; other fields have a random one added. A smooth beginning would have to become rough first,
    which takes long: chains find few modes of the finest scales excited, and hence a spectrum that lets them excite
    few.
    """
    unknown = hartley(mass.amplitude * mass.velocity(mass.momentum(noise)).excitations)
    change = [
        mix(basis.T, -jnp.abs(mix(basis, part))) / len(basis) if is_brightness else part
        for part, basis, is_brightness in sky.in_sets(unknown)
    ]
    excitations = hartley(jnp.concatenate(change)) / np.prod(sky.shape) / mass.amplitude
    return position._replace(excitations=position.excitations + excitations)
