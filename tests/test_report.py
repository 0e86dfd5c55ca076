"""The report shows the sky the way round that astronomers expect, with the right numbers, and works offline."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Ellipse

from casa_ml_tasks.calibration.residual_visibilities import AnnulusSums
from casa_ml_tasks.kernels.uv_annuli import annulus_of
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior, PowerSpectrum
from casa_ml_tasks.report import page as report_page
from casa_ml_tasks.report.content import ReportContent
from casa_ml_tasks.report.convergence_figure import draw_convergence
from casa_ml_tasks.report.image_residual import image_residual
from casa_ml_tasks.report.imaging_content import ImagingContent
from casa_ml_tasks.report.imaging_sections import imaging_sections, residual_sentences
from casa_ml_tasks.report.page import split_parameters
from casa_ml_tasks.report.posterior_figures import (
    draw_inference,
    draw_power_spectrum,
    draw_relative_uncertainty,
    draw_samples,
)
from casa_ml_tasks.report.posterior_section import posterior_section
from casa_ml_tasks.report.residual_figures import (
    draw_chi_squared,
    draw_histogram,
    draw_visibilities,
    residual_histogram,
)
from casa_ml_tasks.report.sky_figures import (
    block_mean,
    draw_dirty,
    draw_model,
    draw_residual,
    draw_restored,
    sky_edges,
)

SMALL = {"visibilities", "chi_squared", "histogram"}
OF_POSTERIOR = {"samples", "relative_uncertainty", "power_spectrum", "inference"}
FIGURES = {"dirty", "model", "restored", "residual", "convergence", *SMALL}
SKY = [draw_dirty, draw_model, draw_restored, draw_residual]
CELL = 0.5
NOISE = 2e-5
SHAPE = (63, 80)
EAST_OF_CENTRE = (40, 10)


def statistics():
    """1 mJy at the phase centre, of which the model lacks a tenth, in noise of 5 mJy on baselines up to 400 kλ."""
    rng = np.random.default_rng(9)
    uvw = rng.normal(scale=1e5, size=(20_000, 3))
    weight = np.full(len(uvw), 5e-3**-2)
    noise = 5e-3 * (rng.normal(size=len(uvw)) + 1j * rng.normal(size=len(uvw)))
    model = np.full(len(uvw), 9e-4 + 0j)
    sums = AnnulusSums.none(1e6).plus(annulus_of(uvw, 1e6), noise + 1e-3, model, weight)
    return sums.statistics(1.0)


SUMMARY = {"stopped because": "peak < 3 & converged"}


def sections_of(content, posterior=None):
    """Of an imaging run, and of its posterior, as resolveimage has them."""
    images, *others = imaging_sections(content)
    return [images, *([] if posterior is None else [posterior_section(content, posterior)]), *others]


def write_report(content, directory, posterior=None, summary=SUMMARY):
    """The page of a call that changes a few parameters."""
    report = ReportContent(
        task="rmlclean" if posterior is None else "resolveimage",
        imagename="a<b>&'c'",
        parameters={"vis": "my.ms", "imagename": "a<b>&'c'", "imsize": [80, 63], "niter": 0, "robust": 0.5},
        defaults={"vis": "", "imagename": "", "imsize": [100], "niter": 0, "robust": 0.5},
        summary=summary,
        sections=sections_of(content, posterior),
    )
    return report_page.write_report(report, directory)


@pytest.fixture
def content() -> ImagingContent:
    """A source of 1 mJy, 30 pixels East and 9 North of the centre, in noise, with masked corners."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(x - 40, y - 31)
    residual = np.where(radius < 45, rng.normal(scale=NOISE, size=SHAPE), np.nan)
    source = np.zeros(SHAPE)
    source[EAST_OF_CENTRE] = 1e-3
    cycles = [
        {
            "cycle": i,
            "chi2": 1e5 / 10**i,
            "reduced_chi2": 100 / 10**i,
            "peak_residual": 1e-3 / 10**i,
            "rms_residual": NOISE,
            "model_flux": 1e-3,
            "iterations": 10 * i,
            "seconds": 1.5,
        }
        for i in range(3)
    ]
    return ImagingContent(
        dirty=source + residual,
        model=source,
        restored=source + residual,
        residual=residual,
        cell=CELL,
        beam=(6.0, 2.0, 30.0),
        primary_beam=np.exp(-4 * math.log(2) * (radius / 40) ** 2),
        noise=NOISE,
        cycles=cycles,
        visibilities=statistics(),
    )


