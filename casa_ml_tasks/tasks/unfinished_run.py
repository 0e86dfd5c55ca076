"""What an earlier run left in its folder, and what this one leaves there if it ends in an exception."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from casatasks import casalog

from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.engine.solver import Progress


def take_up(checkpoint: FileCheckpoint, workspace: Workspace, task: str) -> Progress | None:
    """Prepare the folder. Returns the progress of an interrupted run of the same call and data, or None."""
    interrupted = checkpoint.load()
    if interrupted is not None:
        casalog.post(f"goes on with the unfinished run in '{workspace.directory}'", "INFO", task)
    elif checkpoint.refusal:
        casalog.post(
            f"the unfinished run in '{workspace.directory}' {checkpoint.refusal}: this one begins anew", "INFO", task
        )
    workspace.begin(resume=interrupted is not None)
    return interrupted


def say_what_is_left(workspace: Workspace, task: str) -> None:
    """After an exception: name the folder in the log, or remove it where nothing can go on from it."""
    if not workspace.checkpoint.exists():
        shutil.rmtree(workspace.directory, ignore_errors=True)
        return
    casalog.post(
        f"'{workspace.directory}' holds the unfinished run; the same call goes on from there, or remove it",
        "WARN",
        task,
    )


@contextmanager
def says_what_is_left(workspace: Workspace, task: str) -> Iterator[None]:
    """Around a step of a run that an exception may end."""
    try:
        yield
    except BaseException:
        say_what_is_left(workspace, task)
        raise
