"""What the network for images is trained to minimise."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp

from casa_ml_tasks.networks.image_network import PATCH, TYPICAL_AXIS, DetectionMaps, ImageNetwork, refine
from casa_ml_tasks.simulation.random_fields import GAUSSIAN, Shapes, SimulatedField, sky_image

FAINT_FLUX = 5.0  # noise units; the errors of fields fainter than this are not divided by less
FAINT_POWER = 300.0  # sum of squares of the dirty image of such a field
OF_DETECTION = 0.1  # weight of the detection beside the image


def detection_loss(found: DetectionMaps, sources: Shapes) -> jax.Array:
    """Return the cross entropy of the centres plus the absolute errors of the shapes, summed over one field.

    Args:
        found: maps of one field.
        sources: the truth.
    """
    real = sources.flux > 0
    x, y = sources.x / PATCH, sources.y / PATCH
    last = found.logit.shape[0] - 1
    column, row = (jnp.clip(jnp.floor(along).astype(int), 0, last) for along in (x, y))
    target = jnp.zeros_like(found.logit).at[row, column].max(real.astype(found.logit.dtype))
    entropy = jnp.sum(jax.nn.softplus(found.logit) - found.logit * target)
    elongation = 1 - sources.minor / sources.major
    pairs = [
        (found.x, x - column - 0.5),
        (found.y, y - row - 0.5),
        (found.log_major, jnp.log(sources.major / TYPICAL_AXIS)),
        (found.log_minor, jnp.log(sources.minor / TYPICAL_AXIS)),
        (found.cosine, elongation * jnp.cos(2 * sources.angle)),
        (found.sine, elongation * jnp.sin(2 * sources.angle)),
    ]
    errors = sum(jnp.abs(said[row, column] - true) for said, true in pairs)
    return entropy + jnp.sum(jnp.where(real, errors, 0.0))


def image_loss(model: jax.Array, field: SimulatedField) -> jax.Array:
    """Return the relative error of the pixels (modulus) plus twice that of the dirty image (r.m.s.), of one field."""
    operator = field.coverage.operator
    error = jnp.sum(operator(model - field.sky) ** 2)
    size = jnp.sum(operator(field.sky) ** 2) + FAINT_POWER
    pixels = jnp.abs(model - field.sky).sum() / jnp.maximum(field.sky.sum(), FAINT_FLUX)
    return pixels + 2 * jnp.sqrt((error + 1e-3) / size)


def loss(network: ImageNetwork, fields: SimulatedField, steps: int) -> jax.Array:
    """Return the mean loss of a batch of fields after so many calls of the network, from an empty sky."""
    model, _, found = refine(network, fields.dirty, fields.coverage.psf(), fields.coverage.operator, steps)
    return _mean(model, found, fields)


def loss_beside_known(network: ImageNetwork, fields: SimulatedField, key: jax.Array) -> jax.Array:
    """Return the mean loss after one call that begins with a part of the sources, about as a fit leaves them.

    Args:
        network: of the call.
        fields: a batch.
        key: draws the sources that are known and the errors of their places, axes and fluxes.
    """
    known = _roughly(fields.sources, key)
    n = fields.dirty.shape[-1]
    begin = jax.vmap(lambda sources: sky_image(sources, n))(known)
    model, _, found = refine(network, fields.dirty, fields.coverage.psf(), fields.coverage.operator, 1, begin)
    return _mean(model, found, fields)


def _roughly(sources: Shapes, key: jax.Array) -> Shapes:
    """Return six in ten of the sources, as Gaussians with small errors."""
    chosen, of_errors = jax.random.split(key)
    shape = sources.flux.shape
    x, y, major, minor, flux = 0.05 * jax.random.normal(of_errors, (5, *shape))
    return replace(
        sources,
        x=sources.x + x,
        y=sources.y + y,
        major=sources.major * jnp.exp(major),
        minor=sources.minor * jnp.exp(minor),
        flux=jnp.where(jax.random.uniform(chosen, shape) < 0.6, sources.flux * jnp.exp(flux), 0.0),
        profile=jnp.full_like(sources.profile, GAUSSIAN),
    )


def _mean(model: jax.Array, found: DetectionMaps, fields: SimulatedField) -> jax.Array:
    of_images = jax.vmap(image_loss)(model, fields)
    of_detections = jax.vmap(detection_loss)(found, fields.sources)
    return jnp.mean(of_images + OF_DETECTION * of_detections)
