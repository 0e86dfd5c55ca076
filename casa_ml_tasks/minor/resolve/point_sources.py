r"""Point sources beside the correlated field, whose fluxes need no trajectory: given the rest they are nearly Gaussian.

With the rest d of the sky, sources s of fluxes f and a flat prior of f, the probability of d is that of a likelihood
with $H' = H - C P^{-1} C^T$ and $r' = r - C P^{-1} r_s$ for the normal operator H and the residual r. C is the PSF
around each source, P that at the sources. Given d, the mean of f is $P^{-1} (r - H d)_s$, with the covariance
$\sigma^2 P^{-1}$. Skies and fluxes drawn like that are accepted with the ratio of the fluxes' prior, new over old
(Metropolis & Hastings), and so have the posterior with that prior: an inverse-gamma distribution,
$p(f) \propto f^{-\alpha - 1} e^{-q/f}$, which is a power law of source counts and never negative (Selig & Enßlin 2015,
A&A 574, A74). A source may lie between pixels: it is seen and shown by the signed pixels of its `Rendering`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter

from casa_ml_tasks.kernels.sub_pixel import Rendering
from casa_ml_tasks.minor.resolve.coarse_likelihood import width_of

DETECTED = 10.0  # noise sigma
MOST_SOURCES = 30
STEEPNESS = 0.5  # alpha
SCALE = 1.0  # q over the noise


class PointSources(NamedTuple):
    """Places that have flux of their own; there may be none.

    Attributes:
        rows, columns: pixels that show each source, (source, tap).
        patches: those of 1 Jy, (source, tap, tap).
        beams: of sources of 1 Jy there, (source, ny, nx), Jy/beam.
        inverse: $P^{-1}$, (source, source).
        seen: the dirty image there, (source,), Jy/beam.
    """

    rows: jax.Array
    columns: jax.Array
    patches: jax.Array
    beams: jax.Array
    inverse: jax.Array
    seen: jax.Array

    @classmethod
    def at(cls, places: Rendering, beams: NDArray[np.floating], dirty: NDArray[np.floating]) -> PointSources:
        """Return the point sources at some places.

        Args:
            places: of the sources, all different.
            beams: of sources of 1 Jy there, (source, ny, nx), Jy/beam.
            dirty: (ny, nx), Jy/beam.
        """
        inverse = np.linalg.inv(np.array([places.seen(beam) for beam in beams]).reshape(2 * (len(beams),)))
        arrays = places.rows, places.columns, places.patches()[0], beams, inverse, places.seen(dirty)
        return cls(*map(jnp.asarray, arrays))

    def at_sources(self, dirty: jax.Array) -> jax.Array:
        """Return what is seen at the sources, (source,), Jy/beam. dirty: (ny, nx), Jy/beam."""
        return jnp.einsum("syx,syx->s", self.patches, dirty[self.rows[:, :, None], self.columns[:, None]])

    @jax.jit
    def without(self, dirty: jax.Array) -> jax.Array:
        """Return what of a dirty image they cannot explain, (1, ny, nx), Jy/beam; without sources, of many images."""
        return dirty - jnp.tensordot(self.inverse @ self.at_sources(dirty[0]), self.beams, 1)

    def draw(self, dirty: jax.Array, sigma: jax.Array | float, noise: jax.Array) -> jax.Array:
        """Return fluxes drawn for the sources beside a sky, (source,), Jy, as if their prior were flat.

        Args:
            dirty: (1, ny, nx), Jy/beam.
            sigma: noise of the dirty image, Jy/beam.
            noise: standard normal numbers, (source,).
        """
        mean = self.inverse @ (self.seen - self.at_sources(dirty[0]))
        return mean + sigma * jnp.linalg.cholesky(self.inverse) @ noise


def log_prior(fluxes: jax.Array, sigma: jax.Array | float) -> jax.Array:
    """Return the logarithm of the prior of fluxes, (source,), Jy, up to a constant; sigma: noise, Jy/beam."""
    each = -(STEEPNESS + 1) * jnp.log(fluxes) - SCALE * sigma / fluxes
    return jnp.sum(jnp.where(fluxes > 0, each, -jnp.inf))


def standing_out(image: NDArray[np.floating], sigma: float, beam_area: float) -> NDArray[np.int64]:
    """Return the pixels y, x of the detected sources in an image of point sources, (source, 2).

    Args:
        image: which may spread a source between pixels over them.
        sigma: noise of the dirty image, Jy/beam.
        beam_area: solid angle of the CLEAN beam, pixels; within its width there is one source.
    """
    flux = 9 * uniform_filter(image.astype(float), 3, mode="constant")
    width = 1 + 2 * round(width_of(beam_area) / 2)
    is_source = (image == maximum_filter(image, width)) & (image > 0) & (flux > DETECTED * sigma)
    pixels = np.argwhere(is_source)
    return pixels[np.argsort(-flux[is_source], kind="stable")][:MOST_SOURCES]
