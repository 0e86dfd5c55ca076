"""Regularisers for skies that need few numbers: few pixels, few wavelets, few spatial frequencies."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel

B3_SPLINE = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
MOST_SCALES = 5


def magnitude(image: jax.Array) -> jax.Array:
    """|I| with slope +1 at zero, where jnp.abs would have none."""
    return jnp.where(image < 0, -image, image)


def l1(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Sparsity: $\sum |I| / \sigma$, or $\sum p |I| / \sigma$ with $p = 3 / (1 + 2 \Omega E / \sigma)$.

    Strength 1 asks of every pixel that holds flux a gain of one sigma in the residual (Tibshirani 1996; Honma et al.
    2014, PASJ 66, 95). Where an image E is expected, it asks for three where E is empty and for little where E is
    bright; the beam has the solid angle $\Omega$.
    """
    price = 1.0 if noise.expected is None else 3 / (1 + 2 * noise.beam_area * noise.expected / noise.sigma)
    return jnp.sum(price * magnitude(image) / noise.sigma)


def reweighted_l1(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Sparsity that spares the bright: $\sum \epsilon \ln(1 + |I| / \epsilon) / \sigma$.

    l1 below the floor $\epsilon$, but its price of a Jansky falls as $1 / |I|$ above it, so that bright emission keeps
    its flux: the function that reweighted l1 minimises (Candes, Wakin & Boyd 2008, J. Fourier Anal. Appl. 14, 877;
    Carrillo, McEwen & Wiaux 2012, MNRAS 426, 1223). Not convex.
    """
    return jnp.sum(noise.floor * jnp.log1p(magnitude(image) / noise.floor) / noise.sigma)


def points(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""The price of point sources: $\sum P / \sigma + 2 \sum 5 \ln(1 + P / (5 \sigma))$.

    For the non-negative component P that holds the point sources of a sky of points and extended emission (Giovannelli
    & Coulais 2005, A&A 439, 401). A point pays what l1 asks, and the logarithm of `reweighted_l1` for being one: more
    than a pixel of a smooth source pays, less than `log_smoothness` asks for a lone bright pixel.
    """
    return jnp.sum(image / noise.sigma + 10 * jnp.log1p(image / (5 * noise.sigma)))


def starlet(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Few structures of few sizes: $0.3 \sum_{j=1}^J \sum (\sqrt{w_j^2 + \epsilon^2} - \epsilon) / \sigma$.

    $w_j = c_{j-1} - c_j$ are the isotropic undecimated wavelets: $c_0 = I$, and $c_j$ is $c_{j-1}$ smoothed with the
    B3 spline whose five weights lie $2^{j-1}$ pixels apart, edges replicated (Starck, Fadili & Murtagh 2007, IEEE
    Trans. Image Process. 16, 297). The coarsest $c_J$ is free. J is 5, or less where the image is smaller than 128.
    """
    smaller_side = min(image.shape[-2:])
    scales = max(1, min(MOST_SCALES, math.floor(math.log2(smaller_side)) - 2))
    total = jnp.zeros(())
    for scale in range(scales):
        smooth = _smoothed(image, 2**scale)
        wavelets = image - smooth
        total += jnp.sum((jnp.sqrt(wavelets**2 + noise.floor**2) - noise.floor) / noise.sigma)
        image = smooth
    return 0.3 * total


def _smoothed(image: jax.Array, spacing: int) -> jax.Array:
    """Both axes convolved with the B3 spline, its weights `spacing` pixels apart."""
    spline = jnp.asarray(B3_SPLINE, image.dtype)[None, None]
    for axis in (-1, -2):
        lines = jnp.moveaxis(image, axis, -1)
        padding = [(0, 0), (0, 0), (2 * spacing, 2 * spacing)]
        padded = jnp.pad(lines.reshape(-1, 1, lines.shape[-1]), padding, mode="edge")
        smooth = jax.lax.conv_general_dilated(padded, spline, (1,), "VALID", rhs_dilation=(spacing,))
        image = jnp.moveaxis(smooth.reshape(lines.shape), -1, axis)
    return image


def uv_sparsity(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Little beyond the beam: $0.3 \sum_{|q| > q_b} (\sqrt{|\tilde I_q|^2 + \epsilon^2} - \epsilon) / \sigma$.

    $\tilde I$ is the unitary Fourier transform of the image and $q_b$ the frequency that the beam resolves: what the
    baselines have not seen is small unless the data ask for it (MPoL's `UV_sparsity`: Czekala et al. 2021,
    doi:10.5281/zenodo.3594081). Rounded off below the floor $\epsilon$.
    """
    ny, nx = image.shape[-2:]
    frequency = jnp.hypot(jnp.fft.fftfreq(ny)[:, None], jnp.fft.fftfreq(nx))
    spectrum = jnp.fft.fft2(image, norm="ortho")
    power = spectrum.real**2 + spectrum.imag**2
    amplitudes = (jnp.sqrt(power + noise.floor**2) - noise.floor) / noise.sigma
    return 0.3 * jnp.sum(jnp.where(frequency > noise.resolved_frequency, amplitudes, 0))
