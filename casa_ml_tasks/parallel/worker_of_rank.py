"""The worker that a rank of mpicasa starts beside itself: what runs in the rank.

The worker is a process of its own. In a rank the import of casatasks never ends, because it serves there, and every
other thread that imports casatasks waits for that; and a rank that is killed ends all others.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress

from casa_ml_tasks.kernels.threads import available_cores

#: Of every worker that a call starts.
OPTIONS = {"memory_limit": 0, "dashboard": False, "silence_logs": logging.ERROR}
#: Beginnings of the variables by which a process knows that it is a rank, in which casatasks serves.
OF_MPI = ("OMPI_", "PMIX_", "PRTE_")
_WORKERS: list[subprocess.Popen[bytes]] = []  # of this rank


def start_worker(scheduler: str, host: str | None) -> None:
    """Start a worker on this rank's share of the cores.

    Args:
        scheduler: its address.
        host: address of the worker; None for that by which others reach it.
    """
    cores = available_cores() // int(os.environ["OMPI_COMM_WORLD_LOCAL_SIZE"])
    spec = {"cls": "distributed.Nanny", "opts": {**OPTIONS, "host": host, "nthreads": max(1, cores)}}
    command = [sys.executable, "-m", "dask", "spec", scheduler, "--spec", json.dumps(spec)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OF_MPI)}
    _WORKERS.append(subprocess.Popen(command, env=environment, start_new_session=True))


def end_workers() -> None:
    """End what this rank has started, and wait for it."""
    while _WORKERS:
        worker = _WORKERS.pop()
        with suppress(ProcessLookupError):
            os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
