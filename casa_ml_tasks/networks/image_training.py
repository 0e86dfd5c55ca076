"""The data that the network for images is trained on."""

from __future__ import annotations

from functools import partial

import jax

from casa_ml_tasks.networks.image_loss import loss, loss_beside_known
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.training import Plan
from casa_ml_tasks.simulation.random_fields import SimulatedField, draw_field
from casa_ml_tasks.simulation.uv_coverage import Coverage, random_observations, stacked

#: Configurations of ALMA in training; cycles 8 and 12 are left for tests.
CONFIGURATIONS = tuple(f"alma.cycle{cycle}.{number}" for cycle in (5, 7, 10) for number in range(1, 10))
PIXELS = 128  # of a field in each direction
BATCH = 8
COVERAGES = 256
BESIDE_KNOWN = 0  # variant of the loss: one call that begins with some of the sources; the others count the calls
VARIANTS = (1, 2, 3, BESIDE_KNOWN)


def plan(seed: int = 1) -> Plan[ImageNetwork]:
    """Return the training of the network for images. seed: of observations and skies."""
    coverages = stacked(random_observations(CONFIGURATIONS, COVERAGES, seed), PIXELS)

    def of_batch(network: ImageNetwork, key: jax.Array, variant: int) -> jax.Array:
        fields = draw_batch(key, coverages)
        if variant == BESIDE_KNOWN:
            return loss_beside_known(network, fields, jax.random.fold_in(key, 0))
        return loss(network, fields, variant)

    return Plan("images", of_batch, VARIANTS, BATCH, seed=seed)


def draw_batch(key: jax.Array, coverages: Coverage) -> SimulatedField:
    """Return a batch of fields."""
    return jax.vmap(partial(draw_field, coverages=coverages))(jax.random.split(key, BATCH))
