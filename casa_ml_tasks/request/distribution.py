"""Whether the visibilities are read and gridded by many workers, and where these are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Self


@dataclass(frozen=True)
class Distribution:
    """Of the visibilities over workers.

    Attributes:
        parallel: whether there are workers.
        cluster: '' for the ranks of mpicasa, or without it for this machine; 'slurm', 'htcondor', the address of a
            scheduler, or the path of a configuration.

    Raises:
        ValueError: a cluster is named that this installation, or this process, cannot use.
    """

    parallel: bool = False
    cluster: str = ""

    @classmethod
    def from_parameters(cls, *, parallel: bool = False, cluster: str = "", **_: Any) -> Self:
        """Read the parameters of these names."""
        return cls(parallel, cluster)

    def __post_init__(self) -> None:
        if not self.parallel or not self.cluster:
            return
        if problem := self.problem:
            raise ValueError(f"cluster='{self.cluster}' cannot be used: {problem}")
        if count_ranks() > 1:
            raise ValueError(f"cluster='{self.cluster}': under mpicasa its ranks are the workers; use cluster=''")

    @property
    def problem(self) -> str:
        """Why there can be no workers here, and what to do; '' where there can."""
        if not (find_spec("distributed") and find_spec("dask_jobqueue")):
            return "workers need the extra 'cluster'; install it with pip install 'casa-ml-tasks[cluster]'"
        if count_ranks() > 1 and not (find_spec("casampi") and find_spec("mpi4py")):
            return "ranks of mpicasa need the extra 'mpi'; install it with pip install 'casa-ml-tasks[mpi]'"
        return ""


def count_ranks() -> int:
    """Return how many processes mpicasa, or mpirun, has started; 1 without it."""
    return int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))


def are_all_ranks_here() -> bool:
    """Whether all ranks of mpicasa are on this machine."""
    return int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", "0")) == count_ranks()
