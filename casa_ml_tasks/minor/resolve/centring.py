r"""Coordinates in which a sky and its spectra move freely of one another, and of what the data hold.

Where the data determine a mode, its coefficient $c = A(\theta)\,\xi$ is what they hold, and a spectrum $\theta$ moves
at fixed excitation $\xi$ no further than the noise; where they do not, it moves at fixed coefficient no further than so
many modes agree on it. In between is $x = \xi\,(A / A_0)^w$, with w from 0, the excitation, to 1, the coefficient
(Papaspiliopoulos, Roberts & Sköld 2003, Bayesian Statistics 7, 307).

Nor is it c alone that they hold, but the brightness that they resolve, which depends on finer modes too. So the
coefficients in x are $c' = c + w\,s$ with s of `CoarseBrightness`. It depends on fine modes alone and is added to
coarse modes alone, so that it leaves the volume as it is and is as easily taken away (Dinh, Krueger & Bengio 2014,
arXiv:1410.8516): $x = c' A_0^{-w} A^{w - 1}$.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.coarse_brightness import CoarseBrightness
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position


class Centring(NamedTuple):
    """Coordinates x of the fields, which take the place of the excitations in a position.

    Attributes:
        logarithm: of $A_0$, the amplitude of a mode in each ring, (field, rings).
        weight: w, (field, rings).
        brightness: of which s is.
    """

    logarithm: jax.Array
    weight: jax.Array
    brightness: CoarseBrightness

    @classmethod
    def none(cls, sky: LogNormalSky, spectrum: jax.Array, brightness: CoarseBrightness | None = None) -> Centring:
        """Return the coordinates that are the excitations; spectrum: whose amplitudes are $A_0$, (parameters,)."""
        logarithm = sky.log_amplitude_of_rings(spectrum)
        return cls(logarithm, jnp.zeros_like(logarithm), brightness or CoarseBrightness.none(sky))

    def weighted(self, sky: LogNormalSky, known: NDArray[np.floating]) -> Centring:
        r"""Return the coordinates in which the data and the prior hold a spectrum least.

        A change $\delta$ of the logarithm of A costs $\frac12 r (1 - w)^2 \delta^2$ for each mode by the data, and
        $\frac12 2 w^2 \delta^2$ by the prior. The sum is least at $w = r / (r + 2)$.

        Args:
            sky: of these fields.
            known: r, curvature of the likelihood in the excitation of each mode, (field, ny, nx).
        """
        rings, count = sky.modes.ring.ravel(), np.maximum(sky.modes.count, 1)
        of_rings = np.array([np.bincount(rings, each.ravel()) for each in known]) / count
        return self._replace(weight=jnp.asarray(of_rings / (of_rings + 2)))

    def enter(self, sky: LogNormalSky, position: Position) -> Position:
        """Return the position in these coordinates; position: with its excitations."""
        coefficients = self.with_brightness(sky, sky.amplitude(position.spectrum) * position.excitations)
        return position._replace(excitations=coefficients / self._amplitude(sky, position.spectrum))

    def leave(self, sky: LogNormalSky, position: Position) -> Position:
        """Return the position with its excitations; position: in these coordinates."""
        coefficients = self.without_brightness(sky, self._amplitude(sky, position.spectrum) * position.excitations)
        return position._replace(excitations=coefficients / sky.amplitude(position.spectrum))

    def with_brightness(self, sky: LogNormalSky, coefficients: jax.Array) -> jax.Array:
        """Return c' of c, (field, ny, nx) both."""
        return coefficients + self._shift(sky, coefficients)

    def without_brightness(self, sky: LogNormalSky, coefficients: jax.Array) -> jax.Array:
        """Return c of c', (field, ny, nx) both."""
        return coefficients - self._shift(sky, coefficients)

    def prior_and_sky(self, sky: LogNormalSky, position: Position) -> tuple[jax.Array, jax.Array]:
        r"""Return minus the logarithm of the prior, and the sky, (channel or term, ny, nx), Jy/pixel.

        $\frac12 |c / A|^2 + \sum_k w \ln (A / A_0) - \ln p(\theta)$ and $I(c)$.
        """
        x, spectrum = position
        logarithm = sky.log_amplitude_of_rings(spectrum)
        logarithms = jnp.concatenate([self._log_amplitude(sky, spectrum), -2 * logarithm])
        amplitude, inverse_power = jnp.split(sky.of_modes(jnp.exp(logarithms)), 2)
        coefficients = self.without_brightness(sky, amplitude * x)
        prior = 0.5 * jnp.vdot(coefficients, inverse_power * coefficients) + sky.prior_of_spectra(spectrum)
        prior += self.log_volume(sky, spectrum)
        return prior, sky.images(jnp.exp(sky.log_planes(coefficients)))

    def log_volume(self, sky: LogNormalSky, spectrum: jax.Array) -> jax.Array:
        """Return the logarithm of the volume of x over that of excitations, by which the energies in them differ."""
        change = sky.log_amplitude_of_rings(spectrum) - self.logarithm
        return jnp.sum(self.weight * sky.modes.count * change)

    def slope(self, sky: LogNormalSky, at: Position, direction: jax.Array) -> tuple[jax.Array, jax.Array]:
        r"""Return $\partial c' / \partial\theta$ and $\partial c / \partial\theta$ at fixed x, (field, ny, nx) both.

        Args:
            sky: of the position.
            at: with its excitations.
            direction: of the spectra's parameters, (parameters,).
        """
        _, along = jax.jvp(sky.log_amplitude_of_rings, (at.spectrum,), (direction,))
        inside = self.with_brightness(sky, sky.amplitude(at.spectrum) * at.excitations)
        slope = sky.of_modes((1 - self.weight) * along) * inside
        return slope, jax.jvp(lambda now: self.without_brightness(sky, now), (inside,), (slope,))[1]

    def _shift(self, sky: LogNormalSky, coefficients: jax.Array) -> jax.Array:
        """Return w s, (field, ny, nx), of the fine modes of c, (field, ny, nx), whatever its coarse modes are."""
        return sky.of_modes(self.weight) * self.brightness.of_fine_modes(sky, coefficients)

    def _amplitude(self, sky: LogNormalSky, spectrum: jax.Array) -> jax.Array:
        """Return $A^{1 - w} A_0^w$, (field, ny, nx)."""
        return sky.of_modes(jnp.exp(self._log_amplitude(sky, spectrum)))

    def _log_amplitude(self, sky: LogNormalSky, spectrum: jax.Array) -> jax.Array:
        return (1 - self.weight) * sky.log_amplitude_of_rings(spectrum) + self.weight * self.logarithm
