"""What deepfocus returns and reports of the sources, and what it warns of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.table import Table
from casatasks import casalog

from casa_ml_tasks.data.image_axes import ImageAxes
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.report.source_content import SourceContent
from casa_ml_tasks.report.source_sections import source_sections
from casa_ml_tasks.sources.detection import probability_map
from casa_ml_tasks.sources.finder import Found
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.rmlclean import Cleaned
from casa_ml_tasks.tasks.source_catalogue import Catalogue

#: Columns that a table of true sources has.
OF_TRUTH = ("ra", "dec", "major", "minor", "pa")


@dataclass(frozen=True)
class FoundInImage:
    """The sources of a run.

    Attributes:
        found: by the finder.
        catalogue: the same on the sky.
        axes: of the image.
    """

    found: Found
    catalogue: Catalogue
    axes: ImageAxes


@dataclass(frozen=True)
class Searched:
    """What a run has made.

    Attributes:
        sources: in the dirty images.
        cleaned: by major and minor cycles; None where a dirty image was there already.
    """

    sources: FoundInImage
    cleaned: Cleaned | None


def read_truth(path: str) -> Table | None:
    """Return a table of true sources; None where the path is ''.

    Raises:
        ValueError: it is no such table.
    """
    if not path:
        return None
    if not Path(path).is_file():
        raise ValueError(f"truth='{path}' does not exist; give an ECSV or FITS table, or ''")
    try:
        table = Table.read(path, format="fits" if path.endswith((".fits", ".fit")) else "ascii.ecsv")
    except Exception as error:
        raise ValueError(f"truth='{path}' is no ECSV or FITS table ({type(error).__name__})") from error
    if missing := [name for name in OF_TRUTH if name not in table.colnames]:
        raise ValueError(f"truth='{path}' has no column {', '.join(missing)}; give a table with {', '.join(OF_TRUTH)}")
    return table


def with_sources(result: TaskResult, sources: FoundInImage, truth: Table | None, workspace: Workspace) -> TaskResult:
    """Return the result with the sources before all else, and warn of what is doubtful about the field.

    Args:
        result: of the imaging.
        sources: that were found.
        truth: table of true sources, in the frame of the image.
        workspace: of the run.
    """
    found, catalogue = sources.found, sources.catalogue
    if found.field_flags:
        casalog.post(
            "The field is unlike what the networks know, so look at the sources with care: "
            f"{'; '.join(found.field_flags)}.",
            "WARN",
            "deepfocus",
        )
    numbers = {
        **result.numbers,
        "sources": len(found),
        "lines": len(catalogue.lines),
        "catalog": str(workspace.product("catalog")),
        "field_flags": list(found.field_flags),
    }
    flagged = sum(bool(words) for words in found.flags)
    summary = {
        "sources": f"{len(found)}, {flagged} of them with flags",
        "spectral lines": str(len(catalogue.lines)),
        **result.summary,
    }
    content = source_content(sources, truth)
    return replace(result, numbers=numbers, summary=summary, sections=[*source_sections(content), *result.sections])


def source_content(sources: FoundInImage, truth: Table | None) -> SourceContent:
    """Return what the report shows of the sources."""
    found, axes = sources.found, sources.axes
    plane = found.integrated
    ny, nx = plane.dirty.shape
    jacobian = axes.jacobians(nx // 2, ny // 2)[0]
    cell = float(np.sqrt(abs(np.linalg.det(jacobian))))
    long_axis = jacobian @ [np.cos(plane.beam.angle), np.sin(plane.beam.angle)]
    return SourceContent(
        dirty=plane.dirty,
        residual=found.residual,
        noise=plane.noise,
        probability=probability_map(found.proposal, (ny, nx)),
        cell=cell,
        beam=(
            plane.beam.major * cell,
            plane.beam.minor * cell,
            float(np.degrees(np.arctan2(long_axis[0], long_axis[1])) % 180),
        ),
        sources=sources.catalogue.sources,
        lines=sources.catalogue.lines,
        channels=sources.catalogue.channels,
        field_flags=found.field_flags,
        truth=None if truth is None else _on_image(truth, axes),
    )


def _on_image(truth: Table, axes: ImageAxes) -> Table:
    """Return a table of true sources with their pixels x and y."""
    placed = truth.copy()
    placed["x"], placed["y"] = axes.pixels(np.asarray(truth["ra"], float), np.asarray(truth["dec"], float))
    return placed
