"""What JAX compiled in this session, which the next image of the same shape uses again."""

from __future__ import annotations

import jax

#: An image needs some hundred, of twenty memory maps each, and a process crashes when it has 65,530 of these.
MOST_PROGRAMS = 1500


def forget_if_many() -> None:
    """Drop all programs where they are many: JAX itself keeps them for ever."""
    if len(jax.local_devices()[0].client.live_executables()) > MOST_PROGRAMS:
        jax.clear_caches()
