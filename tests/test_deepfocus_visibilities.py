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
from casa_ml_tasks.sources import plane_finder
from casa_ml_tasks.tasks import deepfocus_of_visibilities
from tests.dirty_files import PeakView

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
