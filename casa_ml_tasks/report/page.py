"""Write a report: one HTML page that needs nothing else, with its figures beside it for papers and talks."""

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path

import matplotlib.style
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from casa_ml_tasks.report.content import ReportContent


def write_report(content: ReportContent, directory: str | Path) -> Path:
    """Write ``index.html`` and a PNG of every figure into a folder, replacing those of an earlier report.

    Everything is drawn beside the folder first, so a run that is killed leaves no half-written report.

    Returns:
        The path of ``index.html``.
    """
    directory = Path(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as unfinished:
        written = [*_write_figures(content, Path(unfinished)), Path(unfinished) / "index.html"]
        written[-1].write_text(render_page(content, Path(unfinished)), encoding="utf-8")
        directory.mkdir(exist_ok=True)
        for path in written:
            path.replace(directory / path.name)
    return directory / "index.html"


def _write_figures(content: ReportContent, directory: Path) -> list[Path]:
    """Draw every figure in matplotlib's own style, whatever the user's is."""
    written = []
    with matplotlib.style.context("default"):
        for figure in content.figures:
            written.append(directory / f"{figure.name}.png")
            figure.draw().savefig(written[-1], pil_kwargs={"compress_level": 3})
    return written


def render_page(content: ReportContent, figures: Path) -> str:
    """The HTML page, with the PNGs of the folder ``figures`` inside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    changed, unchanged = split_parameters(content.parameters, content.defaults)
    return environment.get_template("report.html.j2").render(
        content=content,
        images={figure.name: _base64(figures / f"{figure.name}.png") for figure in content.figures},
        call=python_call(content.task, changed),
        unchanged=[f"{name}={value!r}" for name, value in unchanged.items()],
    )


def split_parameters(
    parameters: Mapping[str, object], defaults: Mapping[str, object]
) -> tuple[dict[str, object], dict[str, object]]:
    """The parameters that differ from their defaults, and those that do not."""
    changed: dict[str, object] = {}
    unchanged: dict[str, object] = {}
    for name, value in parameters.items():
        same = name in defaults and _plain(value) == _plain(defaults[name])
        (unchanged if same else changed)[name] = _plain(value)
    return changed, unchanged


def python_call(task: str, parameters: Mapping[str, object]) -> str:
    """The call that repeats the run, one parameter a line, to be pasted into Python or CASA."""
    arguments = "".join(f"    {name}={value!r},\n" for name, value in parameters.items())
    return f"{task}(\n{arguments})"


def _plain(value: object) -> object:
    """A value whose ``repr`` is Python that needs no numpy."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
