"""What every report has, whatever the task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from casa_ml_tasks.report.section import Drawing, Section


@dataclass(frozen=True)
class ReportContent:
    """A report, and nothing about how it is written.

    Attributes:
        task: name of the task, as it is called.
        imagename: prefix of the products.
        parameters: every parameter of the task and its value.
        defaults: the default of every parameter.
        summary: short facts for the top of the page.
        sections: between the summary and the parameters, in their order.
    """

    task: str
    imagename: str
    parameters: Mapping[str, object]
    defaults: Mapping[str, object]
    summary: Mapping[str, str]
    sections: Sequence[Section]

    @property
    def figures(self) -> list[Drawing]:
        """All figures, in the order of the page."""
        return [figure for section in self.sections for figure in section.figures]
