"""The data that the network for spectra is trained on."""

from __future__ import annotations

import jax

from casa_ml_tasks.networks.line_loss import loss
from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.networks.training import Plan
from casa_ml_tasks.simulation.random_spectra import draw_spectra

BATCH = 48
#: Channels of the arrays of a batch, and of its shortest spectrum; a variant of the loss is the index.
LENGTHS = ((48, 16), (128, 48), (320, 128))


def plan(seed: int = 1) -> Plan[LineNetwork]:
    """Return the training of the network for spectra. seed: of the spectra."""

    def of_batch(network: LineNetwork, key: jax.Array, variant: int) -> jax.Array:
        return loss(network, draw_spectra(key, BATCH, *LENGTHS[variant]))

    return Plan("lines", of_batch, tuple(range(len(LENGTHS))), BATCH, rate=2e-3, seed=seed)
