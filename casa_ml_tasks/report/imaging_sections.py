"""The sections that reports of imaging have in common: images and convergence, the residual, the major cycles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from matplotlib.figure import Figure

from casa_ml_tasks.quantities import quantity, with_error
from casa_ml_tasks.report.convergence_figure import draw_convergence
from casa_ml_tasks.report.imaging_content import ImagingContent
from casa_ml_tasks.report.residual_figures import draw_chi_squared, draw_histogram, draw_noise_scales, draw_visibilities
from casa_ml_tasks.report.section import Drawing, Section, Table
from casa_ml_tasks.report.sky_figures import draw_dirty, draw_model, draw_residual, draw_restored

CAPTIONS: Mapping[str, str] = {
    "restored": "Restored image: the model convolved with the beam (ellipse), plus the residual.",
    "model": "Model: the brightness that explains the visibilities. Its resolution is not that of the beam.",
    "residual": "Residual image: what the model leaves unexplained. Structure here is unmodelled emission or an error "
    "of calibration.",
    "dirty": "Dirty image: the data before deconvolution, with the sidelobes of the point spread function.",
    "convergence": "Misfit of the visibilities and peak of the residual image after each major cycle.",
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
POSTERIOR_MEAN = "Posterior mean: the expected brightness of the sky. Its resolution is not that of the beam."


def imaging_sections(content: ImagingContent) -> list[Section]:
    """The sections that every imaging task has."""
    sections = [_images(content), _residual(content)]
    return [*sections, _major_cycles(content.cycles)] if content.cycles else sections


def _images(content: ImagingContent) -> Section:
    draws: Mapping[str, Callable[[], Figure]] = {
        "restored": partial(draw_restored, content),
        "model": partial(draw_model, content),
        "residual": partial(draw_residual, content),
        "dirty": partial(draw_dirty, content),
        "convergence": partial(draw_convergence, content.cycles, content.noise),
    }
    captions = {**CAPTIONS, "model": POSTERIOR_MEAN} if content.model_is_mean else CAPTIONS
    figures = [Drawing(name, captions[name], draw) for name, draw in draws.items()]
    return Section("Images and convergence", figures=figures)


def _residual(content: ImagingContent) -> Section:
    draws: dict[str, Callable[[], Figure]] = {}
    if content.visibilities is not None:
        draws["visibilities"] = partial(draw_visibilities, content.visibilities)
        draws["chi_squared"] = partial(draw_chi_squared, content.visibilities)
    noise = content.noise_model
    if noise and (noise["uvdist"] or any(noise["measured"])):
        draws["noise_scales"] = partial(draw_noise_scales, noise)
    draws["histogram"] = partial(draw_histogram, content)
    figures = [Drawing(name, CAPTIONS[name], draw) for name, draw in draws.items()]
    return Section("Is the residual noise?", residual_sentences(content), figures, arrangement="triples")


def residual_sentences(content: ImagingContent) -> list[str]:
    """What the residual says, in words."""
    sentences = [] if content.image_residual is None else [content.image_residual.sentences()]
    if (visibilities := content.visibilities) is not None:
        count, chi2 = visibilities.count.sum(), visibilities.total_reduced_chi2
        sentences.append(
            f"The reduced χ² of {count:.0f} visibilities is {with_error(chi2, chi2 * count**-0.5)}. Noise alone has 1, "
            f"and scatters by {visibilities.count.mean() ** -0.5:.2g} in a single bin of baseline length."
        )
    return sentences


def _major_cycles(cycles: Sequence[Mapping[str, float]]) -> Section:
    columns = ("cycle", "iterations", "χ²", "reduced χ²", "peak residual", "r.m.s. residual", "model flux", "seconds")
    rows = [
        (
            f"{cycle['cycle']:.0f}",
            f"{cycle['iterations']:.0f}",
            _known(cycle["chi2"], ".6g"),
            _known(cycle["reduced_chi2"], ".5g"),
            quantity(cycle["peak_residual"], "Jy/beam"),
            quantity(cycle["rms_residual"], "Jy/beam"),
            quantity(cycle["model_flux"], "Jy"),
            f"{cycle['seconds']:.1f}",
        )
        for cycle in cycles
    ]
    return Section("Major cycles", table=Table(columns, rows))


def _known(value: float, form: str) -> str:
    """The number as text, where it is one."""
    return "not known" if value != value else format(value, form)
