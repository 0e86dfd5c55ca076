"""resolveimage beyond one positive image: spectral indices, cubes, absorption."""

import numpy as np
import pytest
from casatasks import exportfits, imhead

from casa_ml_tasks import resolveimage
from casa_ml_tasks.data.casa_image import read_frequencies, read_image
from casa_ml_tasks.simulation import Source, add_to_channels, simulate
from casa_ml_tasks.tasks import run

IMSIZE, CELL = 36, 0.27
STEEP, FLAT = Source(0.4, 2.2, 1.0, 0.45, index=3.0), Source(0.6, -2.0, -0.8, 0.5, index=-1.0)
CONTINUUM = Source(0.3, -2.0, -1.0, 0.4)
CHANNELS = 5


def line(channel):
    """A source that moves east, in all channels but the first."""
    return (Source(0.8, 1.4 * (channel - 3), 1.0, 0.5),) if channel else ()


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(run, "write_report", lambda content, directory: directory)


def infer(vis, imagename, **changes):
    arguments = {"imsize": IMSIZE, "cell": f"{CELL}arcsec", "datacolumn": "data", "noisescale": 1.0}
    few = {"nsamples": 16, "maxglobal": 1}
    return resolveimage(vis=str(vis), imagename=str(imagename), **{**arguments, **few, **changes})


def around(image, source, radius=1.3):
    """Sum of the pixels within some arcsec of a source, (..., ny, nx)."""
    y, x = (np.indices(image.shape[-2:]) - IMSIZE // 2) * CELL
    return (image * (np.hypot(-x - source.east, y - source.north) < radius)).sum(axis=(-2, -1))


def test_spectral_indices_are_found_within_their_errors(tmp_path):
    vis = tmp_path / "band.ms"
    simulate(vis, sources=(STEEP, FLAT), channels=4, channel_width=12e9, sigma=0.3)
    name = tmp_path / "sky"
    result = infer(vis, name, deconvolver="mtmfs", nterms=2, gridder="standard")
    made = {path.removeprefix(f"{name}.") for path in result["products"]}
    assert {f"{kind}.tt{term}" for kind in ("model", "uncertainty", "samples", "image") for term in "01"} <= made
    index, error, brightness = (read_image(f"{name}.{kind}")[0, 0] for kind in ("alpha", "alpha.error", "model.tt0"))
    for source in (STEEP, FLAT):
        weight = np.where(np.isfinite(index), brightness, 0)
        mean = around(weight * np.nan_to_num(index), source) / around(weight, source)
        its_error = around(weight * np.nan_to_num(error), source) / around(weight, source)
        assert abs(mean - source.index) < 3 * its_error
        assert its_error < 1
    assert np.isnan(index[:5, :5]).mean() > 0.5  # of 16 samples some agree by chance
    first, second = (read_image(f"{name}.samples.tt{term}") for term in "01")
    np.testing.assert_allclose(read_image(f"{name}.model.tt1")[0], second.mean(axis=0), rtol=1e-4, atol=1e-8)
    assert (first > 0).all()


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """A line that moves with frequency beside a continuum."""
    path = tmp_path_factory.mktemp("line") / "cube.ms"
    observed = simulate(path, sources=(), channels=CHANNELS, channel_width=1e7, sigma=0.3)
    add_to_channels(observed, lambda channel: (CONTINUUM, *line(channel)))
    return path


@pytest.mark.parametrize("specmode", ["cubedata", "cube"])
def test_a_cube_has_channels_with_uncertainties_and_samples_along_frequency(cube, specmode, tmp_path):
    name = tmp_path / "sky"
    result = infer(cube, name, specmode=specmode)
    assert read_image(f"{name}.model").shape == (CHANNELS, 1, IMSIZE, IMSIZE)
    flux, uncertainty = (np.array(result["posterior"][key])[:, 0] for key in ("flux", "flux_uncertainty"))
    beam = read_image(f"{name}.pb")[:, 0]
    for channel in range(CHANNELS):
        sources = (CONTINUUM, *line(channel))
        expected = sum(each.flux * around(beam[channel], each, 0.5) / around(np.ones(beam.shape), each, 0.5)[channel]
                       for each in sources)  # fmt: skip
        assert abs(flux[channel] - expected) < 4 * max(uncertainty[channel], 0.01)
    assert list(imhead(f"{name}.samples", verbose=False)["axisnames"])[2:] == ["Frequency", "Sample"]
    samples = read_image(f"{name}.samples")
    np.testing.assert_allclose(samples.mean(axis=0), read_image(f"{name}.model")[:, 0], rtol=1e-4, atol=1e-8)
    exportfits(f"{name}.samples", str(tmp_path / "samples.fits"))


def test_a_continuum_beside_a_line_is_told_from_it(cube, tmp_path):
    name = tmp_path / "sky"
    infer(cube, name, specmode="cubedata", components=["continuum"])
    model, of_line, of_continuum = (read_image(f"{name}.{kind}")[:, 0] for kind in ("model", "line", "continuum"))
    np.testing.assert_allclose(of_line + of_continuum, model, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(around(of_continuum, CONTINUUM), 0.3, atol=0.06)
    assert around(of_line, CONTINUUM)[[0, 3, 4]].max() < 0.03  # where the line is not near
    assert around(of_line[3], line(3)[0]) == pytest.approx(0.8, abs=0.1)
    assert (read_image(f"{name}.continuum.uncertainty") > 0).all()


def test_absorption_is_inferred_where_it_is_asked_for(tmp_path):
    vis, decrement = tmp_path / "absorbed.ms", Source(-0.8, 1.5, 1.0, 0.5)
    simulate(vis, sources=(Source(0.4, -2.0, -1.0, 0.4), decrement), sigma=0.2)
    with pytest.raises(ValueError, match=r"more negative .* components=\['absorption'\]"):
        infer(vis, tmp_path / "sky")
    name = tmp_path / "signed"
    infer(vis, name, components=["absorption"])
    model, emission, absorption = (read_image(f"{name}.{kind}")[0, 0] for kind in ("model", "emission", "absorption"))
    np.testing.assert_allclose(emission - absorption, model, atol=1e-6)
    assert around(model, decrement) == pytest.approx(-0.8, abs=0.1)
    assert around(model, Source(0, -2.0, -1.0)) == pytest.approx(0.4, abs=0.1)


def test_point_sources_everywhere_are_a_product_beside_the_rest(tmp_path):
    vis, name = tmp_path / "points.ms", tmp_path / "sky"
    point = Source(0.5, 6 * CELL, -5 * CELL)
    simulate(vis, sources=(Source(0.4, -2.0, 1.0, 0.8), point), sigma=0.2)
    infer(vis, name, pointsources="everywhere")
    points, uncertainty = (read_image(f"{name}.{kind}")[0, 0] for kind in ("points", "points.uncertainty"))
    model, at = read_image(f"{name}.model")[0, 0], (IMSIZE // 2 - 5, IMSIZE // 2 - 6)
    assert (model >= points * (1 - 1e-5)).all()
    assert abs(points[at] - 0.5) < 4 * uncertainty[at] < 0.2
    assert around(model - points, point, 0.1) < 0.05


def test_frequencies_are_those_of_the_channels(cube, tmp_path):
    infer(cube, tmp_path / "sky", specmode="cubedata", niter=0)
    np.testing.assert_allclose(read_frequencies(tmp_path / "sky.psf"), 230e9 + 1e7 * np.arange(CHANNELS), rtol=1e-6)
