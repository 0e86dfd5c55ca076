"""Command line: python -m casa_ml_tasks.deepfocus train images|lines --hours 2 --folder FOLDER."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import equinox as eqx
import jax

from casa_ml_tasks.networks import image_training, line_training
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.networks.model_card import save_with_card
from casa_ml_tasks.networks.training import Plan, train
from casa_ml_tasks.sources.image_scores import judged_images
from casa_ml_tasks.sources.line_scores import judged_lines

Network = TypeVar("Network", bound=eqx.Module)


@dataclass(frozen=True)
class Training(Generic[Network]):
    """All that differs from network to network.

    Attributes:
        plan: from the seed.
        new: an untrained network, from a key.
        finish: what is done after the training: the network, finished, and its scores by name.
        about, fails: of the model card.
    """

    plan: Callable[[int], Plan[Network]]
    new: Callable[[jax.Array], Network]
    finish: Callable[[Network], tuple[Network, dict[str, float]]]
    about: str
    fails: tuple[str, ...]


TRAININGS: dict[str, Training] = {
    "images": Training(
        image_training.plan,
        ImageNetwork,
        judged_images,
        "Corrects a model of the sky, and says where sources are and what they look like. Measured on 200 unseen\n"
        "fields of 128 x 128 pixels with natural weights from ALMA's cycles 8 and 12: 0 to 7 sources, points,\n"
        "Gaussians, disks and rings; the network's candidates fitted with the exact normal operator.",
        (
            "Beams outside 4.5 to 6.5 pixels after resampling, or longer than three times their width.",
            "Absorption, and emission larger than a third of the field.",
        ),
    ),
    "lines": Training(
        line_training.plan,
        LineNetwork,
        judged_lines,
        "Says which channels of a spectrum have a line. Measured on unseen spectra of 16 to 512 channels with 0 to 3\n"
        "lines, Gaussian or with two horns, FWHM 2 to 40 channels (at most half the spectrum), on a sloped continuum;\n"
        "some with blanked channels or with noise that changes along the spectrum.",
        (
            "Absorption lines are not found; a deep one distorts the continuum.",
            "Noise that is correlated between channels, or other than the errors say, makes the probabilities wrong.",
            "Lines wider than half the spectrum are taken for continuum; a continuum that bends is taken for lines.",
            "Two lines closer than about one FWHM are given as one; a line with two unequal horns as two.",
            "Lines below a signal-to-noise ratio of 4 are rarely given.",
        ),
    ),
}


def main() -> None:
    """Read the command line, and train."""
    parser = argparse.ArgumentParser(prog="python -m casa_ml_tasks.deepfocus", description=__doc__)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="train a network, or go on with a training that was killed")
    training.add_argument("network", choices=tuple(TRAININGS))
    training.add_argument("--hours", type=float, default=4.0, help="of training, all sessions together")
    training.add_argument("--folder", type=Path, required=True, help="of checkpoint, weights and model card")
    training.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    chosen = TRAININGS[given.network]
    plan = chosen.plan(given.seed)
    begin = chosen.new(jax.random.PRNGKey(given.seed))
    progress = train(plan, begin, 3600 * given.hours, given.folder / f"{given.network}.checkpoint.safetensors")
    network, scores = chosen.finish(progress.network)
    save_with_card(given.folder, plan, replace(progress, network=network), scores, chosen.about, chosen.fails)


if __name__ == "__main__":
    main()
