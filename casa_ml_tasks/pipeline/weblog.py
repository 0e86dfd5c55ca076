"""What the weblog shows of a stage: facts and figures of each target, and its report beside the page."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casa_ml_tasks.pipeline.record import Outcome, Record
from casa_ml_tasks.quantities import measurement, quantity
from casa_ml_tasks.report import imaging_sections, posterior_section

#: Directory of the Mako templates.
TEMPLATES = Path(__file__).parent / "templates"
#: Of the report's figures, those of the weblog in their order; the report has all.
FIGURES = ("restored", "model", "relative_uncertainty", "samples", "residual", "histogram")
CAPTIONS = {**posterior_section.CAPTIONS, **imaging_sections.CAPTIONS}
CAPTIONS_OF_A_MEAN = {**CAPTIONS, "model": imaging_sections.POSTERIOR_MEAN}


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        path: of the PNG, from the folder of the weblog.
        caption: in whole sentences.
    """

    path: str
    caption: str


@dataclass(frozen=True)
class TargetSection:
    """What the page shows of one target.

    Attributes:
        title: the heading.
        facts: names and values, for a table.
        figures: in their order.
        report: path of the report's page from the folder of the weblog; '' where there is none.
        error: why there is no image; '' where there is one.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    figures: Sequence[Figure]
    report: str
    error: str


def section_of(outcome: Outcome, weblog: Path, stage: int) -> TargetSection:
    """Return what the page shows of a target, and copy its report into the folder of the stage.

    Args:
        outcome: of the target.
        weblog: folder of the weblog, from which the browser takes paths.
        stage: number.
    """
    identity, record = outcome.identity, outcome.record
    if record is None:
        return TargetSection(identity.sentence, (), (), "", outcome.error)
    report = Path(record.report)
    if not record.report or not report.is_file():
        return TargetSection(identity.sentence, facts_of(record), (), "", "")
    folder = Path(f"stage{stage}") / report.parent.name
    shutil.copytree(report.parent, weblog / folder, dirs_exist_ok=True)
    captions = CAPTIONS_OF_A_MEAN if record.is_mean else CAPTIONS
    figures = [
        Figure(str(folder / f"{name}.png"), captions[name])
        for name in FIGURES
        if (weblog / folder / f"{name}.png").is_file()
    ]
    return TargetSection(identity.sentence, facts_of(record), figures, str(folder / report.name), "")


def facts_of(record: Record) -> list[tuple[str, str]]:
    """Return names and values for the table."""
    flux = quantity(record.flux, "Jy", 4)
    if record.flux_error is not None:
        flux = measurement(record.flux, record.flux_error, "Jy")
    facts = [
        ("stopped because", record.stop.description),
        ("major cycles", str(record.cycles)),
        ("minor iterations", str(record.iterations)),
        ("flux of the model", flux),
        ("noise of the image", quantity(record.noise, "Jy/beam")),
        ("thermal noise", quantity(record.thermal_noise, "Jy/beam")),
    ]
    if record.residual is not None:
        facts.append(("residual over noise", f"{record.residual:.2f}"))
    if record.problem:
        facts.append(("not converged", record.problem))
    return facts
