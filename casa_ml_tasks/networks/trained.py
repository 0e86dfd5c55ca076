"""The trained networks: their weights lie in the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jax

from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.networks.weights_file import load_arrays

WEIGHTS = Path(__file__).parent / "weights"


@cache
def load_image_network(folder: Path | None = None) -> ImageNetwork:
    """Return the network for images, read once.

    Args:
        folder: of the weights, images.safetensors; those of the package by default.

    Raises:
        ValueError: the weights are missing, damaged, or of another architecture.
    """
    network, _ = load_arrays((folder or WEIGHTS) / "images.safetensors", ImageNetwork(jax.random.PRNGKey(0)))
    return network


@cache
def load_line_network(folder: Path | None = None) -> LineNetwork:
    """Return the network for spectra, read once.

    Args:
        folder: of the weights, lines.safetensors; those of the package by default.

    Raises:
        ValueError: the weights are missing, damaged, or of another architecture.
    """
    network, _ = load_arrays((folder or WEIGHTS) / "lines.safetensors", LineNetwork(jax.random.PRNGKey(0)))
    return network
