"""What a task is to the run shell: a family of four steps, and what they hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.workspace import Product, Workspace
from casa_ml_tasks.engine.protocols import StateSchema
from casa_ml_tasks.engine.solver import Checkpoint, Progress
from casa_ml_tasks.tasks.result import TaskResult

Work = TypeVar("Work")


@dataclass(frozen=True)
class Call:
    """A call of a task whose parameters have passed their checks.

    Attributes:
        fields: all parameters, as the task takes them, of each field that it images: the main one first.
        terms: Taylor terms of the spectrum that have images of their own.
    """

    fields: tuple[Mapping[str, Any], ...]
    terms: int = 0

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Those of the main field."""
        return self.fields[0]

    @property
    def imagenames(self) -> list[str]:
        """What the products of each field begin with."""
        return [str(field["imagename"]) for field in self.fields]

    def renamed(self, imagenames: Sequence[str]) -> Call:
        """The same call for products of other names, one a field."""
        pairs = zip(self.fields, imagenames, strict=True)
        return replace(self, fields=tuple({**field, "imagename": name} for field, name in pairs))


@dataclass(frozen=True)
class Context:
    """Where a family does its work.

    Attributes:
        call: what was asked for.
        data: the survey of the visibilities.
        workspace: where products are written.
        checkpoint: what a killed run goes on from.
        interrupted: the progress that a killed run of the same call and data has left; None where there is none.
    """

    call: Call
    data: Survey
    workspace: Workspace
    checkpoint: Checkpoint
    interrupted: Progress | None


class Family(Protocol[Work]):
    """One task. The shell calls `read`, `check`, `work` and `conclude`, once each and in this order."""

    @property
    def name(self) -> str:
        """The name of the task, as it is called."""
        ...

    @property
    def products(self) -> Sequence[Product]:
        """What it may leave, in the order of the list that it returns."""
        ...

    @property
    def schemas(self) -> Sequence[StateSchema]:
        """Of the states that its checkpoints hold."""
        ...

    def read(self, parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> Call:
        """Check what the parameters alone can tell, and warn of those without effect.

        Raises:
            ValueError: for the first parameter that is wrong.
        """
        ...

    def check(self, call: Call) -> Survey:
        """Check the call against the disk and the data, before anything is written, and survey the data.

        Raises:
            ValueError: for the first parameter that does not suit them.
        """
        ...

    def work(self, context: Context) -> Work:
        """Do everything that may take long, write the products into the workspace, and let go of every file."""
        ...

    def conclude(self, context: Context, work: Work) -> TaskResult:
        """Warn of what the finished products tell, and gather what is returned and what the report shows."""
        ...
