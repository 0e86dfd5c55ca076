"""Regularisers for skies that change little from pixel to pixel, or from channel to channel."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel


def _squared_gradient(image: jax.Array) -> jax.Array:
    r"""$|\nabla I|^2$ by forward differences, zero across the far edges; (..., y, x)."""
    along_y = jnp.diff(image, axis=-2, append=image[..., -1:, :])
    along_x = jnp.diff(image, axis=-1, append=image[..., :, -1:])
    return along_y**2 + along_x**2


def _next_channel_minus_this(image: jax.Array) -> jax.Array:
    """Shaped like the image; zero in the last channel, and everywhere for an image of no channels."""
    if image.ndim < 3:
        return jnp.zeros_like(image)
    return jnp.diff(image, axis=-3, append=image[..., -1:, :, :])


def total_squared_variation(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Smoothness: $10^{-3} \sum |\nabla I|^2 / \sigma^2$ (Kuramochi et al. 2018, ApJ 858, 56)."""
    return 1e-3 * jnp.sum(_squared_gradient(image) / noise.sigma**2)


def total_variation(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Flat pieces with sharp edges: $0.3 \sum (\sqrt{|\nabla I|^2 + \epsilon^2} - \epsilon) / \sigma$.

    Isotropic (Rudin, Osher & Fatemi 1992), rounded off below the floor $\epsilon$ so that it has a gradient everywhere.
    """
    return 0.3 * jnp.sum((jnp.sqrt(_squared_gradient(image) + noise.floor**2) - noise.floor) / noise.sigma)


def total_squared_variation_of_channels(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Smooth spectra: $10^{-3} \sum_c \sum (I_{c+1} - I_c)^2 / \sigma_c^2$ (Kuramochi et al. 2018, along frequency).

    Zero for a lone channel.
    """
    return 1e-3 * jnp.sum((_next_channel_minus_this(image) / noise.sigma) ** 2)


def total_variation_of_channels(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Spectra of flat pieces: $0.3 \sum_c \sum (\sqrt{(I_{c+1} - I_c)^2 + \epsilon_c^2} - \epsilon_c) / \sigma_c$.

    Total variation (Rudin, Osher & Fatemi 1992) along frequency: lines keep their edges. Zero for a lone channel.
    """
    difference = _next_channel_minus_this(image)
    return 0.3 * jnp.sum((jnp.sqrt(difference**2 + noise.floor**2) - noise.floor) / noise.sigma)


def laplacian(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Smooth slopes: $0.1 \sum (\Delta I)^2 / \sigma^2$, with the five-point Laplacian, edges replicated.

    Of second order: a slope costs nothing, a bend does (Phillips 1962, J. ACM 9, 84; Twomey 1963, J. ACM 10, 97).
    """
    padded = jnp.pad(image, [(0, 0)] * (image.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    along_y = padded[..., 2:, 1:-1] - 2 * image + padded[..., :-2, 1:-1]
    along_x = padded[..., 1:-1, 2:] - 2 * image + padded[..., 1:-1, :-2]
    return 0.1 * jnp.sum((along_y + along_x) ** 2 / noise.sigma**2)


def log_smoothness(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Smoothness of the logarithm: $\sum |\nabla \ln(I + \epsilon)|^2$.

    Penalises relative, not absolute, differences, so bright and faint emission are treated alike; emission far below
    the floor $\epsilon$ costs nothing. For non-negative images only. Where an image E is expected, it is the smoothness
    of $\ln \frac{I + \epsilon}{E + \epsilon}$.
    """
    logarithm = jnp.log(image + noise.floor)
    if noise.expected is not None:
        logarithm -= jnp.log(noise.expected + noise.floor)
    return jnp.sum(_squared_gradient(logarithm))


def power_spectrum(image: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""A Gaussian process: $10^{-2} \sum_q |\tilde I_q|^2 / (2 P(q) \sigma^2)$, $P(q) = (1 + (q/q_b)^2)^{-2}$.

    $\tilde I$ is the unitary Fourier transform, $\sum |\tilde I_q|^2 = \sum I^2$, and $q_b$ the frequency that the beam
    resolves: amplitudes may be large on scales above the beam and fall as $q^{-2}$ below it (the log of a Gaussian
    prior; Wiener 1949; Junklewitz et al. 2016, A&A 586, A76). The image is taken as periodic.
    """
    ny, nx = image.shape[-2:]
    frequency = jnp.hypot(jnp.fft.fftfreq(ny)[:, None], jnp.fft.rfftfreq(nx))
    inverse_power = (1 + (frequency / noise.resolved_frequency) ** 2) ** 2
    whitened = jnp.fft.irfft2(jnp.fft.rfft2(image) * inverse_power, s=(ny, nx))
    return 1e-2 * jnp.sum(image * whitened / (2 * noise.sigma**2))
