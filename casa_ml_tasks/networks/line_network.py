"""The network for spectra: it says which channels have a line, whatever their number, continuum and noise."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from casa_ml_tasks.simulation.random_spectra import gaussian

WIDTHS = tuple(float(width) for width in np.geomspace(2, 45.25, 10))  # FWHM of the matched filters, channels
DILATIONS = (1, 2, 4, 8, 16, 32)
SIZE = 5  # of the kernels, channels
RARE = -2.0  # logit of a line in a channel, before training
FEATURES = 8  # of a candidate, for the probability that it is a line
SHORTEST = 64  # channels; spectra are padded to powers of two from here, so that few programs are compiled


class Convolution(eqx.Module):
    """A convolution along the spectrum that keeps its length.

    Attributes:
        weight: (size, input, output).
        bias: (output,).
    """

    weight: jax.Array
    bias: jax.Array

    def __init__(self, inputs: int, outputs: int, size: int, key: jax.Array):
        """Draw the weights (He et al. 2015, arXiv 1502.01852). inputs, outputs, size: as above."""
        self.weight = jax.random.normal(key, (size, inputs, outputs)) * jnp.sqrt(2 / (size * inputs))
        self.bias = jnp.zeros(outputs)

    def __call__(self, spectra: jax.Array, dilation: int = 1) -> jax.Array:
        """Return (batch, channel, output). spectra: (batch, channel, input)."""
        return _convolve(spectra, self.weight, dilation) + self.bias


class LineNetwork(eqx.Module):
    """Dilated convolutions (Yu & Koltun 2016, arXiv 1511.07122) of the spectrum beside its matched filters.

    Attributes:
        first, body, last: the layers.
        decision: (FEATURES,), of the logistic regression that `sources.line_probability` fits afterwards; the gradient
            does not see it.
    """

    first: Convolution
    body: list[Convolution]
    last: Convolution
    decision: jax.Array

    def __init__(self, key: jax.Array, width: int = 32):
        """Draw the weights. width: channels of the layers."""
        keys = jax.random.split(key, len(DILATIONS) + 2)
        self.first = Convolution(len(WIDTHS) + 2, width, SIZE, keys[0])
        self.body = [Convolution(width, width, SIZE, each) for each in keys[2:]]
        last = jax.tree.map(lambda array: 0.3 * array, Convolution(width, 2, 1, keys[1]))
        self.last = eqx.tree_at(lambda layer: layer.bias, last, jnp.full(2, RARE))
        self.decision = jnp.zeros(FEATURES)

    def __call__(self, flux: jax.Array, error: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the logits that a channel lies in the range of a line, centre +- FWHM, and in its core, +- 0.4 FWHM.

        Args:
            flux: (batch, channel), in any unit.
            error: 1 sigma, (batch, channel), same unit; infinite or not a number in channels to ignore.

        Returns:
            Two arrays (batch, channel).
        """
        valid = jnp.isfinite(flux) & jnp.isfinite(error) & (error > 0)
        error = jnp.where(valid, error, 1.0)
        inverse = jnp.where(valid, 1 / error, 0.0)
        signal = jnp.where(valid, flux, 0.0) * inverse
        signal = signal - robust_continuum(signal, inverse)
        # Beyond the first and the last channel that count, all is zero, as beyond the ends of the arrays.
        seen = jax.lax.cummax(valid.astype(int), 1) * jax.lax.cummax(valid.astype(int), 1, reverse=True)
        count = jnp.maximum(valid.sum(1, keepdims=True), 1)
        typical = jnp.exp(jnp.where(valid, jnp.log(error), 0.0).sum(1, keepdims=True) / count)
        relative = jnp.minimum(typical * inverse, 4.0)
        filters = matched_filters(signal, relative)
        inside = seen[..., None].astype(signal.dtype)
        inputs = jnp.concatenate([jnp.arcsinh(signal)[..., None], relative[..., None], jnp.arcsinh(filters)], -1)
        spectra = jax.nn.leaky_relu(self.first(inputs * inside)) * inside
        for layer, dilation in zip(self.body, DILATIONS, strict=True):
            spectra = spectra + 0.5 * jax.nn.leaky_relu(layer(spectra, dilation)) * inside
        logits = self.last(spectra)
        return logits[..., 0], logits[..., 1]


