"""Where chains begin: at skies that show what a first image does, and are as rough as the prior in what it does not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, hartley
from casa_ml_tasks.minor.resolve.energy import Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.spectrum import most_probable

TINY = 1e-9  # of the noise: above zero, which has no logarithm


def position_of(field: CorrelatedField, image: NDArray[np.floating], noise: float, beam_area: float) -> Position:
    """Of an image that fades into the offset of the prior below the noise, with the spectrum that suits it best.

    Args:
        field: the model of the sky.
        image: (ny, nx), Jy/pixel, not negative.
        noise: of a beam, spread over it, Jy/pixel.
        beam_area: solid angle of the CLEAN beam, pixels.
    """
    seen = image**2 / (image**2 + noise**2)
    log_sky = seen * np.log(np.maximum(image, TINY * noise)) + (1 - seen) * field.prior.offset
    coefficients = field.coefficients(jnp.asarray(log_sky))
    spectrum = jnp.asarray(most_probable(field, coefficients, float(seen.mean()), beam_area))
    return Position(coefficients / field.amplitude(spectrum), spectrum)


def fainter(position: Position, mass: Mass, key: jax.Array) -> Position:
    """A sky that is as rough as its spectrum says where nothing is seen, but nowhere brighter.

    The logarithm is lowered by the modulus of a random field, of the covariance that the `Mass` gives to what is not
    known. A smooth beginning would have to become rough first, which takes long: chains find few modes of the finest
    scales excited, and hence a spectrum that lets them excite few.
    """
    unknown = hartley(mass.amplitude * mass.velocity(mass.draw(key)).excitations)
    lower = hartley(jnp.abs(unknown)) / unknown.size / mass.amplitude
    return position._replace(excitations=position.excitations - lower)
