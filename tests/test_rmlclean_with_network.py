"""rmlclean(minorcycle='deepfocus'): a network takes the first steps, and the data decide."""

import jax
import numpy as np
import pytest

from casa_ml_tasks import rmlclean
from casa_ml_tasks.data.casa_image import read_image
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.tasks import network_first
from casa_ml_tasks.tasks import rmlclean as family

IMAGING = {"imsize": [60, 63], "cell": "0.2arcsec", "datacolumn": "data"}


def image(vis, imagename, **changes):
    return rmlclean(vis=str(vis), imagename=str(imagename), **(IMAGING | changes))


@pytest.fixture
def untrained(monkeypatch):
    """A network that has learned nothing."""
    network = ImageNetwork(jax.random.PRNGKey(1), (16, 16, 16))
    for module in (network_first, family):
        monkeypatch.setattr(module, "load_image_network", lambda: network)


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
    np.testing.assert_allclose(restored[0], restored[1], atol=0.5 * np.max(theirs["image_noise"]))


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