def displayed(figure: Figure, x: float, y: float) -> np.ndarray:
    """Where a point in arcsec East and North lands on the canvas, pixels right and up."""
    figure.draw_without_rendering()
    return figure.axes[0].transData.transform((x, y))


def rendered(figure: Figure) -> np.ndarray:
    """The canvas as (rows from the top, columns, RGBA)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


@pytest.mark.parametrize("draw", SKY)
def test_a_source_in_the_north_east_appears_above_and_left_of_the_centre(content, draw):
    source = content.model
    figure = draw(replace(content, dirty=source, model=source, restored=source, residual=source))
    with_source = rendered(figure)
    figure.axes[0].images[0].set_data(np.zeros(SHAPE))
    rows, columns = np.nonzero(np.any(with_source != rendered(figure), axis=2))
    right, up = columns.mean(), len(with_source) - rows.mean()
    frame = figure.axes[0].bbox
    assert right == pytest.approx(frame.x0 + frame.width * 10.5 / 80, abs=2)
    assert up == pytest.approx(frame.y0 + frame.height * 40.5 / 63, abs=2)
    assert (right, up) == pytest.approx(displayed(figure, (40 - 10) * CELL, (40 - 31) * CELL), abs=2)


@pytest.mark.parametrize("shape", [(64, 64), (63, 80), (5, 8)])
def test_the_reference_pixel_has_offset_zero(shape):
    ny, nx = shape
    east, west, south, north = sky_edges(shape, CELL)
    x = east + (nx // 2 + 0.5) * (west - east) / nx
    y = south + (ny // 2 + 0.5) * (north - south) / ny
    assert (x, y) == pytest.approx((0, 0), abs=1e-12)
    assert (east - west, north - south) == pytest.approx((nx * CELL, ny * CELL))


@pytest.mark.parametrize("position_angle", [-60.0, 0.0, 30.0, 85.0])
@pytest.mark.parametrize("draw", [draw_dirty, draw_restored, draw_residual])
def test_the_beam_is_drawn_to_scale_and_turned_from_north_to_the_left(content, draw, position_angle):
    figure = draw(replace(content, beam=(6.0, 2.0, position_angle)))
    (ellipse,) = (patch for patch in figure.axes[0].patches if isinstance(patch, Ellipse))
    centre = displayed(figure, *ellipse.get_center())
    offsets = ellipse.get_verts() - centre
    right, up = offsets[np.argmax(np.hypot(*offsets.T))]
    angle = math.degrees(math.atan2(-right, up))
    assert (angle - position_angle + 90) % 180 - 90 == pytest.approx(0, abs=1)
    pixel = displayed(figure, 0, 1)[1] - displayed(figure, 0, 0)[1]
    assert 2 * np.hypot(*offsets.T).max() / pixel == pytest.approx(6.0, rel=0.01)
    assert 2 * np.hypot(*offsets.T).min() / pixel == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(
    ("cell", "unit"),
    [(2e-6, "µas"), (1e-4, "mas"), (0.05, "arcsec"), (CELL, "arcsec"), (15.0, "arcmin"), (600.0, "deg")],
)
def test_axes_have_the_unit_that_fits_and_nothing_is_clipped(inferred, posterior, cell, unit):
    """Of images of every size and brightness: all text lies on the canvas, and pixel and beam are where they were."""
    scale = cell / CELL
    images = {name: scale * getattr(inferred, name) for name in ("dirty", "model", "restored", "residual")}
    beam = (6.0 * scale, 2.0 * scale, 30.0)
    content = replace(inferred, cell=cell, beam=beam, noise=scale * NOISE, **images)
    for drawing in [figure for section in sections_of(content, posterior) for figure in section.figures]:
        figure = drawing.draw()
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert (box.min > -0.01).all(), drawing.name
        assert (box.max < figure.get_size_inches() + 0.01).all(), drawing.name
    figure = draw_restored(content)
    assert figure.axes[0].get_xlabel() == f"offset East ({unit})"
    assert figure.axes[0].get_ylabel() == f"offset North ({unit})"
    east, west, _, _ = figure.axes[0].images[0].get_extent()
    assert 0.1 <= (east - west) / 2 < 1000
    (ellipse,) = (patch for patch in figure.axes[0].patches if isinstance(patch, Ellipse))
    assert ellipse.height / ((east - west) / SHAPE[1]) == pytest.approx(6.0 / CELL)
    assert draw_power_spectrum(content, posterior).axes[0].get_xlabel() == f"spatial frequency (cycles/{unit})"


def test_the_model_has_no_beam(content):
    assert not draw_model(content).axes[0].patches


def test_the_residual_is_shown_between_five_times_the_noise_and_its_negative(content):
    figure = draw_residual(content)
    assert figure.axes[0].images[0].get_clim() == pytest.approx((-100, 100))
    (bar,) = figure.axes[0].child_axes
    assert bar.get_ylabel() == "µJy/beam"


def test_the_histogram_counts_every_pixel_inside_the_primary_beam_once(content):
    inside = np.isfinite(content.residual) & (content.primary_beam > 0.2)
    counts, edges = residual_histogram(content)
    assert counts.sum() == inside.sum() < np.isfinite(content.residual).sum()
    outlier = content.residual.copy()
    outlier[31, 40] = 1.0
    counts, edges = residual_histogram(replace(content, residual=outlier))
    assert counts.sum() == inside.sum()
    assert edges[-1] == pytest.approx(1.0 / NOISE)


def test_the_gaussian_holds_as_many_pixels_as_the_histogram(content):
    (line,) = draw_histogram(content).axes[0].lines
    counts, edges = residual_histogram(content)
    width = edges[1] - edges[0]
    assert np.trapezoid(line.get_ydata(), line.get_xdata()) / width == pytest.approx(counts.sum(), rel=1e-3)
    assert line.get_xdata()[np.argmax(line.get_ydata() > line.get_ydata().max() / 2)] == pytest.approx(-1.177, abs=0.01)


def test_the_residual_of_noise_is_called_noise(content):
    """Moments and outliers within their errors; one bright pixel is counted and named."""
    found = content.image_residual
    inside = np.isfinite(content.residual) & (content.primary_beam > 0.2)
    assert found.pixels == inside.sum()
    assert found.mean == pytest.approx(0, abs=4 / math.sqrt(found.pixels))
    assert found.deviation == pytest.approx(1, abs=4 / math.sqrt(2 * found.pixels))
    assert found.skewness == pytest.approx(0, abs=4 * math.sqrt(6 / found.pixels))
    assert found.kurtosis == pytest.approx(0, abs=4 * math.sqrt(24 / found.pixels))
    assert found.outliers == 0
    outlier = content.residual.copy()
    outlier[31, 40] = -7.5 * NOISE
    outlier[0, 0] = 99.0  # outside the primary beam
    named = replace(content, residual=outlier)
    assert named.image_residual.outliers == 1
    assert f"5 sigma: 1 of {found.pixels}" in residual_sentences(named)[0]
    assert "-7.5 sigma" in residual_sentences(named)[0]


def test_the_moments_are_those_of_a_skew_distribution():
    """Exponential: standard deviation 1, skewness 2, excess kurtosis 6."""
    residual = 2.0 * np.random.default_rng(2).exponential(size=(1000, 1000))
    found = image_residual(residual, None, 2.0, 1.0)
    assert (found.mean, found.deviation) == pytest.approx((1, 1), rel=0.01)
    assert (found.skewness, found.kurtosis) == pytest.approx((2, 6), rel=0.05)


def test_the_expected_largest_is_that_of_as_many_beams_of_noise():
    found = image_residual(np.ones((60, 50)), None, 1.0, 15.0)
    assert found.beams == pytest.approx(200)
    largest = np.abs(np.random.default_rng(1).normal(size=(20_000, 200))).max(axis=1)
    assert found.expected_largest() == pytest.approx(np.median(largest), rel=0.005)


def test_the_beams_are_counted_by_their_solid_angle(content):
    """Of a Gaussian, summed over fine pixels."""
    x, y = np.mgrid[-20:20:0.1, -20:20:0.1]
    gaussian = np.exp(-4 * math.log(2) * ((x / 6) ** 2 + (y / 2) ** 2))
    assert content.beam_area == pytest.approx(gaussian.sum() * 0.01 / CELL**2, rel=1e-3)
    assert content.image_residual.beams == pytest.approx(content.image_residual.pixels / content.beam_area)


def test_chi_squared_is_drawn_on_the_band_of_its_scatter(content):
    (axes,) = draw_chi_squared(content.visibilities).axes
    band, chi2 = (patch.get_data() for patch in axes.patches)
    np.testing.assert_allclose(chi2.values, content.visibilities.reduced_chi2)
    np.testing.assert_allclose(chi2.edges, content.visibilities.edges / 1e3)
    np.testing.assert_allclose(band.values - band.baseline, 4 / np.sqrt(content.visibilities.count))
    assert axes.get_xlabel() == "uv distance (kλ)"


def test_a_tenth_that_the_model_lacks_is_seen_in_the_real_residual_alone(content):
    above, below = draw_visibilities(content.visibilities).axes
    (model,) = above.patches
    np.testing.assert_allclose(model.get_data().values, 0.9, rtol=1e-6)
    assert above.get_ylabel() == "amplitude (mJy)"
    real, imaginary = (np.array(bars.lines[0].get_ydata()) for bars in below.containers)
    found = content.visibilities
    error = 1 / math.sqrt(np.sum(found.error**-2.0))
    unit = 1e-6 if "µ" in below.get_ylabel() else 1e-3
    assert np.average(real, weights=found.error**-2.0) * unit == pytest.approx(1e-4, abs=4 * error)
    assert np.average(imaginary, weights=found.error**-2.0) * unit == pytest.approx(0, abs=4 * error)


def test_without_residual_visibilities_their_figures_are_left_out(content, tmp_path):
    page = write_report(replace(content, visibilities=None), tmp_path / "report").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(FIGURES) - 2
    assert {path.stem for path in (tmp_path / "report").glob("*.png")} == FIGURES - {"visibilities", "chi_squared"}


@pytest.mark.parametrize("shape", [(12, 9), (13, 10)])
def test_downsampling_keeps_the_mean_and_ignores_masked_pixels(shape):
    image = np.random.default_rng(3).normal(size=shape)
    image[:4, :4] = np.nan
    image[8, 8] = np.nan
    small = block_mean(image, 4)
    assert small.shape == (math.ceil(shape[0] / 4), math.ceil(shape[1] / 4))
    assert np.isnan(small[0, 0])
    assert small[1, 1] == pytest.approx(image[4:8, 4:8].mean())
    assert small[2, 2] == pytest.approx(np.nanmean(image[8:12, 8:12]))


def test_a_huge_image_is_downsampled_and_keeps_its_place_on_the_sky(content):
    shape = (2050, 2100)
    image = np.zeros(shape)
    large = replace(content, dirty=image, model=image, restored=image, residual=image, primary_beam=None)
    drawn = draw_restored(large).axes[0].images[0]
    assert max(drawn.get_array().shape) <= 1024
    east, west, south, north = drawn.get_extent()
    assert (east, south) == pytest.approx((1050.5 * CELL, -1025.5 * CELL))
    assert (east - west) / drawn.get_array().shape[1] == pytest.approx(3 * CELL)
    assert (north - south) / drawn.get_array().shape[0] == pytest.approx(3 * CELL)


def test_convergence_leaves_chi_squared_out_where_it_is_not_known(content):
    assert len(draw_convergence(content.cycles, NOISE).axes) == 2
    unknown = [{**cycle, "chi2": math.nan, "reduced_chi2": math.nan} for cycle in content.cycles]
    (axes,) = draw_convergence(unknown, NOISE).axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1, 0.1, 0.01])


def test_the_report_is_complete_and_a_second_one_replaces_only_its_own_files(content, tmp_path):
    directory = tmp_path / "a.report"
    index = write_report(content, directory)
    assert index == directory / "index.html"
    assert {path.name for path in directory.iterdir()} == {"index.html", *(f"{name}.png" for name in FIGURES)}
    (directory / "notes.txt").write_text("mine")
    index.write_text("old")
    write_report(content, str(directory))
    assert index.read_text() != "old"
    assert (directory / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [directory]


def test_every_png_has_the_size_of_its_figure_and_shows_something(content, pixels, tmp_path):
    with pixels():
        directory = write_report(content, tmp_path / "report").parent
    for name in FIGURES:
        pixels = imread(directory / f"{name}.png")
        height = 506 if name == "convergence" else round(110 * (5 * 63 / 80 + 1.1))
        expected = (462, 528, 4) if name in SMALL else (height, 792, 4)
        assert pixels.shape == pytest.approx(expected, abs=1)
        assert np.std(pixels[..., :3]) > 0.05


def test_the_page_refers_to_nothing_outside_itself(content, tmp_path):
    page = write_report(content, tmp_path / "report").read_text(encoding="utf-8")
    assert not re.search(r"https?://|src=\"(?!data:image/png;base64,)|href=|@import|url\(", page)
    assert page.count("data:image/png;base64,") == len(re.findall(r'alt="[^"]{20,}"', page)) == len(FIGURES)


def test_text_from_the_user_is_escaped(content, tmp_path):
    page = write_report(content, tmp_path / "report").read_text(encoding="utf-8")
    assert "a<b>" not in page
    assert "a&lt;b&gt;&amp;" in page
    assert "peak &lt; 3 &amp; converged" in page


def test_the_parameters_are_a_call_with_the_changed_ones_first_and_the_others_folded(content, tmp_path):
    page = write_report(content, tmp_path / "report").read_text(encoding="utf-8")
    call, folded = page.split("<details>")
    assert "rmlclean(\n    vis=&#39;my.ms&#39;,\n" in call
    assert "imsize=[80, 63]" in call
    assert "robust" not in call
    assert "robust=0.5" in folded


def test_parameters_are_compared_by_value_even_where_they_are_arrays():
    changed, unchanged = split_parameters(
        {"imsize": np.array([100, 100]), "scales": [], "new": 1}, {"imsize": [100, 100], "scales": [0]}
    )
    assert changed == {"scales": [], "new": 1}
    assert unchanged == {"imsize": [100, 100]}


@pytest.mark.parametrize(
    "change",
    [{"beam": None}, {"primary_beam": None}, {"noise": 0.0}, {"cycles": []}, {"summary": {}}],
    ids=lambda change: next(iter(change)),
)
def test_a_report_is_written_also_where_something_is_not_known(content, pixels, tmp_path, change):
    summary = change.pop("summary", SUMMARY)
    with pixels():
        index = write_report(replace(content, **change), tmp_path / "report", summary=summary)
    page = index.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(FIGURES)


def test_a_report_is_written_of_an_empty_sky(content, pixels, tmp_path):
    zeros = np.zeros(SHAPE)
    empty = replace(content, dirty=zeros, model=zeros, restored=zeros, residual=zeros, noise=0.0)
    with pixels():
        assert write_report(empty, tmp_path / "report").stat().st_size > 10_000


def test_images_of_different_shapes_are_refused(content):
    with pytest.raises(ValueError, match=r"model has shape \(2, 2\) and dirty \(63, 80\)"):
        replace(content, model=np.zeros((2, 2)))


@pytest.fixture
def posterior(content) -> Posterior:
    """The source with an uncertainty of a tenth of it, and a dark sky whose uncertainty is thrice its mean."""
    rng = np.random.default_rng(2)
    mean, deviation = np.where(content.model > 0, 1e-3, 1e-6), np.where(content.model > 0, 1e-4, 3e-6)
    draws = rng.normal(size=(6, 1, 1, *SHAPE))
    draws = (draws - draws.mean(axis=0)) / draws.std(axis=0, ddof=1)
    frequency = np.geomspace(0.01, 1, 20)
    power = frequency**-3 * np.linspace(0.5, 2, 6)[:, None]
    iterations = tuple(
        GlobalIteration(
            n, "warm" if n < 4 else "sample", 6, 1e5 / n, math.inf if n == 1 else 1 / n**2, 80, 0.8, 1 + 1 / n, 2.5
        )
        for n in range(1, 6)
    )
    samples = (mean + deviation * draws).astype(np.float32)
    return Posterior(samples, PowerSpectrum(frequency, power), iterations, problem="")


@pytest.fixture
def inferred(content, posterior) -> ImagingContent:
    """The posterior mean."""
    return replace(content, model=posterior.mean[0, 0], model_is_mean=True)


def test_the_relative_uncertainty_is_shown_where_the_mean_is_above_it(inferred, posterior):
    figure = draw_relative_uncertainty(inferred, posterior)
    shown = np.ma.masked_invalid(figure.axes[0].images[0].get_array())
    assert shown.count() == 1
    assert shown[EAST_OF_CENTRE] == pytest.approx(0.1, rel=1e-3)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].child_axes[0].get_yticklabels()]
    assert "100 %" in labels


@pytest.mark.parametrize("count", [2, 6])
def test_four_samples_share_their_colours_and_lie_where_the_mean_does(inferred, posterior, count):
    few = replace(posterior, samples=posterior.samples[:count])
    figure = draw_samples(inferred, few)
    images = [axes.images[0] for axes in figure.axes]
    assert len(images) == min(count, 4)
    assert len({(image.norm.vmin, image.norm.vmax) for image in images}) == 1
    mean = draw_model(inferred).axes[0].images[0]
    for image in images:
        assert image.get_extent() == pytest.approx(mean.get_extent())
        assert np.unravel_index(np.argmax(image.get_array()), SHAPE) == EAST_OF_CENTRE


def test_the_power_spectrum_is_drawn_with_the_band_of_the_samples(inferred, posterior):
    figure = draw_power_spectrum(inferred, posterior)
    spectrum = posterior.power_spectrum
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), spectrum.frequency**-3 * 1.25)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(spectrum.upper.max())
    assert figure.axes[0].lines[1].get_xdata()[0] == pytest.approx(1 / 6)


def test_the_inference_is_drawn_by_global_iteration_and_method(posterior):
    figure = draw_inference(posterior.iterations)
    change, chi_squared = (axes.lines[0].get_ydata() for axes in figure.axes)
    np.testing.assert_allclose(change[1:], [1 / 4, 1 / 9, 1 / 16, 1 / 25])
    np.testing.assert_allclose(chi_squared, [2, 3 / 2, 4 / 3, 5 / 4, 6 / 5])
    assert [line.get_label() for line in figure.axes[1].lines[1:]] == ["warm", "sample", "only noise left"]


def test_the_report_of_an_inference_has_its_figures_and_iterations(inferred, posterior, pixels, tmp_path):
    with pixels():
        page = write_report(inferred, tmp_path / "report", posterior).read_text(encoding="utf-8")
    assert {path.stem for path in (tmp_path / "report").glob("*.png")} == FIGURES | OF_POSTERIOR
    assert page.count("data:image/png;base64,") == len(FIGURES | OF_POSTERIOR)
    assert "Posterior mean: the expected brightness of the sky" in page
    assert "<td>sample</td>" in page
    assert "0.25 σ" in page


def test_a_report_is_written_of_a_posterior_without_a_spectrum(inferred, posterior, pixels, tmp_path):
    bare = replace(posterior, power_spectrum=None, iterations=())
    with pixels():
        write_report(inferred, tmp_path / "report", bare)
    expected = FIGURES | {"samples", "relative_uncertainty"}
    assert {path.stem for path in (tmp_path / "report").glob("*.png")} == expected
