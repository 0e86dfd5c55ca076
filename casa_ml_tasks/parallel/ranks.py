"""The ranks of mpicasa as workers: the first one asks each of the others to start a worker, and to end it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

from casa_ml_tasks.parallel import worker_of_rank


class Answer(TypedDict):
    """What casampi says of a command.

    Attributes:
        server: the rank that had it.
        successful: whether it could do it.
        traceback: of the error else.
    """

    server: int
    successful: bool
    traceback: str


@contextmanager
def workers_of_ranks(scheduler: str, host: str | None) -> Iterator[int]:
    """Let each rank start a worker, and end it in the end. Yields how many there are.

    Args:
        scheduler: its address.
        host: address of the workers; None for that by which others reach each of them.

    Raises:
        RuntimeError: a rank cannot.
    """
    answers = _ask(f"start_worker({scheduler!r}, {host!r})")
    try:
        _check(answers)
        yield len(answers)
    finally:
        _ask("end_workers()")  # those of a rank that does not answer end with the scheduler


def _ask(call: str) -> list[Answer]:
    """Return the answers of all ranks, whom casampi lets call a function of `worker_of_rank`."""
    from casampi.MPICommandClient import MPICommandClient  # casampi is there under mpicasa alone
    from casampi.MPIEnvironment import MPIEnvironment

    ranks = MPICommandClient()
    ranks.start_services()
    command = f"__import__('importlib').import_module({worker_of_rank.__name__!r}).{call}"
    return ranks.push_command_request(command, block=True, target_server=MPIEnvironment.mpi_server_rank_list()) or []


def _check(answers: list[Answer]) -> None:
    """Raise RuntimeError where there are no answers, or one of them tells of an error."""
    if not answers:
        raise RuntimeError("a rank of mpicasa does not answer any more; start CASA again")
    for answer in answers:
        if not answer["successful"]:
            why = answer["traceback"].strip().splitlines()[-1]
            raise RuntimeError(
                f"rank {answer['server']} of mpicasa cannot start a worker ({why}); start all ranks with a Python that "
                "has casa_ml_tasks"
            )
