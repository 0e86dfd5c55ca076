"""Train a network on endless simulated data, with checkpoints from which a killed training goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from casa_ml_tasks.networks.weights_file import load_arrays, save_arrays

Network = TypeVar("Network", bound=eqx.Module)
WARM_UP = 100  # steps with a lower rate in the beginning
EVERY = 100  # steps between two lines of the log
SAVED_EVERY = 60.0  # s


@dataclass(frozen=True)
class Plan(Generic[Network]):
    """What is trained, and on what.

    Attributes:
        name: of the network.
        loss: (network, key, variant) to the mean loss of a batch that the key draws.
        variants: values of the loss's last argument, one of which is drawn for each step; one program is compiled for
            each.
        batch: data a step.
        rate: highest learning rate.
        seed: of data and variants; step s draws with the key (seed, s).
    """

    name: str
    loss: Callable[[Network, jax.Array, int], jax.Array]
    variants: tuple[int, ...]
    batch: int
    rate: float = 1e-3
    seed: int = 1


@dataclass(frozen=True)
class Progress(Generic[Network]):
    """How far a training has come.

    Attributes:
        network: as it is.
        optimiser: state of the optimiser.
        step: steps done.
        seconds: of training, all sessions together.
        loss: mean of the last `EVERY` steps.
    """

    network: Network
    optimiser: optax.OptState
    step: int
    seconds: float
    loss: float


def _optimiser(rate: float) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(5.0), optax.inject_hyperparams(optax.adam)(learning_rate=rate))


def learning_rate(plan: Plan[Network], step: int, share: float) -> float:
    """Return the rate of a step: a linear warm-up, then half a cosine to zero over the time of the training.

    Args:
        plan: of the training.
        step: its number.
        share: of the time of the training that is over.
    """
    return plan.rate * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + np.cos(np.pi * min(share, 1.0)))


def train(plan: Plan[Network], network: Network, seconds: float, checkpoint: Path) -> Progress[Network]:
    """Train until the time is over; a training that was killed goes on from its checkpoint.

    Args:
        plan: what and on what.
        network: where a new training begins.
        seconds: length of the training, all sessions together.
        checkpoint: safetensors file with weights, optimiser, steps and time.
    """
    optimiser = _optimiser(plan.rate)
    progress = _begin(plan, network, optimiser, checkpoint)

    @eqx.filter_jit
    def advance(
        network: Network, state: optax.OptState, step: jax.Array, rate: jax.Array, variant: int
    ) -> tuple[Network, optax.OptState, jax.Array]:
        state[1].hyperparams["learning_rate"] = rate
        key = jax.random.fold_in(jax.random.PRNGKey(plan.seed), step)
        loss, gradient = eqx.filter_value_and_grad(lambda each: plan.loss(each, key, variant))(network)
        update, state = optimiser.update(gradient, state)
        return eqx.apply_updates(network, update), state, loss

    network, state, step, before = progress.network, progress.optimiser, progress.step, progress.seconds
    begun = saved = time.monotonic()
    losses: list[jax.Array] = []
    with tqdm(total=round(seconds), desc=f"training {plan.name}", unit="s", disable=None) as bar:
        while (spent := before + time.monotonic() - begun) < seconds:
            variant = int(np.random.default_rng([plan.seed, step]).choice(plan.variants))
            rate = learning_rate(plan, step, spent / seconds)
            network, state, loss = advance(network, state, jnp.asarray(step), jnp.asarray(rate), variant)
            losses = [*losses[1 - EVERY :], loss]
            step += 1
            if step % EVERY == 0:
                progress = Progress(network, state, step, spent, float(np.mean(losses)))
                bar.update(round(spent) - bar.n)
                bar.write(f"{plan.name}: {spent:.0f} s, {step * plan.batch} data, loss {progress.loss:.4f}")
                if time.monotonic() - saved > SAVED_EVERY:
                    _save(progress, checkpoint)
                    saved = time.monotonic()
    progress = Progress(network, state, step, spent, float(np.mean(losses)) if losses else progress.loss)
    _save(progress, checkpoint)
    return progress


def _begin(
    plan: Plan[Network], network: Network, optimiser: optax.GradientTransformation, checkpoint: Path
) -> Progress[Network]:
    state = optimiser.init(eqx.filter(network, eqx.is_array))
    if not checkpoint.exists():
        return Progress(network, state, 0, 0.0, float("nan"))
    (network, state), said = load_arrays(checkpoint, (network, state))
    return Progress(network, state, int(said["step"]), float(said["seconds"]), float(said["loss"]))


def _save(progress: Progress[Network], checkpoint: Path) -> None:
    said = {"step": str(progress.step), "seconds": f"{progress.seconds:.1f}", "loss": f"{progress.loss:.5f}"}
    save_arrays(checkpoint, (progress.network, progress.optimiser), said)
