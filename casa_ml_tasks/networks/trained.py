"""The trained networks: their weights lie in the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TypeVar

import jax

from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.networks.weights_file import load_arrays

Network = TypeVar("Network", ImageNetwork, LineNetwork)
WEIGHTS = Path(__file__).parent / "weights"


@cache
def load_image_network(folder: Path | None = None) -> ImageNetwork:
    """Return the network for images, read once.

    Args:
        folder: of the weights, images.safetensors; those of the package by default.

    Raises:
        ValueError: the weights are missing, damaged, or of another architecture.
    """
    return _loaded("images", folder, ImageNetwork(jax.random.PRNGKey(0)))


@cache
def load_line_network(folder: Path | None = None) -> LineNetwork:
    """Return the network for spectra, read once.

    Args:
        folder: of the weights, lines.safetensors; those of the package by default.

    Raises:
        ValueError: the weights are missing, damaged, or of another architecture.
    """
    return _loaded("lines", folder, LineNetwork(jax.random.PRNGKey(0)))


def _loaded(name: str, folder: Path | None, untrained: Network) -> Network:
    """Return a network with the weights of its name, of a folder or of the package."""
    return load_arrays((folder or WEIGHTS) / f"{name}.safetensors", untrained)[0]
