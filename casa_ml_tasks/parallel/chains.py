"""Chains of an inference on the workers, of which each has some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
from distributed.protocol.pickle import dumps, loads

from casa_ml_tasks.parallel.workers import PartsOnWorkers
from casa_ml_tasks.sampling.chains import Own, Result, Shared


@dataclass(frozen=True)
class ChainsOnWorkers:
    """Does the same with several chains at once, as `SideBySide` promises.

    All travels as bytes, for arrays of JAX lose half their digits where they are unpickled without double precision.

    Attributes:
        parts: of the visibilities, on the workers.
    """

    parts: PartsOnWorkers

    def __call__(self, function: Callable[[Shared, Own], Result], shared: Shared, own: Sequence[Own]) -> list[Result]:
        """Return what a function makes of each; the arguments are those of `SideBySide`."""
        found = self.parts.spread(run_precisely, dumps((function, shared)), [dumps(each) for each in own])
        with jax.enable_x64(True):
            return [loads(each) for each in found]


def run_precisely(shared: bytes, own: bytes) -> bytes:
    """Return what a function makes of its arguments, in double precision. shared: the function, and its first one."""
    with jax.enable_x64(True):
        function, first = loads(shared)
        return dumps(jax.block_until_ready(function(first, loads(own))))
