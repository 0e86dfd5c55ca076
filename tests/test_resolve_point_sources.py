"""Point sources against dense Gaussian algebra, and found beside diffuse emission."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import invgamma, kstest

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.minor.resolve.coarse_likelihood import coarse_nodes
from casa_ml_tasks.minor.resolve.composition import continuum, continuum_and_points
from casa_ml_tasks.minor.resolve.correlated_field import Prior, hartley
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.point_field import PointField
from casa_ml_tasks.minor.resolve.point_sources import log_prior, standing_out
from casa_ml_tasks.minor.resolve.sketch import NO_SOURCES
from casa_ml_tasks.minor.resolve.sky_chain import ChainStart, ChainTarget, SkyState, run_sky_chain
from tests.few_visibilities import Observation, blob, expected_spectrum, finished

pytestmark = pytest.mark.usefixtures("double_precision")
PIXELS = np.array([[3, 5], [7, 2], [6, 9]])


@pytest.fixture(params=[(10, 12), (11, 13)])
def observed(request):
    """Observation, its dirty image, a diffuse sky."""
    observation, rng, shape = Observation(request.param, 0.02), np.random.default_rng(4), (1, *request.param)
    return observation, observation.observe(rng.uniform(0, 1, shape)), rng.uniform(0, 1, shape)


def test_what_sources_leave_of_the_normal_operator_is_symmetric_and_blind_to_them(observed):
    observation, dirty, sky = observed
    likelihood = observation.likelihood(dirty, PIXELS)
    other = np.random.default_rng(7).normal(size=sky.shape)
    product = np.vdot(other, likelihood.exact.operator(sky))
    assert product == pytest.approx(np.vdot(likelihood.exact.operator(other), sky), rel=1e-10)
    sources = np.zeros(sky.shape)
    sources[0, *PIXELS.T] = 1.0, 2.0, 3.0
    assert np.abs(likelihood.exact.operator(sources)).max() < 1e-9


def test_the_likelihood_is_that_of_the_best_fluxes(observed):
    """A flat prior of the fluxes makes their marginal likelihood the highest one, up to a constant."""
    observation, dirty, sky = observed
    marginal, whole = observation.likelihood(dirty, PIXELS), observation.likelihood(dirty)

    def highest(diffuse):
        fluxes = best_fluxes(observation, dirty, diffuse)[0]
        with_sources = diffuse.copy()
        with_sources[0, *PIXELS.T] += fluxes
        return float(whole.exact.value(with_sources))

    other = 0.5 * sky + 0.1
    difference = float(marginal.exact.value(sky)) - float(marginal.exact.value(other))
    assert difference == pytest.approx(highest(sky) - highest(other), rel=1e-6)


def best_fluxes(observation, dirty, diffuse):
    """Mean and covariance of the fluxes beside a sky, by dense matrices of the visibilities."""
    columns = observation.design[:, np.ravel_multi_index(PIXELS.T, observation.shape)]
    curvature = columns.T @ columns
    left = (dirty - observation.dirty(observation.design @ diffuse.ravel()))[0, *PIXELS.T]
    return np.linalg.solve(curvature, left / observation.sigma**2), np.linalg.inv(curvature)


def test_fluxes_are_drawn_with_their_mean_and_covariance(observed):
    observation, dirty, sky = observed
    sources = observation.sources(dirty, PIXELS)
    of_sky = ConvolutionNormalOperator.from_psf(observation.psfs)(jnp.asarray(sky))
    noise = np.random.default_rng(1).standard_normal((4000, len(PIXELS)))
    drawn = np.array(jax.vmap(lambda each: sources.draw(of_sky, observation.sigma[0], each))(noise))
    mean, covariance = best_fluxes(observation, dirty, sky)
    scatter = np.sqrt(np.diag(covariance))
    assert np.abs((drawn.mean(axis=0) - mean) / scatter).max() < 4 / np.sqrt(4000)
    np.testing.assert_allclose(
        np.cov(drawn.T) / np.outer(scatter, scatter), covariance / np.outer(scatter, scatter), atol=0.1
    )


@pytest.mark.parametrize("signal_to_noise", [0.0, 1.5, 6.0])
def test_fluxes_of_a_chain_have_their_inverse_gamma_prior(signal_to_noise):
    """A sky that is empty leaves of the posterior one flux, whose moments are integrals along a line."""
    observation, sigma, place = Observation((10, 12), 0.02), 0.02, PIXELS[:1]
    sky = LogNormalSky.of(observation.shape, continuum(Prior(-40.0)))
    dirty = np.zeros((1, *observation.shape))
    dirty[0, *place[0]] = signal_to_noise * sigma
    likelihood = observation.likelihood(dirty, place)
    start = Position(jnp.zeros((1, *observation.shape)), expected_spectrum(sky))
    points = coarse_nodes(np.zeros(dirty.shape), np.array([sigma]), observation.beam_area)
    mass = Mass.of(sky, start, points, observation.response(np.ones((1, 1))), likelihood.sources)
    still, generator = jnp.zeros((sky.parameters, sky.parameters)), np.random.default_rng(5)  # of the spectra
    start = SkyState(start, np.array([sigma]))
    target = ChainTarget(sky, likelihood, mass, still, trajectories=800, adapts=False)
    chain = run_sky_chain(target, ChainStart(start, generator, 0.8))
    fluxes = np.array([state.fluxes for state in chain.states])
    flux = sigma * np.linspace(1e-3, signal_to_noise + 6, 20_000)
    logarithm = jax.vmap(lambda each: log_prior(each, sigma))(jnp.asarray(flux)[:, None])
    density = np.exp(np.asarray(logarithm) - 0.5 * (flux / sigma - signal_to_noise) ** 2)
    density /= density.sum()
    mean = (density * flux).sum()
    scatter = np.sqrt((density * (flux - mean) ** 2).sum())
    assert fluxes.min() > 0
    assert abs(fluxes.mean() - mean) < 0.2 * scatter  # of some 200 independent samples
    assert fluxes.std() == pytest.approx(scatter, rel=0.15)


def test_no_sources_change_nothing(observed):
    observation, dirty, sky = observed
    sources = observation.sources(dirty, NO_SOURCES)
    channels = np.concatenate([sky, dirty])
    np.testing.assert_array_equal(sources.without(jnp.asarray(channels)), channels)


def test_what_stands_out_are_single_pixels_of_detected_sources():
    image, sigma = np.zeros((40, 50)), 0.01
    image[10, 20:22] = 0.6, 0.4  # between two pixels
    image[30, 40], image[33, 5] = 2.0, 0.05
    assert standing_out(image, sigma, 20.0).tolist() == [[30, 40], [10, 20]]
    assert standing_out(0 * image, sigma, 20.0).shape == (0, 2)


@pytest.mark.parametrize("given", [True, False])
def test_a_source_beside_diffuse_emission_is_found_within_its_uncertainty(given):
    shape, place = (32, 32), np.array([[10, 20]])
    observation, truth = Observation(shape, 0.002), blob(shape)
    truth[*place.T] += 0.5
    resolve = observation.resolve(sources=place if given else None)
    state, _ = finished(resolve, observation.observe(truth))
    posterior = resolve.posterior(state)
    assert np.argwhere(posterior.points[0, 0]).tolist() == place.tolist()
    at = (0, 0, *place[0])
    assert abs(posterior.points[at] - 0.5) < 4 * posterior.uncertainty[at]
    assert posterior.uncertainty[at] < 0.1
    total = posterior.fluxes[:, 0, 0]
    assert abs(total.mean() - 1.5) < 4 * total.std()


def test_sources_everywhere_are_found_within_their_uncertainty_and_told_from_what_is_diffuse():
    """Of which the brightest is 250 times the noise, and the faintest 15 times."""
    shape, sigma = (40, 40), 0.002
    places, fluxes = np.array([[8, 30], [10, 9], [30, 31]]), np.array([0.5, 0.1, 0.03])
    observation, diffuse = Observation(shape, sigma, points=200), blob(shape)
    truth = diffuse.copy()
    truth[*places.T] += fluxes
    resolve = observation.resolve(compose=continuum_and_points)
    state, _ = finished(resolve, observation.observe(truth))
    posterior = resolve.posterior(state)
    points = posterior.components["points"][:, 0, 0]
    assert posterior.converged
    for (y, x), flux in zip(places, fluxes, strict=True):
        around = points[:, y - 1 : y + 2, x - 1 : x + 2].sum(axis=(-2, -1))
        assert abs(around.mean() - flux) < 4 * around.std() < 20 * sigma
    left = (posterior.samples[:, 0, 0] - points).mean(axis=0) - diffuse
    assert np.abs(left).max() < 0.3 * diffuse.max()
    total = posterior.fluxes[:, 0, 0]
    assert abs(total.mean() - truth.sum()) < 4 * total.std()


@pytest.mark.parametrize("shape", [(10, 12), (11, 13)])
def test_pixels_of_a_point_field_have_an_inverse_gamma_distribution(shape):
    """Gaussian excitations make them independent; the logarithm is undone as far as it is steep."""
    field, rng = PointField(shape), np.random.default_rng(3)
    modes = jnp.exp(field.log_amplitude_of_rings(jnp.zeros(0)))[0, field.modes.ring]
    white = np.array([hartley(modes * rng.normal(size=shape)) for _ in range(300)])
    np.testing.assert_allclose(np.cov(white.reshape(300, -1).T), np.eye(white[0].size), atol=0.3)
    assert kstest(np.exp(field.logarithm(jnp.asarray(white))).ravel(), invgamma(1).cdf).pvalue > 0.01
    at = jnp.linspace(-1.5, 30, 201)
    np.testing.assert_allclose(field.field(field.logarithm(at)), at, rtol=1e-9, atol=1e-12)
    steepness, step = jax.vmap(jax.grad(field.logarithm))(at), 1e-5
    difference = (field.logarithm(at + step) - field.logarithm(at - step)) / (2 * step)
    np.testing.assert_allclose(steepness, difference, rtol=1e-6)
