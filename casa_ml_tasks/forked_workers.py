"""Tasks do not run in a process that was forked after imaging: they would wait for ever, and say so instead.

Threads do not come along into a fork. Those of JAX begin with its first array, those of CASA's imager (OpenMP, FFTW)
and of our kernels with the first image; each library goes on waiting for its own. Before, a fork is harmless.
"""

import os
import sys


class _Process:
    """What has been done with this process.

    Attributes:
        has_imaged: a task of ours or tclean has run in it.
        lacks_threads: its parent had threads when it was forked.
    """

    has_imaged = False
    lacks_threads = False


def begin_imaging(task: str) -> None:
    """To be called before anything that starts threads.

    Raises:
        RuntimeError: this process was forked from one that had imaged, or used JAX.
    """
    if _Process.lacks_threads:
        raise RuntimeError(
            f"{task} cannot run in a process forked after imaging or after the use of JAX, whose threads do not come "
            "along; make the workers with multiprocessing.get_context('spawn'), or fork them before anything is imaged"
        )
    note_imaging()


def note_imaging() -> None:
    """From now on, what is forked from this process lacks threads."""
    _Process.has_imaged = True


def _jax_has_threads() -> bool:
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def _after_fork() -> None:
    """In the child, whose memory is as the parent's was."""
    _Process.lacks_threads = _Process.lacks_threads or _Process.has_imaged or _jax_has_threads()


os.register_at_fork(after_in_child=_after_fork)