def robust_continuum(signal: jax.Array, inverse: jax.Array) -> jax.Array:
    """Return a straight line under the lines, (batch, channel), in units of the noise of each channel.

    Least squares, iterated with Cauchy's weights from a wide scale to a narrow one.

    Args:
        signal: flux / error, (batch, channel).
        inverse: 1 / error, 0 in channels to ignore.
    """
    valid = (inverse > 0).astype(signal.dtype)
    channel = jnp.arange(signal.shape[1], dtype=signal.dtype)
    count = jnp.maximum(valid.sum(1, keepdims=True), 1)
    along = channel - (valid * channel).sum(1, keepdims=True) / count
    along = along / jnp.sqrt((valid * along**2).sum(1, keepdims=True) / count + 1e-6)
    columns = jnp.stack([inverse, inverse * along], -1)
    weight, fitted = jnp.ones_like(signal), jnp.zeros_like(signal)
    for scale in (0.0, 8.0, 5.0, 3.0, 2.0, 2.0, 2.0):
        if scale:
            weight = 1 / (1 + ((signal - fitted) / scale) ** 2)
        matrix = jnp.einsum("bc,bci,bcj->bij", weight, columns, columns)
        vector = jnp.einsum("bc,bci,bc->bi", weight, columns, signal)
        regular = 1e-6 * jnp.trace(matrix, axis1=1, axis2=2)[:, None, None] * jnp.eye(2) + 1e-30 * jnp.eye(2)
        fitted = jnp.einsum("bci,bi->bc", columns, jnp.linalg.solve(matrix + regular, vector[..., None])[..., 0])
    return fitted


def matched_filters(signal: jax.Array, relative: jax.Array) -> jax.Array:
    """Return the signal-to-noise ratio of a Gaussian line of each width at each channel, (batch, channel, width).

    Args:
        signal: flux / error without continuum, (batch, channel).
        relative: 1 / error in any unit, (batch, channel), 0 in channels to ignore.
    """
    templates = _templates().astype(signal.dtype)[:, None, :]
    numerator = _convolve((signal * relative)[..., None], templates, 1)
    square = _convolve((relative**2)[..., None], templates**2, 1)
    return jnp.where(square > 1e-3, numerator / jnp.sqrt(jnp.maximum(square, 1e-3)), 0.0)


def logits(network: LineNetwork, flux: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what the network says of one spectrum, two arrays (channel,). flux, error: (channel,)."""
    n = len(flux)
    length = max(SHORTEST, 1 << (n - 1).bit_length())
    padding = (0, length - n)
    padded = np.pad(flux, padding), np.pad(error, padding, constant_values=np.inf)
    # float32 and cut by NumPy: JAX would compile a program for each length.
    found = _compiled(network, *(jnp.asarray(each[None].astype(np.float32)) for each in padded))
    line, core = (np.asarray(each)[0, :n].astype(float) for each in found)
    return line, core


@eqx.filter_jit
def _compiled(network: LineNetwork, flux: jax.Array, error: jax.Array) -> tuple[jax.Array, jax.Array]:
    return network(flux, error)


def _templates() -> jax.Array:
    """Return the Gaussians of the filters, (channel, width)."""
    half = int(1.3 * WIDTHS[-1])
    return gaussian(jnp.arange(-half, half + 1)[:, None], jnp.asarray(WIDTHS))


def _convolve(spectra: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    layout = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(
        spectra, kernel, (1,), "SAME", rhs_dilation=(dilation,), dimension_numbers=layout
    )
