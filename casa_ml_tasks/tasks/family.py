"""What a task is to the run shell: a family of four steps, and what they hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.workspace import Product, Workspace
from casa_ml_tasks.engine.protocols import StateSchema
from casa_ml_tasks.engine.solver import Checkpoint, Progress
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.result import TaskResult


class Call(Protocol):
    """A call whose parameters have passed their checks; beside this, the settings that the family has read."""

    @property
    def parameters(self) -> Sequence[Mapping[str, Any]]:
        """Every parameter, as the task takes it: of the main field, and of each outlier field."""
        ...

    @property
    def terms(self) -> int:
        """Taylor terms of the spectrum that have images of their own."""
        ...

    def renamed(self, imagenames: Sequence[str]) -> Self:
        """Return the same call for products of other names."""
        ...


@dataclass(frozen=True)
class ImagesOnDisk:
    """What a call is about that has images in the place of visibilities.

    Attributes:
        paths: of the images.
        shape: of the first, (channel, ny, nx).
        digest: of the pixels of all.
    """

    paths: tuple[str, ...]
    shape: tuple[int, ...]
    digest: int


@dataclass(frozen=True)
class Context:
    """Where a family does its work.

    Attributes:
        data: the survey of the visibilities, or the images that are there in their place.
        workspace: where products are written.
        checkpoint: what a killed run goes on from.
        interrupted: the progress that a killed run of the same call and data has left; None where there is none.
    """

    data: Survey | ImagesOnDisk
    workspace: Workspace
    checkpoint: Checkpoint
    interrupted: Progress | None

    @property
    def survey(self) -> Survey:
        """The survey, of a call with visibilities."""
        assert isinstance(self.data, Survey)
        return self.data


ACall = TypeVar("ACall", bound=Call)
Work = TypeVar("Work")


class Family(Protocol[ACall, Work]):
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

    def read(self, arguments: Arguments) -> ACall:
        """Check what the arguments alone can tell, and warn of those without effect.

        Raises:
            ValueError: for the first parameter that is wrong.
        """
        ...

    def check(self, call: ACall) -> Survey | ImagesOnDisk:
        """Check the call against the disk and the data, before anything is written, and survey the data.

        Raises:
            ValueError: for the first parameter that does not suit them.
        """
        ...

    def work(self, call: ACall, context: Context) -> Work:
        """Do everything that may take long, write the products into the workspace, and let go of every file."""
        ...

    def conclude(self, call: ACall, context: Context, work: Work) -> TaskResult:
        """Warn of what the finished products tell, and gather what is returned and what the report shows."""
        ...
