"""Random spectra of single sources: lines on a sloped continuum in noise, drawn by JAX inside a compiled step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

MOST_LINES = 3
LINE_FREE = 0.4  # share of the spectra
DOUBLE = 0.3  # share of the lines that have two horns
FWHM = (2.0, 40.0)  # channels; at most half the spectrum
SNR = (3.0, 60.0)  # of the matched filter
BRIGHTEST_CONTINUUM = 40.0  # units of the noise
STEEPEST = 0.6  # change of the continuum over the spectrum, share of its mean
UNEVEN = 0.3  # share of the spectra whose noise changes along the spectrum


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Lines:
    """True lines, arrays (..., line).

    Attributes:
        centre: channels.
        fwhm: channels; between the outer edges of two horns.
        snr: peak of the matched filter in the noise, all channels seen; 0 where there is no line.
    """

    centre: jax.Array
    fwhm: jax.Array
    snr: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Spectrum:
    """A spectrum and its truth.

    Attributes:
        flux: (..., channel).
        error: 1 sigma, (..., channel); infinite in channels that were not observed.
        lines: the truth.
        clean: line and continuum without noise, (..., channel).
    """

    flux: jax.Array
    error: jax.Array
    lines: Lines
    clean: jax.Array


def gaussian(offset: jax.Array, fwhm: jax.Array) -> jax.Array:
    """Return a Gaussian with the peak 1 at so many channels from its centre."""
    return jnp.exp(-4 * jnp.log(2.0) * (offset / fwhm) ** 2)


def two_horns(offset: jax.Array, fwhm: jax.Array, horns: jax.Array, steepness: jax.Array) -> jax.Array:
    r"""Return the profile of a rotating disk, the symmetric busy function (Westmeier et al. 2014, MNRAS 438, 1176).

    $\frac14 (1 + \mathrm{erf}(s(1 + u)))(1 + \mathrm{erf}(s(1 - u)))(1 + h u^2)$ with $u = 2 z / w$.

    Args:
        offset: z, channels from the centre.
        fwhm: w, channels between the edges.
        horns: h, how much higher the horns are than the middle.
        steepness: s, of the edges.
    """
    u = 2 * offset / fwhm
    edges = (1 + jax.lax.erf(steepness * (1 + u))) * (1 + jax.lax.erf(steepness * (1 - u))) / 4
    return edges * (1 + horns * u**2)


def draw_spectrum(key: jax.Array, length: int, shortest: int) -> Spectrum:
    """Draw a spectrum in units of the typical noise.

    Args:
        key: of the random numbers.
        length: channels of the arrays.
        shortest: the spectrum has this many channels or more; those behind it were not observed.
    """
    keys = iter(jax.random.split(key, 20))
    uniform = partial(jax.random.uniform, dtype=float)
    n = jax.random.randint(next(keys), (), shortest, length + 1)
    z = jnp.arange(length)
    count = jax.random.randint(next(keys), (), 1, MOST_LINES + 1)
    count = jnp.where(uniform(next(keys)) < LINE_FREE, 0, count)
    lines = (MOST_LINES,)
    fwhm = _log_uniform(next(keys), lines, FWHM[0], jnp.minimum(FWHM[1], n / 2))
    snr = jnp.where(jnp.arange(MOST_LINES) < count, _log_uniform(next(keys), lines, *SNR), 0.0)
    centre = uniform(next(keys), lines) * n
    doubled = (uniform(next(keys), lines) < DOUBLE) & (fwhm > 5)
    horns = uniform(next(keys), lines, maxval=3.0)
    steepness = uniform(next(keys), lines, minval=2.0, maxval=6.0)
    offset = z[:, None] - centre
    shapes = jnp.where(doubled, two_horns(offset, fwhm, horns, steepness), gaussian(offset, fwhm))
    # The norm over a wider range, so that a line at the edge is as bright as it would be elsewhere.
    wide = jnp.arange(-FWHM[1], FWHM[1] + 1)[:, None]
    norms = jnp.where(doubled, two_horns(wide, fwhm, horns, steepness), gaussian(wide, fwhm))
    amplitude = snr / jnp.sqrt(jnp.sum(norms**2, 0))
    level = _log_uniform(next(keys), (), 0.1, BRIGHTEST_CONTINUUM)
    slope = uniform(next(keys), minval=-STEEPEST, maxval=STEEPEST) * (z / n - 0.5)
    clean = shapes @ amplitude + level * (1 + slope)
    error = jnp.where(_observed(next(keys), z, n), _noise_along(next(keys), z / n), jnp.inf)
    noise = jnp.where(jnp.isfinite(error), error, 0.0) * jax.random.normal(next(keys), (length,))
    flux = jnp.where(jnp.isfinite(error), clean + noise, 0.0)
    return Spectrum(flux, error, Lines(centre, fwhm, snr), clean)


@partial(jax.jit, static_argnums=(1, 2, 3))
def draw_spectra(key: jax.Array, batch: int, length: int, shortest: int) -> Spectrum:
    """Draw a batch of spectra; see `draw_spectrum`."""
    return jax.vmap(lambda each: draw_spectrum(each, length, shortest))(jax.random.split(key, batch))


def _log_uniform(key: jax.Array, shape: tuple[int, ...], low: jax.Array | float, high: jax.Array | float) -> jax.Array:
    return low * (high / low) ** jax.random.uniform(key, shape)


def _observed(key: jax.Array, z: jax.Array, n: jax.Array) -> jax.Array:
    """Return which channels were observed: in three of ten spectra a block of up to a tenth of them is blanked."""
    place, width, whether = jax.random.uniform(key, (3,))
    blanked = jnp.abs(z - place * n) < jnp.where(whether < 0.3, 0.05 * width * n, 0.0)
    return (z < n) & ~blanked


def _noise_along(key: jax.Array, share: jax.Array) -> jax.Array:
    """Return the noise of each channel: 1, or a wave around it as the atmosphere's lines leave it."""
    whether, depth, cycles, phase = jax.random.uniform(key, (4,))
    wave = jnp.exp(0.5 * depth * jnp.sin(2 * jnp.pi * (2 * cycles * share + phase)))
    return jnp.where(whether < UNEVEN, wave, 1.0)
