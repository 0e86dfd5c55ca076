"""Write a report: one HTML page that needs nothing else, with its figures beside it for papers and talks."""

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path

import matplotlib.style
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from casa_ml_tasks.quantities import quantity, with_error
from casa_ml_tasks.report.content import ReportContent
from casa_ml_tasks.report.drawings import drawings

CAPTIONS: Mapping[str, str] = {
    "restored": "Restored image: the model convolved with the beam (ellipse), plus the residual.",
    "model": "Model: the brightness that explains the visibilities. Its resolution is not that of the beam.",
    "residual": "Residual image: what the model leaves unexplained. Structure here is unmodelled emission or an error "
    "of calibration.",
    "dirty": "Dirty image: the data before deconvolution, with the sidelobes of the point spread function.",
    "convergence": "Misfit of the visibilities and peak of the residual image after each major cycle.",
    "validation": "How well images made with these strengths of the regularisers, from a part of the uv plane, predict "
    "the rest: the lower the better. The strongest regularisation within one standard error of the best is chosen.",
}
POSTERIOR_CAPTIONS: Mapping[str, str] = {
    "samples": "Four samples of the posterior: skies that explain the visibilities equally well. What they share is "
    "known, and what differs between them is not.",
    "relative_uncertainty": "Standard deviation of the samples over their mean, where the mean is the larger. "
    "Neighbouring pixels err together, so the uncertainty of a flux is less than that of its pixels.",
    "power_spectrum": "Power spectrum of the logarithm of the sky, which was inferred with it: median and 68 % of the "
    "samples. Beyond the frequency of the beam it rests on the prior more than on the data.",
    "inference": "Error of the posterior mean, in units of the uncertainty, and residual image over the noise after "
    "each global iteration.",
}
POSTERIOR_MEAN = "Posterior mean: the expected brightness of the sky. Its resolution is not that of the beam."
RESIDUAL_CAPTIONS: Mapping[str, str] = {
    "visibilities": "Above: amplitude (root mean square) of the model by baseline length, and of the part of the data "
    "that is in phase with it, which noise does not bias. Below: mean of data minus model. Parts of the data that are "
    "not in phase with the model show in χ² and in the residual image.",
    "chi_squared": "Reduced χ² of the residual visibilities by baseline length. Above the grey band, the model does "
    "not explain these baselines, or they are noisier than their weights say.",
    "noise_scales": "Noise of the data over the noise that WEIGHT claims, for each group (grey: not measured), and how "
    "it varies along baseline length.",
    "histogram": "Pixels of the residual image where the primary beam is above 0.2. Histogram and curve agree if "
    "only noise is left.",
}


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
        for name, draw in drawings(content).items():
            written.append(directory / f"{name}.png")
            draw().savefig(written[-1], pil_kwargs={"compress_level": 3})
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
    environment.filters["quantity"] = quantity
    changed, unchanged = split_parameters(content.parameters, content.defaults)
    return environment.get_template("report.html.j2").render(
        content=content,
        captions=_drawn(CAPTIONS if content.posterior is None else {**CAPTIONS, "model": POSTERIOR_MEAN}, content),
        posterior_captions=_drawn(POSTERIOR_CAPTIONS, content),
        residual_captions=_drawn(RESIDUAL_CAPTIONS, content),
        residual_sentences=residual_sentences(content),
        images={name: _base64(figures / f"{name}.png") for name in drawings(content)},
        call=python_call(content.task, changed),
        unchanged=[f"{name}={value!r}" for name, value in unchanged.items()],
    )


def _drawn(captions: Mapping[str, str], content: ReportContent) -> dict[str, str]:
    drawn = drawings(content)
    return {name: text for name, text in captions.items() if name in drawn}


def residual_sentences(content: ReportContent) -> list[str]:
    """What the residual says, in words."""
    sentences = [] if content.image_residual is None else [content.image_residual.sentences()]
    if (visibilities := content.visibilities) is not None:
        count, chi2 = visibilities.count.sum(), visibilities.total_reduced_chi2
        sentences.append(
            f"The reduced χ² of {count:.0f} visibilities is {with_error(chi2, chi2 * count**-0.5)}. Noise alone has 1, "
            f"and scatters by {visibilities.count.mean() ** -0.5:.2g} in a single bin of baseline length."
        )
    return sentences


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
