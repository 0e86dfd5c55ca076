"""deepfocus from a Measurement Set, with peaks in the place of trained networks."""

import jax
import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose

from casa_ml_tasks import deepfocus
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.networks.weights_file import save_arrays
from casa_ml_tasks.parallel import clusters
from casa_ml_tasks.sources import plane_finder
from casa_ml_tasks.sources.dirty_cube import Beam, DirtyCube
from casa_ml_tasks.tasks import deepfocus_of_visibilities
from casa_ml_tasks.tasks.found_sources import networks_of, sources_of_visibilities
from tests.dirty_files import BEAM, FIRST, SIGMA, WIDTH, PeakView, dirty_cube, two_sources

CENTRE = 246.0, -24.0  # degrees, of `simulated_ms`


@pytest.fixture
def weights(tmp_path):
    """Networks that know nothing: no step of theirs may raise chi^2, and peaks are found in their place."""
    save_arrays(tmp_path / "images.safetensors", ImageNetwork(jax.random.PRNGKey(0)), {})
    save_arrays(tmp_path / "lines.safetensors", LineNetwork(jax.random.PRNGKey(0)), {})
    return str(tmp_path)


@pytest.fixture
def peaks(monkeypatch):
    monkeypatch.setattr(plane_finder, "NetworkView", PeakView)


def test_a_killed_search_goes_on_to_the_true_sources(simulated_ms, weights, peaks, tmp_path, casa_log, monkeypatch):
    arguments = {"vis": str(simulated_ms.path), "imagename": str(tmp_path / "found"), "weights": weights}
    arguments |= {"imsize": [64, 72], "cell": "0.12arcsec", "datacolumn": "data", "pbcor": True}

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deepfocus_of_visibilities, "sources_of_visibilities", killed)
        with pytest.raises(KeyboardInterrupt):
            deepfocus(**arguments)
    assert not (tmp_path / "found.catalog").exists()
    iterations = casa_log().count("major cycle 1:")
    result = deepfocus(**arguments)
    assert "goes on with the unfinished run" in casa_log()
    assert casa_log().count("major cycle 1:") == iterations  # imaging is not done again
    assert "without effect" not in casa_log()
    found = Table.read(tmp_path / "found.catalog.ecsv")
    assert result["sources"] == len(found) == 2
    true = sorted(simulated_ms.sources, key=lambda source: source.flux)
    found.sort("flux")
    east = (found["ra"] - CENTRE[0]) * 3600 * np.cos(np.radians(CENTRE[1]))
    assert (np.abs(east - [each.east for each in true]) < 5 * found["ra_err"]).all()
    north = (found["dec"] - CENTRE[1]) * 3600
    assert (np.abs(north - [each.north for each in true]) < 5 * found["dec_err"]).all()
    assert_allclose(found["flux"], [each.flux for each in true], rtol=0.05)
    assert_allclose(found["major"][1], true[1].size * np.sqrt(8 * np.log(2)), rtol=0.1)
    for extension in ("image", "image.pbcor", "psf", "pb", "residual", "model", "continuum", "mask"):
        assert read_image(tmp_path / f"found.{extension}").shape == (1, 1, 72, 64)
    assert result["stopDescription"].startswith("converged")
    assert "minorcycle" not in (tmp_path / "found.report" / "index.html").read_text()


def test_a_channel_that_is_noisier_than_its_weights_is_measured_and_named(weights, peaks):
    dirty, psf = dirty_cube(two_sources(9), (64, 72), 9)
    dirty[4] = dirty_cube([], (64, 72), 1, sigma=30 * SIGMA, seed=5)[0][0]
    cube = DirtyCube(dirty, psf[None], np.full(9, SIGMA), Beam(BEAM, BEAM, 0.0), FIRST + WIDTH * np.arange(9))
    found, counted = sources_of_visibilities(cube, networks_of(weights), "deepfocus")
    assert_allclose(counted.noise[4], 30 * SIGMA, rtol=0.1)
    assert_allclose(np.delete(counted.noise, 4), SIGMA, rtol=0.3)
    assert any("in channel 4" in flag for flag in found.field_flags)


@pytest.mark.parametrize("how", [{"imager": "casa", "specmode": "cube"}, {"parallel": True, "specmode": "cubedata"}])
def test_cubes_are_searched_whoever_makes_the_major_cycles(how, simulated_ms, weights, peaks, tmp_path, monkeypatch):
    monkeypatch.setattr(clusters, "available_cores", lambda: 2)
    arguments = {"vis": str(simulated_ms.path), "imagename": str(tmp_path / "cube"), "weights": weights}
    result = deepfocus(**arguments, imsize=[64, 72], cell="0.12arcsec", datacolumn="data", **how)
    found = Table.read(result["catalog"] + ".ecsv")
    assert_allclose(np.sort(found["flux"]), sorted(each.flux for each in simulated_ms.sources), rtol=0.05)
    assert read_image(tmp_path / "cube.image").shape == (2, 1, 72, 64)
