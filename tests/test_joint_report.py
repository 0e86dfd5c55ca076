"""The figures of data sets that are imaged together show the right numbers, whatever is missing."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Circle, Polygon
from numpy.testing import assert_allclose

from casa_ml_tasks.calibration.flux_scale import (
    FluxScale,
    FluxScales,
    SetOfVisibilities,
    overlap,
    span,
)
from casa_ml_tasks.calibration.uv_bins import uv_bins
from casa_ml_tasks.report.coverage_figure import draw_coverage
from casa_ml_tasks.report.joint_content import JointContent, Outline, Pointings, SetResidual
from casa_ml_tasks.report.joint_section import joint_sections
from casa_ml_tasks.report.set_residual_figure import draw_set_residuals
from casa_ml_tasks.report.uv_figures import draw_amplitudes, draw_power_spectra
from tests.flux_scales import fit_flux_scales

FIGURES = [draw_coverage, draw_amplitudes, draw_power_spectra, draw_set_residuals]
COLOUR_OF_7M = "#D55E00"


def data_set(rng, name, shortest, longest, scale, sigma=0.01):
    """A Gaussian of 1 Jy, of which the data are `scale` times the model."""
    uvdist = 10 ** rng.uniform(np.log10(shortest), np.log10(longest), 4000)
    model = np.exp(-((uvdist / 3e4) ** 2)) + 0j
    noise = sigma * (rng.normal(size=uvdist.size) + 1j * rng.normal(size=uvdist.size))
    return SetOfVisibilities(name, uvdist, scale * model + noise, model, np.full(uvdist.size, sigma**-2))


@pytest.fixture(scope="module")
def content():
    rng = np.random.default_rng(6)
    sets = [
        data_set(rng, "/data/a.12m.ms", 1e4, 2e5, 1.0),
        data_set(rng, "/data/a.7m.ms", 5e3, 3e4, 1.1),
        replace(data_set(rng, "/data/a.tp.image", 5e2, 8e3, 1.0), is_map=True),
    ]
    noise = rng.normal(size=(51, 60))
    noise[:, :5] = np.nan
    centres = np.array([-10.0, 0.0, 10.0])
    return JointContent(
        sets=[uv_bins(each) for each in sets],
        shared=overlap([*map(span, sets)]),
        scales=fit_flux_scales(sets),
        residuals=[SetResidual(each.name, 0.02 * noise, 0.02, 1.0) for each in sets],
        pointings=[
            Pointings("/data/a.12m.ms", centres, 2 * centres, np.full(3, 13.0)),
            Pointings("/data/a.7m.ms", centres[1:2] + 5, centres[1:2], np.full(1, 22.0)),
        ],
        outlines=[Outline("/data/a.tp.image", np.array([60, -50, -50, 60]), np.array([-40, -40, 45, 45]), 26.0)],
        model=np.abs(noise[:, 5:]),
        sensitivity=np.exp(-np.add.outer((np.arange(51) - 25) ** 2, (np.arange(55) - 27) ** 2) / 200),
        cell=1.0,
    )


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def test_the_ratio_panel_shows_data_over_model_of_each_set(content):
    above, below = drawn(draw_amplitudes(content)).axes[:2]
    points = {line.get_color(): line for line in below.lines if line.get_marker() in "os^"}
    x, ratio = points[COLOUR_OF_7M].get_data()
    assert_allclose(ratio[x < 20], 1.1, atol=0.01)
    assert x.min() > 5
    (dashed,) = [each for each in below.lines if each.get_linestyle() == "--" and each.get_color() == COLOUR_OF_7M]
    assert_allclose(dashed.get_ydata(), content.scales.scales[1].factor)
    assert [text.get_text() for text in above.get_legend().get_texts()][1] == "a.12m.ms: reference"


def test_every_point_of_an_amplitude_is_inside_the_axes(content):
    above, below = drawn(draw_amplitudes(content)).axes[:2]
    for axes in (above, below):
        low, high = axes.get_ylim()
        for line in axes.lines:
            if line.get_marker() in "os^":
                y = np.asarray(line.get_ydata())
                assert np.all((y > low) & (y < high))


def test_the_power_of_the_data_follows_that_of_the_sky_without_the_noise(content):
    panels = drawn(draw_power_spectra(content)).axes
    assert [each.get_title() for each in panels] == ["a.12m.ms", "a.7m.ms", "a.tp.image"]
    (points,) = [each for each in panels[1].lines if each.get_color() == COLOUR_OF_7M and each.get_marker() == "s"]
    x, power = points.get_data()
    assert_allclose(power[x < 20], 1.21 * np.exp(-2 * (x[x < 20] / 30) ** 2), rtol=0.05)


def test_the_coverage_shows_east_on_the_left_and_every_circle_whole(content):
    axes = drawn(draw_coverage(content)).axes[0]
    left, right = axes.get_xlim()
    assert left > 60
    assert right < -50
    circles = [each for each in axes.patches if isinstance(each, Circle) and not each.get_fill()]
    assert sorted(each.get_radius() for each in circles) == [13, 13, 13, 22]
    assert circles[3].get_center() == (5, 0)
    (outline,) = [each for each in axes.patches if isinstance(each, Polygon)]
    assert outline.get_xy()[:, 0].max() == 60


def test_the_residual_is_shown_over_its_noise_and_grey_where_nothing_is_seen(content):
    axes = drawn(draw_set_residuals(content)).axes[1]
    assert "a.7m.ms" in axes.get_title()
    assert axes.get_title().endswith(f"{content.residuals[1].rms:.2f} × noise")
    assert content.residuals[1].rms == pytest.approx(1, abs=0.05)
    shown = axes.images[0].get_array()
    assert_allclose(shown[:, 5:], content.residuals[1].residual[:, 5:] / 0.02)
    assert np.ma.getmaskarray(shown)[:, :5].all() or np.isnan(np.asarray(shown)[:, :5]).all()


def alone(content):
    """One Measurement Set and no map."""
    scales = FluxScales((FluxScale(content.sets[0].name, 1.0, 0.0),), 0)
    first = content.sets[:1], None, scales, content.residuals[:1], content.pointings[:1]
    return JointContent(*first, [], content.model, content.sensitivity, content.cell)


def of_nothing(content):
    """An empty model, and no flux scale."""
    sets = [
        replace(each, model_amplitude=0 * each.model_amplitude, model_power=0 * each.model_power)
        for each in content.sets
    ]
    unknown = tuple(FluxScale(each.name, 1.0, np.inf if number else 0.0) for number, each in enumerate(sets))
    empty = replace(content, sets=sets, scales=FluxScales(unknown, 0), model=0 * content.model)
    return replace(empty, sensitivity=np.ones_like(content.sensitivity))


def of_many(content):
    """Seven Measurement Sets."""
    sets = [replace(content.sets[1], name=f"{number}.ms") for number in range(7)]
    scales = tuple(FluxScale(each.name, 1.1, 0.01 * number) for number, each in enumerate(sets))
    residuals = [replace(content.residuals[1], name=each.name) for each in sets]
    pointings = [replace(content.pointings[0], name=each.name) for each in sets]
    return replace(
        content, sets=sets, scales=FluxScales(scales, 0), residuals=residuals, pointings=pointings, outlines=[]
    )


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("change", [alone, of_nothing, of_many])
def test_figures_are_drawn_whatever_is_missing(content, change, draw):
    drawn(draw(change(content)))


def test_the_sections_warn_of_the_set_that_disagrees(content):
    section, *others = joint_sections(content)
    figures = [figure.name for each in (section, *others) for figure in each.figures]
    assert figures == ["coverage", "amplitudes", "power_spectra", "set_residuals"]
    assert "relative to a.12m.ms" in section.sentences[0]
    warning = next(each for each in section.sentences if "a.7m.ms is 1.1" in each)
    assert "fluxscale='fit'" in warning
    rows = {row[0]: row for row in section.table.rows}
    assert rows["a.12m.ms"][2] == "reference"
    assert rows["a.7m.ms"][1] == "5 kλ to 30 kλ"
    assert rows["a.7m.ms"][2].startswith("1.1")
    assert joint_sections(alone(content))[0].sentences == []
    corrected = joint_sections(replace(content, corrected=True))[0].sentences
    assert "were divided by these factors" in corrected[0]
    assert not any("fluxscale" in each for each in corrected)
