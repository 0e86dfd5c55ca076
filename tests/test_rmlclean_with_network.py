"""rmlclean(minorcycle='deepfocus'): a network takes the first steps, and the data decide."""

import jax
import numpy as np
import pytest

from benchmarks.deepfocus_race import restored_sky
from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_beam, read_image
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.simulation import Source, simulate
from casa_ml_tasks.tasks import rml_minor_cycles
from casa_ml_tasks.tasks import rmlclean as family

IMAGING = {"imsize": [60, 63], "cell": "0.2arcsec", "datacolumn": "data"}


def image(vis, imagename, **changes):
    return rmlclean(vis=str(vis), imagename=str(imagename), **(IMAGING | changes))


@pytest.fixture
def untrained(monkeypatch):
    """A network that has learned nothing."""
    network = ImageNetwork(jax.random.PRNGKey(1), (16, 16, 16))
    for module in (rml_minor_cycles, family):
        monkeypatch.setattr(module, "load_image_network", lambda *folder: network)


@pytest.mark.parametrize("options", [{}, {"specmode": "cube", "usemask": "auto-multithresh", "imager": "casa"}])
def test_the_sky_is_that_of_rmlclean_even_with_a_network_that_has_learned_nothing(
    options, untrained, simulated_ms, tmp_path
):
    ours, theirs = (
        image(simulated_ms.path, tmp_path / name, minorcycle=name, **options) for name in ("deepfocus", "rml")
    )
    assert ours["stopcode"] == theirs["stopcode"] == 10
    assert ours["nmajordone"] <= theirs["nmajordone"]
    restored = [read_image(tmp_path / f"{name}.image") for name in ("deepfocus", "rml")]
    np.testing.assert_allclose(restored[0], restored[1], atol=np.max(theirs["image_noise"]))


def test_a_faint_sky_is_nearer_to_the_truth_than_without_the_network(tmp_path):
    """With the weights of the package, at the resolution of the beam."""
    sources = (Source(0.12, 1.0, -0.52, 0.25), Source(0.05, -2.2, 0.8), Source(0.3, -1.5, -2.0, 0.5))
    observed = simulate(tmp_path / "faint.ms", antennas=24, channels=1, integrations=16, sigma=0.3, sources=sources)
    faint = {"imsize": 96, "cell": "0.13arcsec"}
    errors, noise = [], 0.0
    for name in ("deepfocus", "rml"):
        result = image(observed.path, tmp_path / name, minorcycle=name, **faint)
        assert result["stopcode"] == 10
        residual = read_image(tmp_path / f"{name}.residual")[0, 0]
        found = read_image(tmp_path / f"{name}.image")[0, 0] - residual
        truth = restored_sky(sources, read_beam(tmp_path / f"{name}.psf"), 96, 0.13)
        noise = float(np.max(result["image_noise"]))
        errors.append(np.sqrt(np.mean((found - truth) ** 2)))
        assert 0.85 * noise < residual.std() < 1.1 * noise
    assert noise < 0.05 * truth.max()
    assert errors[0] < errors[1]


def test_damaged_weights_are_named_before_anything_is_written(monkeypatch, simulated_ms, tmp_path):
    def damaged():
        raise ValueError("the weights are damaged")

    monkeypatch.setattr(family, "load_image_network", damaged)
    with pytest.raises(ValueError, match="the weights are damaged"):
        image(simulated_ms.path, tmp_path / "sky", minorcycle="deepfocus")
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_too_small_for_the_network_is_refused(untrained, simulated_ms, tmp_path):
    with pytest.raises(ValueError, match="an image of 20 x 20 pixels is too small for the network"):
        image(simulated_ms.path, tmp_path / "sky", minorcycle="deepfocus", imsize=20)
