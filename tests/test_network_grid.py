"""Images of any size and sampling reach the network on its own grid, and come back."""

import jax
import numpy as np
import pytest

from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.network_grid import TILE, Axis, NetworkView

NETWORK = ImageNetwork(jax.random.PRNGKey(0), (4, 4, 4))


def gaussian(shape, y, x, fwhm):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-4 * np.log(2) * ((rows - y) ** 2 + (columns - x) ** 2) / fwhm**2)


def view(shape, beam):
    ny, nx = shape
    return NetworkView(NETWORK, gaussian((2 * ny, 2 * nx), ny, nx, beam), beam)


@pytest.mark.parametrize("size", [100, 127, 128, 130, 255, 401])
@pytest.mark.parametrize("step", [1.0, 0.6, 2.3])
def test_every_pixel_has_a_tile_that_holds_it(size, step):
    axis = Axis(size, step)
    inside = np.arange(axis.length) - np.array(axis.starts)[axis.owners]
    assert inside.min() >= 0
    assert inside.max() < TILE
    assert axis.to_network(np.array([0.0, size - 1])).min() >= 0
    assert axis.to_network(np.array([0.0, size - 1])).max() <= axis.length - 1


@pytest.mark.parametrize("shape", [(96, 96), (128, 101), (300, 233)])
def test_tiles_put_together_are_the_image(shape):
    of_image = view(shape, 5.0)
    image = np.random.default_rng(1).normal(size=shape)
    whole = of_image._assembled(of_image._tiles(image), 1)
    y, x = (int(-axis.offset) for axis in (of_image.rows, of_image.columns))
    np.testing.assert_array_equal(whole[y : y + shape[0], x : x + shape[1]], image.astype(np.float32))


@pytest.mark.parametrize("beam", [3.0, 11.0])
def test_a_beam_has_the_pixels_of_the_training_after_interpolation(beam):
    of_image = view((200, 160), beam)
    tiles = of_image._tiles(gaussian((200, 160), 99.5, 79.5, beam))
    middle = of_image._assembled(tiles, 1)
    assert np.sum(middle > 0.5) == pytest.approx(np.pi / 4 * 5.2**2, rel=0.2)
    assert np.sum(of_image._psf[0] > 0.5) == pytest.approx(np.pi / 4 * 5.2**2, rel=0.2)


@pytest.mark.parametrize(("shape", "beam"), [((96, 131), 5.0), ((140, 97), 8.0)])
def test_a_model_keeps_its_flux_where_the_network_has_nothing_to_say(shape, beam):
    silent = jax.tree.map(lambda array: 0 * array if hasattr(array, "shape") else array, NETWORK)
    of_image = NetworkView(silent, gaussian((2 * shape[0], 2 * shape[1]), *shape, beam), beam)
    model = gaussian(shape, 40, 50, 9.0)
    proposal = of_image(np.zeros(shape), model)
    np.testing.assert_allclose(proposal.model, model, atol=1e-6)


def test_an_image_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="30 x 30 pixels is too small for the network; it needs 32 x 32"):
        view((30, 30), 5.0)
