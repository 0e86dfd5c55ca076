r"""Coordinates in which a sky and its spectra move freely of one another.

Where the data determine a mode, its coefficient $c = A(\theta)\,\xi$ is what they hold, and a spectrum $\theta$ moves
at fixed excitation $\xi$ no further than the noise; where they do not, it moves at fixed coefficient no further than so
many modes agree on it. In between is $x = \xi\,(A / A_0)^w$, with w from 0, the excitation, to 1, the coefficient
(Papaspiliopoulos, Roberts & Sköld 2003, Bayesian Statistics 7, 307).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position


class Centring(NamedTuple):
    """A position is in these coordinates where its `excitations` are x.

    Attributes:
        logarithm: of $A_0$, the amplitude of a mode in each ring, (field, rings).
        weight: w, (field, rings).
    """

    logarithm: jax.Array
    weight: jax.Array

    @classmethod
    def none(cls, sky: LogNormalSky, spectrum: jax.Array) -> Centring:
        """Of excitations; spectrum: whose amplitudes are $A_0$."""
        logarithm = sky.log_amplitude_of_rings(spectrum)
        return cls(logarithm, jnp.zeros_like(logarithm))

    def weighted(self, sky: LogNormalSky, known: NDArray[np.floating]) -> Centring:
        r"""With the weights with which a spectrum is held least.

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
        """From excitations to x."""
        return self._scaled(sky, position, self.weight)

    def leave(self, sky: LogNormalSky, position: Position) -> Position:
        """From x to excitations."""
        return self._scaled(sky, position, -self.weight)

    def prior_and_sky(self, sky: LogNormalSky, position: Position) -> tuple[jax.Array, jax.Array]:
        r"""Minus the logarithm of the prior, and the sky, (channel or term, ny, nx), Jy/pixel.

        $\frac12 |x (A_0 / A)^w|^2 + \sum_k w \ln (A / A_0) - \ln p(\theta)$ and $I(A^{1 - w} A_0^w x)$.
        """
        x, spectrum = position
        shift = self._shift(sky, spectrum)
        logarithms = jnp.concatenate([self.logarithm + (1 - self.weight) * shift, -2 * self.weight * shift])
        amplitude, excitation_squared = jnp.split(sky.of_modes(jnp.exp(logarithms)), 2)
        prior = 0.5 * jnp.vdot(x, excitation_squared * x) + sky.prior_of_spectra(spectrum)
        prior += self.log_volume(sky, spectrum)
        return prior, sky.images(jnp.exp(sky.log_planes(amplitude * x)))

    def log_volume(self, sky: LogNormalSky, spectrum: jax.Array) -> jax.Array:
        """Of x over that of excitations: what the energy has more in these coordinates."""
        return jnp.sum(self.weight * sky.modes.count * self._shift(sky, spectrum))

    def slope(self, sky: LogNormalSky, at: Position, direction: jax.Array) -> jax.Array:
        r"""$\partial c / \partial\theta$ at fixed x along a direction of the spectra's parameters, (field, ny, nx).

        at: with its excitations.
        """
        logarithm, along = jax.jvp(sky.log_amplitude_of_rings, (at.spectrum,), (direction,))
        return sky.of_modes((1 - self.weight) * along * jnp.exp(logarithm)) * at.excitations

    def _scaled(self, sky: LogNormalSky, position: Position, power: jax.Array) -> Position:
        """Its excitations times $(A / A_0)$ to that power, (field, rings)."""
        ratio = sky.of_modes(jnp.exp(power * self._shift(sky, position.spectrum)))
        return position._replace(excitations=ratio * position.excitations)

    def _shift(self, sky: LogNormalSky, spectrum: jax.Array) -> jax.Array:
        """$ln (A / A_0)$, (field, rings)."""
        return sky.log_amplitude_of_rings(spectrum) - self.logarithm
