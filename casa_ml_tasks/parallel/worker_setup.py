"""What every worker does first: its log and its cores are its own."""

from __future__ import annotations

import os
from pathlib import Path

from distributed import Worker, WorkerPlugin

from casa_ml_tasks.kernels.threads import limit_cores
from casa_ml_tasks.version import __version__


class WorkerSetup(WorkerPlugin):
    """Is run in each worker before its first task, also in those that come later.

    casatools writes a log where it is imported: many workers must not write one file in the folder of the user.
    """

    name = "casa_ml_tasks"

    def __init__(self) -> None:
        """Remember the version of the client."""
        self._version = __version__

    def setup(self, worker: Worker) -> None:
        """Prepare the process.

        Raises:
            RuntimeError: the worker has another version of this package.
        """
        if __version__ != self._version:
            raise RuntimeError(
                f"a worker at {worker.address} has casa_ml_tasks {__version__} and the client {self._version}; install "
                "the same"
            )
        limit_cores(worker.state.nthreads)
        from casaconfig import config

        config.logfile = os.devnull if not worker.local_directory else str(Path(worker.local_directory) / "casa.log")
