"""Figures of sources show them where they are, and true ones are counted one to one."""

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle
from numpy.testing import assert_allclose

from casa_ml_tasks.report.source_content import SourceContent, half_boxes, matched
from casa_ml_tasks.report.source_figures import draw_probabilities, draw_source_map, draw_true_numbers, draw_truth
from casa_ml_tasks.report.source_sections import source_sections
from casa_ml_tasks.report.spectra_figure import draw_spectra

FWHM = np.sqrt(8 * np.log(2))  # standard deviations
SHAPE, CELL, CHANNELS = (40, 50), 0.1, 6


def table(x, y, **others):
    count = len(x)
    shapes = {"major": np.full(count, 0.8), "minor": np.full(count, 0.4), "pa": np.zeros(count)}
    return Table({"x": np.array(x, float), "y": np.array(y, float), **shapes, **others})


@pytest.fixture
def content():
    rng = np.random.default_rng(4)
    count = 2
    names = ("major", "minor", "pa", "flux", "continuum")
    sources = table([10.0, 30.0], [30.0, 12.0], flux=[1.0, 0.5], continuum=[0.9, 0.4])
    for name in names:
        sources[f"{name}_err"] = 0.05
    sources["id"], sources["name"], sources["flags"] = [1, 2], ["A", "B"], ["", "edge"]
    sources["lines"], sources["snr"], sources["probability"] = [0, 1], [20.0, 8.0], [0.97, 0.62]
    sources["ra"], sources["dec"] = [1.0, 2.0], [-3.0, -4.0]
    sources["spectrum"] = np.ones((count, CHANNELS))
    sources["spectrum"][:, 2] = np.nan
    sources["spectrum_err"] = np.full((count, CHANNELS), 0.1)
    ordered = ["id", "name", "ra", "dec", *[n for n in sources.colnames if n not in ("id", "name", "ra", "dec")]]
    line = {name: [1.0] for name in ("frequency", "velocity", "fwhm", "flux", "snr", "probability")}
    line |= {f"{name}_err": [0.1] for name in ("frequency", "velocity", "fwhm", "flux")}
    return SourceContent(
        dirty=rng.normal(size=SHAPE),
        residual=rng.normal(size=SHAPE),
        noise=1.0,
        probability=np.zeros(SHAPE),
        cell=CELL,
        beam=(0.5, 0.4, 20.0),
        sources=sources[ordered],
        lines=Table({"id": [2], "first": [3], "last": [4], "kind": ["single"], **line}),
        channels=Table({"frequency": 1e9 * np.arange(1, CHANNELS + 1), "velocity": 10.0 * np.arange(CHANNELS)}),
        field_flags=("the beam is long",),
        truth=table([10.5, 44.0], [30.0, 5.0], continuum=[1.0, 1.0]),
    )


def test_each_true_source_counts_once_and_as_many_as_possible_are_matched():
    sources, truth = table([10.0, 11.0, 40.0], [10.0, 10.0, 10.0]), table([11.2, 12.5, 20.0], [10.0, 10.0, 30.0])
    matches = matched(sources, truth, near=2.0)
    assert sorted(zip(matches.found.tolist(), matches.true.tolist(), strict=True)) == [(0, 0), (1, 1)]
    assert (matches.missed.tolist(), matches.unknown.tolist()) == ([2], [2])


def test_nothing_matches_nothing():
    matches = matched(table([], []), table([1.0], [1.0]), near=2.0)
    assert (len(matches.found), matches.missed.tolist()) == (0, [0])


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 135.0])
def test_a_box_encloses_the_two_sigma_ellipse(angle):
    turn = np.linspace(0, 2 * np.pi, 20001)
    along, across = 2 * 0.8 / FWHM * np.cos(turn), 2 * 0.4 / FWHM * np.sin(turn)
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    shape = table([1.0], [1.0])
    shape["pa"] = angle
    east, north = half_boxes(shape)
    assert_allclose(east, np.max(along * sine + across * cosine), rtol=1e-6)
    assert_allclose(north, np.max(along * cosine - across * sine), rtol=1e-6)


def test_boxes_lie_on_their_sources_with_their_numbers(content):
    axes = draw_source_map(content).axes[0]
    boxes = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    centres = np.array([box.get_center() for box in boxes])
    assert_allclose(centres, [[(25 - 10) * CELL, (30 - 20) * CELL], [(25 - 30) * CELL, (12 - 20) * CELL]], atol=1e-9)
    assert [text.get_text() for text in axes.texts] == ["1", "2"]


def test_the_truth_is_counted_in_figure_and_sentence(content):
    labels = [text.get_text() for text in draw_truth(content).axes[0].get_legend().get_texts()]
    assert labels == ["true, found (1)", "true, missed (1)", "found (1)", "not true (1)"]
    (section,) = [each for each in source_sections(content) if each.title.startswith("Truth")]
    assert "1 of 2 true sources" in section.sentences[0]
    assert len(draw_true_numbers(content).axes) == 3


def test_the_share_of_true_sources_stands_at_their_probability(content):
    (points,) = [line for line in draw_probabilities(content).axes[1].lines if line.get_marker() == "o"]
    assert_allclose(points.get_data(), [[0.62, 0.97], [0.0, 1.0]])


def test_lines_are_shaded_over_their_channels_and_sources_with_lines_come_first(content):
    first = draw_spectra(content).axes[0]
    assert first.get_title(loc="left").startswith("2")
    (shade,) = [patch for patch in first.patches if isinstance(patch, Rectangle)]
    assert_allclose(sorted([shade.get_x(), shade.get_x() + shade.get_width()]), [25, 45])


def test_every_figure_is_drawn_and_flags_are_said(content):
    sections = source_sections(content)
    for figure in [figure for section in sections for figure in section.figures]:
        FigureCanvasAgg(figure.draw()).draw()
    assert "The beam is long." in sections[0].sentences
    assert sections[0].table.rows[1][-1] == "edge"
