"""Weights of networks as safetensors: arrays by name, and strings that say what they are. Nothing pickled is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import equinox as eqx
import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Tree = TypeVar("Tree")


def save_arrays(path: Path, tree: object, metadata: Mapping[str, str]) -> None:
    """Write the arrays of a tree under a temporary name, then rename the file: a kill leaves the old or the new one.

    Args:
        path: of the file.
        tree: of arrays; what else it holds is not kept.
        metadata: strings by name.
    """
    arrays = {name: np.asarray(array) for name, array in _named(tree).items()}
    beside = path.with_name(path.name + ".new")
    save_file(arrays, beside, metadata=dict(metadata))
    os.replace(beside, path)


def load_arrays(path: Path, like: Tree) -> tuple[Tree, dict[str, str]]:
    """Return the tree with the arrays of a file, and the strings of the file.

    Args:
        path: of the file.
        like: a tree whose arrays have the shapes that the file's should have.

    Raises:
        ValueError: the file is missing, damaged, or of another architecture.
    """
    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dictionary)
            metadata = file.metadata() or {}
    except FileNotFoundError as error:
        raise ValueError(f"the weights {path} do not exist; install the package again, or train") from error
    except (SafetensorError, OSError) as error:
        raise ValueError(f"the weights {path} are damaged ({error}); install the package again, or train") from error
    expected = _named(like)
    shapes = {name: (array.shape, str(array.dtype)) for name, array in arrays.items()}
    wanted = {name: (array.shape, str(array.dtype)) for name, array in expected.items()}
    if shapes != wanted:
        different = sorted(name for name in shapes | wanted if shapes.get(name) != wanted.get(name))
        raise ValueError(
            f"the weights {path} are of another network: {different[0]} is {shapes.get(different[0], 'missing')}, "
            f"not {wanted.get(different[0], 'there')}; use weights of this version of casa_ml_tasks"
        )
    leaves, structure = jax.tree.flatten(eqx.filter(like, eqx.is_array))
    filled = jax.tree.unflatten(structure, [jax.numpy.asarray(arrays[name]) for name in expected])
    assert len(leaves) == len(expected)
    return eqx.combine(filled, like), metadata


def _named(tree: object) -> dict[str, jax.Array]:
    """Return the arrays of a tree by their places, in the order of its leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
    return {jax.tree_util.keystr(place): array for place, array in leaves}
