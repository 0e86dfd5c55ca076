"""Weights of a trained network with what a reader has to know of them: in the file itself, and as a page beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import equinox as eqx
import jax

from casa_ml_tasks.networks.training import Plan, Progress
from casa_ml_tasks.networks.weights_file import save_arrays
from casa_ml_tasks.version import version_and_commit

CARD = """# The network "{name}"

{about}

| what | |
| --- | --- |
{facts}

## Scores

{scores}

## Where it fails

{fails}

Made by `{command}`.
"""


def save_with_card(
    folder: Path,
    plan: Plan,
    progress: Progress,
    scores: Mapping[str, float],
    about: str,
    fails: Sequence[str],
) -> None:
    """Write NAME.safetensors and NAME.md.

    Args:
        folder: that exists.
        plan: of the training.
        progress: its end.
        scores: on data that were not trained with, by name.
        about: what the network does, and what the scores were measured on.
        fails: sentences on data that it is not made for.
    """
    facts = _facts(plan, progress)
    measured = {name: f"{value:.4g}" for name, value in scores.items()}
    save_arrays(folder / f"{plan.name}.safetensors", progress.network, facts | measured)
    card = CARD.format(
        name=plan.name,
        about=about,
        facts=_table(facts),
        scores="| quantity | |\n| --- | --- |\n" + _table(measured) if measured else "None were measured.",
        fails="\n".join(f"- {sentence}" for sentence in fails),
        command=f"python -m casa_ml_tasks.deepfocus train {plan.name} --seed {plan.seed}",
    )
    (folder / f"{plan.name}.md").write_text(card)


def _facts(plan: Plan, progress: Progress) -> dict[str, str]:
    network = progress.network
    weights = sum(array.size for array in jax.tree.leaves(eqx.filter(network, eqx.is_array)))
    return {
        "architecture": type(network).__name__,
        "weights": str(weights),
        "seed of weights and data": str(plan.seed),
        "data seen": str(progress.step * plan.batch),
        "steps": str(progress.step),
        "hours": f"{progress.seconds / 3600:.2f}",
        "loss": f"{progress.loss:.5f}",
        "code": version_and_commit(),
    }


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())
