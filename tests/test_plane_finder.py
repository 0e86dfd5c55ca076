"""Sources of one plane: whatever a network proposes, only those stay that the data need."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np

from casa_ml_tasks.networks.image_network import PATCH, DetectionMaps, ImageNetwork
from casa_ml_tasks.networks.network_grid import Axis, NetworkView, Proposal
from casa_ml_tasks.simulation.uv_coverage import Observation, coverage
from casa_ml_tasks.sources.detection import candidates
from casa_ml_tasks.sources.dirty_cube import Beam, Plane
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.looks import Look, new_candidates, sidelobe
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


def silent_network():
    silent = jax.tree.map(lambda array: 0 * array if eqx.is_array(array) else array, wild_network())
    return eqx.tree_at(lambda each: each.detect[1].bias, silent, np.full(7, -5.0, np.float32))


def test_noise_has_no_sources_whatever_is_proposed():
    plane = plane_of(Gaussians.empty())
    proposal = NetworkView(wild_network(), plane.psf, 5.2)(plane.dirty, np.zeros((N, N)))
    assert np.sum(candidates(proposal).probability > 0.5) >= 2
    assert len(find_in_plane(plane, wild_network())) == 0


def test_known_sources_are_fitted_again_and_those_that_the_plane_does_not_have_left_out():
    too_many = Gaussians.concatenated(SKY, Gaussians([20.0], [70.0], [5.0], [5.0], [0.0], [10.0]))
    found = find_in_plane(plane_of(SKY), silent_network(), too_many)
    np.testing.assert_array_equal(found.origin, [0, 1])
    for name in ("x", "y", "flux"):
        error = getattr(found.fitted.gaussians, name) - getattr(SKY, name)
        assert np.all(np.abs(error) < 4 * getattr(found.fitted.errors, name))


def test_noise_that_the_sources_leave_counts_where_it_is_more_than_was_stated():
    true = find_in_plane(plane_of(SKY), silent_network(), SKY)
    stated = find_in_plane(replace(plane_of(SKY), noise=0.3), silent_network(), SKY)
    np.testing.assert_allclose(stated.fitted.errors.flux, true.fitted.errors.flux, rtol=0.15)
    np.testing.assert_allclose(stated.fitted.delta_chi2, true.fitted.delta_chi2, rtol=0.3)


def seen(brightness, is_better):
    """A look at peaks in a row, each in a patch of its own, and the plane."""
    plane, (rows, columns) = plane_of(Gaussians.empty()), (Axis(N, 1.0), Axis(N, 1.0))
    shape = rows.length // PATCH, columns.length // PATCH
    numbers = {name: np.zeros(shape) for name in ("x", "y", "log_major", "log_minor", "cosine", "sine")}
    logit, residual = np.full(shape, -20.0), np.zeros((N, N), np.float32)
    for number, bright in enumerate(brightness):
        row, column = 10 + 2 * (number // 6), 8 + 2 * (number % 6)
        logit[row, column] = 3.0
        y, x = (int(axis.to_image((place + 0.5) * PATCH)) for axis, place in ((rows, row), (columns, column)))
        residual[y - 1 : y + 2, x - 1 : x + 2] = bright
    maps = DetectionMaps(**(numbers | {"logit": logit}))
    return Look(Proposal(residual, maps, rows, columns), residual, is_better), plane


def test_of_more_sources_than_any_field_of_the_training_has_the_brightest_are_tried():
    brightness = np.array([20, 5, 19, 18, 4, 17, 16, 15, 3, 14.0])
    look, plane = seen(brightness, is_better=True)
    found = new_candidates(look, Gaussians.empty(), 0.5, plane).gaussians
    values = look.residual[np.rint(found.y).astype(int), np.rint(found.x).astype(int)]
    assert sorted(values) == [14, 15, 16, 17, 18, 19, 20]
    assert (look.densest, look.is_compact) == (10, False)


def test_sidelobes_are_not_tried_where_the_data_contradict_the_network():
    _, plane = seen([1.0], is_better=False)
    look, plane = seen([100, 100 * sidelobe(plane) + 1, 100 * sidelobe(plane) - 1], is_better=False)
    assert len(new_candidates(look, Gaussians.empty(), 0.5, plane).gaussians) == 2
    look, plane = seen([100, 1], is_better=True)
    assert len(new_candidates(look, Gaussians.empty(), 0.5, plane).gaussians) == 2
    assert look.is_compact
