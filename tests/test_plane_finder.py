"""Sources of one plane: whatever a network proposes, only those stay that the data need."""

import equinox as eqx
import jax
import numpy as np

from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.network_grid import NetworkView
from casa_ml_tasks.simulation.uv_coverage import Observation, coverage
from casa_ml_tasks.sources.detection import candidates
from casa_ml_tasks.sources.dirty_cube import Beam, Plane
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.plane_finder import find_in_plane

N = 96
COVERAGE = coverage(Observation("alma.cycle9.3", -0.4, 1.0, None, 5.2), N)
SKY = Gaussians([40.3, 65.8], [50.2, 30.4], [9.0, 5.0], [6.0, 4.0], [0.4, 1.9], [60.0, 40.0])


def plane_of(sky, seed=1):
    psf = np.fft.fftshift(np.fft.irfft2(np.asarray(COVERAGE.transfer, float), (2 * N, 2 * N)))
    noise = np.asarray(COVERAGE.draw_noise(jax.random.PRNGKey(seed)))
    dirty = np.asarray(COVERAGE.operator(sky.image((N, N)).astype(np.float32))) + noise
    return Plane(dirty, psf, 1.0, Beam(5.2, 5.2, 0.0))


def wild_network():
    """A network without training that sees sources in noise."""
    network = ImageNetwork(jax.random.PRNGKey(1), (8, 8, 8))
    return eqx.tree_at(lambda each: each.detect[1].weight, network, 10 * network.detect[1].weight)


def test_noise_has_no_sources_whatever_is_proposed():
    plane = plane_of(Gaussians.empty())
    proposal = NetworkView(wild_network(), plane.psf, 5.2)(plane.dirty, np.zeros((N, N)))
    assert np.sum(candidates(proposal).probability > 0.5) >= 2
    assert len(find_in_plane(plane, wild_network())) == 0


def test_known_sources_are_fitted_again_and_those_that_the_plane_does_not_have_left_out():
    silent = jax.tree.map(lambda array: 0 * array if eqx.is_array(array) else array, wild_network())
    silent = eqx.tree_at(lambda each: each.detect[1].bias, silent, np.full(7, -5.0, np.float32))
    too_many = Gaussians.concatenated(SKY, Gaussians([20.0], [70.0], [5.0], [5.0], [0.0], [10.0]))
    found = find_in_plane(plane_of(SKY), silent, too_many)
    np.testing.assert_array_equal(found.origin, [0, 1])
    for name in ("x", "y", "flux"):
        error = getattr(found.fitted.gaussians, name) - getattr(SKY, name)
        assert np.all(np.abs(error) < 4 * getattr(found.fitted.errors, name))
