"""The posterior of a mosaic and a single-dish map together, against a sky that is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.minor.resolve.coarse_likelihood import coarse_nodes
from casa_ml_tasks.minor.resolve.joint import JointResolve
from casa_ml_tasks.minor.resolve.posterior import Inference
from casa_ml_tasks.minor.resolve.settings import Settings
from tests.joint_observation import JointObservation

SHAPE = (48, 50)


@pytest.fixture(scope="module")
def observed():
    """An observation, the true sky, and the residual of no model."""
    observation = JointObservation(SHAPE, width=12.0, longest=0.2, points=60)
    sky = observation.drawn_sky(2)
    return observation, sky, observation.sky_data(observation.map_of(sky)), observation.residual(sky)[None, None]


@pytest.mark.usefixtures("double_precision")
def test_the_dirty_image_is_the_slope_of_the_sum_of_the_likelihoods(observed):
    observation, sky, data, residual = observed
    zero = jnp.zeros(SHAPE)
    mosaic = QuadraticLikelihood(observation.mosaic.normal(), jnp.asarray(residual[0, 0]), zero, observation.sigma)
    both = mosaic + data.maps[0].map.likelihood(np.zeros(SHAPE))
    assert data.factor == 2
    dirty = data.dirty(residual, np.zeros_like(residual))[0, 0] / data.data.sigma**2
    np.testing.assert_allclose(dirty, -both.gradient(zero)[::2, ::2], rtol=1e-5, atol=1e-6 * np.abs(dirty).max())
    wide = sky[::2, ::2]
    stuffed = np.zeros(SHAPE)
    stuffed[::2, ::2] = wide
    curvature = data.data.normal()(jnp.asarray(wide)) / data.data.sigma**2
    expected = both.curvature(jnp.asarray(stuffed))[::2, ::2]
    np.testing.assert_allclose(curvature, expected, atol=0.003 * np.abs(expected).max())  # of smaller boxes


@pytest.mark.usefixtures("double_precision")
def test_the_dirty_image_of_a_model_and_its_residual_is_that_of_no_model(observed):
    observation, sky, data, residual = observed
    left = residual - np.asarray(observation.mosaic.normal()(jnp.asarray(sky)))
    dirty = data.dirty(residual, np.zeros_like(residual))
    np.testing.assert_allclose(data.dirty(left, sky[None, None]), dirty, atol=1e-4 * np.abs(dirty).max())


def test_where_the_dish_alone_sees_the_sky_its_beam_is_that_of_the_nodes():
    noises = np.full((2, 1, 128, 128), 0.01)
    noises[0, :, :, 64:] = np.inf
    nodes = coarse_nodes(np.full((1, 128, 128), 1e-3), noises, np.array([10.0, 1000.0]))
    inside, outside = (np.count_nonzero(seen) for seen in (nodes.x < 64, nodes.x >= 64))
    assert inside > 3 * outside > 0
    assert nodes.flux.sum() == pytest.approx(128**2 * 1e-3)


@pytest.fixture(scope="module")
def inferred(observed):
    """What the chains find: the inference, its last model and state, and the residual."""
    _, _, data, residual = observed
    resolve = JointResolve(data, settings=Settings(samples=24, most_iterations=4))
    zero, state, residual = np.zeros((1, 1, *SHAPE), np.float32), MinorState(), residual.astype(np.float32)
    model = zero
    while state.unfinished or not state.iterations:
        model, state = resolve.update(residual, zero, state)
    return resolve, model, state, residual


def test_the_posterior_of_both_holds_the_sky_and_its_flux(observed, inferred):
    observation, sky, _, _ = observed
    resolve, model, state, _ = inferred
    assert isinstance(resolve, Inference)
    posterior = resolve.posterior(state)
    np.testing.assert_allclose(posterior.mean[0, 0], model[0, 0], atol=1e-5 * model.max())
    flux = posterior.fluxes[:, 0, 0]
    assert abs(flux.mean() - sky.sum()) < 3 * flux.std(ddof=1) < 0.05 * sky.sum()
    wide = posterior.samples[:, 0, 0, ::2, ::2] - sky[::2, ::2]
    inside = np.abs(wide.mean(axis=0)) < wide.std(axis=0, ddof=1)
    sensitivity = observation.mosaic.sensitivity()[::2, ::2]
    for seen in (sensitivity > 0.1, sensitivity < 0.1):
        assert 0.5 < inside[seen].mean() < 0.85  # of few samples and resolution elements


def test_the_model_has_the_residual_that_was_predicted_and_then_the_inference_has_ended(observed, inferred):
    observation, *_ = observed
    resolve, model, state, residual = inferred
    with jax.enable_x64(True):
        left = residual[0, 0] - np.asarray(observation.mosaic.normal()(jnp.asarray(model[0, 0], float)))
    np.testing.assert_allclose(state.predicted_residual[0, 0], left, atol=0.01 * observation.sigma)
    assert np.std(left) < 1.2 * observation.sigma
    same, after = resolve.update(left[None, None], model, state)
    assert after.converged
    assert same is model


def test_a_killed_inference_goes_on_as_if_it_had_not_been(observed):
    _, _, data, residual = observed
    zero, residual = np.zeros((1, 1, *SHAPE), np.float32), residual.astype(np.float32)

    def steps(resolves):
        state = MinorState()
        for resolve in resolves:
            _, state = resolve.update(residual, zero, state)
        return state

    settings = Settings(chains=2, trajectories=2)
    one, two, other = (JointResolve(data, settings=settings) for _ in range(3))
    np.testing.assert_array_equal(steps([one, one]).latent["excitations"], steps([two, other]).latent["excitations"])
