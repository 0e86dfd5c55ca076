"""The workers of a run: processes here or beside the ranks of mpicasa, jobs of a queueing system, or a scheduler's."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask
from casatasks import casalog
from dask_jobqueue import HTCondorCluster, SLURMCluster
from dask_jobqueue.core import JobQueueCluster
from distributed import Client, Scheduler, SpecCluster
from distributed.comm import get_address_host
from distributed.deploy.subprocess import SubprocessWorker

from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.parallel.ranks import workers_of_ranks
from casa_ml_tasks.parallel.worker_of_rank import OPTIONS
from casa_ml_tasks.parallel.worker_setup import WorkerSetup
from casa_ml_tasks.request.distribution import are_all_ranks_here, count_ranks

#: Of the queueing systems that `cluster` names.
QUEUES: Mapping[str, type[JobQueueCluster]] = {"slurm": SLURMCluster, "htcondor": HTCondorCluster}
HERE = "127.0.0.1"
MOST_LOCAL = 8  # workers on this machine: each has images of its own
JOBS = 4  # of a queueing system, where the configuration does not say
#: In the configuration of dask, how many jobs there are and for how many seconds a run waits for them.
SECTION = "casa-ml-tasks"
WAIT = 600.0
ANSWER = 30.0  # seconds until a scheduler that runs already has to answer


@contextmanager
def opened_workers(cluster: str) -> Iterator[Client]:
    """Start workers, or take those that are there, and let them go in the end.

    Args:
        cluster: '' for the ranks of mpicasa, or without it for this machine; 'slurm' or 'htcondor' for jobs as dask's
            configuration describes them, the address of a scheduler, or the path of a file with such a configuration.

    Raises:
        ValueError: nothing answers at the address, or the configuration describes no jobs.
        RuntimeError: no worker comes.
    """
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.comm.timeouts.connect": f"{ANSWER:.0f}s"}))
        if "://" in cluster:
            client = stack.enter_context(_connected(cluster))
            wanted = 1
        elif not cluster and count_ranks() > 1:
            client, wanted = stack.enter_context(_of_ranks())
        else:
            workers = stack.enter_context(_submitted(cluster, stack) if cluster else _local())
            wanted = len(workers.worker_spec)
            client = stack.enter_context(Client(workers))
        _wait_for(client, wanted)
        try:
            client.register_plugin(WorkerSetup())
        except ImportError as error:
            raise RuntimeError(
                f"workers cannot import casa_ml_tasks ({error}); start them with a Python that has it"
            ) from error
        hosts = _hosts(client.nthreads())
        sentence = f"{len(hosts)} workers on {len(set(hosts))} machines read and grid the visibilities"
        casalog.post(sentence, "INFO", "parallel")
        yield client


def most_on_a_host(workers: Iterable[str]) -> int:
    """Return how many of these workers the machine has that has the most of them. workers: addresses."""
    hosts = _hosts(workers)
    return max(map(hosts.count, hosts))


def _hosts(workers: Iterable[str]) -> list[str]:
    """Return the machine of each worker."""
    return [get_address_host(address) for address in workers]


def _local() -> SpecCluster:
    """Return workers on the cores of this machine.

    They are processes of their own, not of multiprocessing, which would run the user's script once more in each.
    """
    cores = available_cores()
    count = min(cores, MOST_LOCAL)
    options = {**OPTIONS, "host": HERE, "nthreads": cores // count}
    worker = {"cls": SubprocessWorker, "options": {"worker_kwargs": options}}
    return _scheduled(HERE, dict.fromkeys(range(count), worker))


@contextmanager
def _of_ranks() -> Iterator[tuple[Client, int]]:
    """Yield a client of workers beside the ranks of mpicasa, and how many they are."""
    host = HERE if are_all_ranks_here() else None
    with (
        _scheduled(host, {}) as scheduler,
        workers_of_ranks(scheduler.scheduler_address, host) as count,
        Client(scheduler) as client,
    ):
        yield client, count


def _scheduled(host: str | None, workers: dict[int, Any]) -> SpecCluster:
    """Return a scheduler in this process, with workers. host: its address; None for that by which others reach it."""
    # Any free port, or several runs at once would warn of each other.
    options = {"host": host, "dashboard": False, "dashboard_address": f"{HERE}:0"}
    scheduler = {"cls": Scheduler, "options": options}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR)


def _submitted(cluster: str, stack: ExitStack) -> SpecCluster:
    """Submit jobs, as many as the configuration says, which holds as long as the stack."""
    jobs = stack.enter_context(described_jobs(cluster))
    jobs.scale(jobs=int(dask.config.get(f"{SECTION}.jobs", JOBS)))
    return jobs


@contextmanager
def described_jobs(cluster: str) -> Iterator[JobQueueCluster]:
    """Yield a queueing system with the description of a job, before any is submitted.

    Args:
        cluster: its name, or the path of a configuration, which holds as long as this context.

    Raises:
        ValueError: the configuration describes no job.
    """
    configuration = {} if cluster in QUEUES else read_configuration(cluster)
    (name,) = configuration.get("jobqueue", [cluster])
    with dask.config.set(dask.config.merge(dask.config.config, configuration)):
        yield _described(cluster, name)


def _described(cluster: str, name: str) -> JobQueueCluster:
    try:
        # Where nothing is said, dask-jobqueue starts many small workers in a job; ours are few and large.
        return QUEUES[name](processes=dask.config.get(f"jobqueue.{name}.processes", None) or 1)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"cluster='{cluster}': {error}; describe a job below jobqueue.{name} in ~/.config/dask/jobqueue.yaml, or "
            "in a file that cluster names"
        ) from error


def read_configuration(path: str) -> dict[str, Any]:
    """Return a configuration of dask that describes the jobs of one queueing system.

    Raises:
        ValueError: the file does not exist, or is none.
    """
    if not Path(path).is_file():
        raise ValueError(
            f"cluster='{path}' is neither '', {', '.join(map(repr, QUEUES))}, an address such as 'tcp://node:8786' nor "
            "a file; give one of these"
        )
    try:
        (found,) = dask.config.collect_yaml([path])
        (queue,) = found["jobqueue"]
    except (UnicodeDecodeError, TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"cluster='{path}' has no section jobqueue with one queueing system; see docs/parallel.md"
        ) from error
    if queue not in QUEUES:
        raise ValueError(f"cluster='{path}': jobqueue.{queue} is none of {', '.join(QUEUES)}; use one of these")
    return found


def check_cluster(cluster: str) -> None:
    """Check what can be checked of a cluster before anything is written or started.

    Raises:
        ValueError: it is none.
    """
    if cluster and cluster not in QUEUES and "://" not in cluster:
        read_configuration(cluster)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=ANSWER)
    except (OSError, ValueError, TimeoutError) as error:
        raise ValueError(f"cluster='{address}': no scheduler answers there; start one with 'dask scheduler'") from error
    with client:
        yield client


def _wait_for(client: Client, count: int) -> None:
    """Wait for workers; fewer than asked for are enough where the others do not come."""
    seconds = float(dask.config.get(f"{SECTION}.wait", WAIT))
    try:
        client.wait_for_workers(count, timeout=seconds)
    except TimeoutError:
        if not client.nthreads():
            raise RuntimeError(
                f"no worker has come in {seconds:.0f} s; look at the jobs and their logs, or wait longer with "
                f"{SECTION}.wait in dask's configuration"
            ) from None
