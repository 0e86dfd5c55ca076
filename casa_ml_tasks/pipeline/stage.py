"""What a stage is: one of our tasks, under the pipeline's kind of name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One of our tasks as a stage of the pipeline.

    Attributes:
        task: its name.
        description: of the stage, in the weblog.
        comment: in the list of CASA commands.
        exported: extensions of the images that go to the archive.
    """

    task: str
    description: str
    comment: str
    exported: Sequence[str]

    @property
    def name(self) -> str:
        """As recipes name it: hifx, for an extension of hif."""
        return f"hifx_{self.task}"


RMLCLEAN = Stage(
    "rmlclean",
    "Images by regularised maximum likelihood",
    "The targets of hif_makeimlist are imaged by regularised maximum likelihood.",
    ("image.pbcor", "model"),
)
RESOLVEIMAGE = Stage(
    "resolveimage",
    "Bayesian images with their uncertainty",
    "The targets of hif_makeimlist are imaged by Bayesian inference: posterior mean and its uncertainty.",
    ("image.pbcor", "model", "uncertainty"),
)
#: Every stage by its name.
STAGES: Mapping[str, Stage] = {stage.name: stage for stage in (RMLCLEAN, RESOLVEIMAGE)}
