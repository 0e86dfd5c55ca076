"""Command line: python -m casa_ml_tasks.deepfocus train images|lines --hours 2 --folder FOLDER."""

from __future__ import annotations

import argparse
from pathlib import Path

import jax

from casa_ml_tasks.networks import image_training
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.training import train
from casa_ml_tasks.networks.weights_file import save_arrays


def main() -> None:
    """Read the command line, and train."""
    parser = argparse.ArgumentParser(prog="python -m casa_ml_tasks.deepfocus", description=__doc__)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="train a network, or go on with a training that was killed")
    training.add_argument("network", choices=("images",))
    training.add_argument("--hours", type=float, default=4.0, help="of training, all sessions together")
    training.add_argument("--folder", type=Path, required=True, help="of checkpoint, weights and model card")
    training.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    network = ImageNetwork(jax.random.PRNGKey(given.seed))
    plan = image_training.plan(given.seed)
    progress = train(plan, network, 3600 * given.hours, given.folder / f"{given.network}.checkpoint.safetensors")
    save_arrays(given.folder / f"{given.network}.safetensors", progress.network, {"loss": f"{progress.loss:.5f}"})


if __name__ == "__main__":
    main()
