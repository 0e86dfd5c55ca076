"""Samples of the posterior against the analytic one where there is one, and against Monte Carlo where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.infer import MCMC, NUTS

from casa_ml_tasks.engine.protocols import MinorCycle, MinorState
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.minor.resolve.coarse_likelihood import CoarseInverse, coarse_points
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, Prior, hartley
from casa_ml_tasks.minor.resolve.hamiltonian import Mass, better_step, trajectory
from casa_ml_tasks.minor.resolve.minor_cycle import SAMPLERS, Resolve
from casa_ml_tasks.minor.resolve.posterior import Inference
from casa_ml_tasks.minor.resolve.randomised_maximum import Likelihood, Randomised, energy, most_probable


class Observation:
    """Visibilities at random places, so few that dense matrices hold them.

    Attributes:
        psf: (2 ny, 2 nx), Jy/beam.
        sigma: of the dirty image, Jy/beam.
    """

    def __init__(self, shape, sigma, seed=3, points=80, longest=0.25):
        rng = np.random.default_rng(seed)
        self.shape, self.sigma = shape, sigma
        self.baselines = rng.normal(scale=longest / 2, size=(points, 2))
        y, x = (np.arange(-n, n) for n in shape)
        self.psf = np.mean([np.cos(2 * np.pi * (v * y[:, None] + u * x)) for v, u in self.baselines], axis=0)
        phase = [2 * np.pi * (v * np.indices(shape)[0] + u * np.indices(shape)[1]).ravel() for v, u in self.baselines]
        self.response = np.concatenate([np.cos(phase), np.sin(phase)])  # real visibilities of an image
        self.beam_area = np.pi / (4 * np.log(2)) * (0.88 / longest) ** 2

    def dirty(self, visibilities):
        return (self.response.T @ visibilities).reshape(self.shape) / len(self.baselines)

    def noise(self, seed):
        """Of a dirty image: its covariance is sigma^2 times the normal operator."""
        scale = self.sigma * np.sqrt(len(self.baselines))
        return self.dirty(scale * np.random.default_rng([99, seed]).normal(size=len(self.response)))

    def observe(self, sky, seed=0):
        return self.dirty(self.response @ sky.ravel()) + self.noise(seed)

    def resolve(self, **options):
        return Resolve(
            self.psf[None, None], self.sigma, self.beam_area, 0.1, lambda seed: self.noise(seed)[None, None], **options
        )

    def likelihood(self, dirty, offset):
        return Likelihood(
            NormalOperator.from_psf(self.psf), jnp.asarray(dirty), jnp.zeros(self.shape), self.sigma, offset
        )


def drawn(observation, number, seed=5):
    excitations = np.random.default_rng([seed, number]).normal(size=observation.shape)
    return Randomised(jnp.asarray(observation.noise(1000 + number)), jnp.asarray(excitations))


@pytest.fixture
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("shape", [(16, 16), (11, 18)])
@pytest.mark.usefixtures("double_precision")
def test_the_gradient_of_the_energy_is_the_finite_difference(shape):
    observation = Observation(shape, 0.01)
    field = CorrelatedField(shape, Prior(offset=-4.0))
    rng = np.random.default_rng(1)
    at, along = rng.normal(size=(2, *shape))
    rest = (
        field.amplitude(field.expected_spectrum()),
        observation.likelihood(observation.noise(1), -4.0)._replace(flux_prior=0.3),
        drawn(observation, 0),
    )
    step = 1e-5
    difference = (energy(at + step * along, *rest) - energy(at - step * along, *rest)) / (2 * step)
    assert np.vdot(jax.grad(energy)(jnp.asarray(at), *rest), along) == pytest.approx(float(difference), rel=1e-6)


@pytest.mark.usefixtures("double_precision")
def test_samples_of_an_almost_linear_sky_have_the_analytic_mean_and_covariance():
    shape, offset = (10, 12), 0.0
    observation = Observation(shape, 2e-3)
    field = CorrelatedField(shape, Prior(offset, (0.01, 0.001), (0.02, 0.002)))
    amplitude = field.amplitude(field.expected_spectrum())
    size = amplitude.size
    truth = field.log_sky(amplitude, np.random.default_rng(2).normal(size=shape))
    dirty = observation.observe(np.exp(np.asarray(truth)))
    synthesis = np.array([hartley(amplitude * each) for each in np.eye(size).reshape(-1, *shape)]).reshape(size, size).T
    operator = np.array(
        [NormalOperator.from_psf(observation.psf)(each) for each in np.eye(size).reshape(-1, *shape)]
    ).reshape(size, size)
    covariance = np.linalg.inv(np.eye(size) + synthesis.T @ operator @ synthesis / observation.sigma**2)
    data = dirty.ravel() - operator @ np.ones(size)  # exp(tau) = 1 + tau
    mean = covariance @ synthesis.T @ data / observation.sigma**2

    likelihood = observation.likelihood(dirty, offset)
    points = coarse_points(np.ones(shape), observation.sigma, observation.beam_area)
    inverse = CoarseInverse.of(points, observation.psf, observation.sigma, np.asarray(field.covariance(amplitude)))
    found = [
        most_probable(jnp.zeros(shape), amplitude, likelihood, drawn(observation, number), inverse)
        for number in range(300)
    ]
    samples = np.array([hartley(amplitude * each.excitations) for each in found]).reshape(-1, size)
    deviation = np.sqrt(np.diag(synthesis @ covariance @ synthesis.T))
    error = (samples.mean(axis=0) - synthesis @ mean) / deviation
    assert np.sqrt(np.mean(error**2)) < 0.25  # 300 samples, and exp is not quite linear
    assert np.median(samples.std(axis=0) / deviation) == pytest.approx(1, abs=0.07)


@pytest.fixture(scope="module")
def detected_sky():
    """A log-normal sky that is partly detected, what there is to know of it, and NUTS' samples of its posterior."""
    shape, offset = (12, 12), -1.0
    with jax.enable_x64(True):
        observation = Observation(shape, 0.3)
        field = CorrelatedField(shape, Prior(offset, (0.5, 0.1), (1.0, 0.1)))
        amplitude = field.amplitude(field.expected_spectrum())
        truth = np.exp(np.asarray(field.log_sky(amplitude, np.random.default_rng(4).normal(size=shape))))
        likelihood = observation.likelihood(observation.observe(truth), offset)
        still = Randomised(jnp.zeros(shape), jnp.zeros(shape))

        def model():
            excitations = numpyro.sample("excitations", numpyro.distributions.Normal(jnp.zeros(shape), 1).to_event(2))
            numpyro.factor("data", -energy(excitations, amplitude, likelihood, still) + 0.5 * jnp.sum(excitations**2))

        sampler = MCMC(NUTS(model, max_tree_depth=7), num_warmup=300, num_samples=700, progress_bar=False)
        sampler.run(jax.random.PRNGKey(0))
        exact = np.array([likelihood.sky(amplitude, each) for each in sampler.get_samples()["excitations"]])
        points = coarse_points(truth, observation.sigma, observation.beam_area)
        inverse = CoarseInverse.of(points, observation.psf, observation.sigma, np.asarray(field.covariance(amplitude)))
    return observation, amplitude, likelihood, inverse, exact


@pytest.mark.usefixtures("double_precision")
def test_randomised_maxima_resemble_the_posterior_where_the_sky_is_detected(detected_sky):
    observation, amplitude, likelihood, inverse, exact = detected_sky
    start = jnp.zeros(amplitude.shape)
    found = [most_probable(start, amplitude, likelihood, drawn(observation, number), inverse) for number in range(200)]
    ours = np.array([likelihood.sky(amplitude, each.excitations) for each in found])
    detected = exact.mean(axis=0) > 2 * exact.std(axis=0)
    assert detected.sum() > 20
    error = (ours.mean(axis=0) - exact.mean(axis=0)) / exact.std(axis=0)
    assert np.sqrt(np.mean(error[detected] ** 2)) < 0.3
    assert np.median((ours.std(axis=0) / exact.std(axis=0))[detected]) == pytest.approx(1, abs=0.15)


@pytest.mark.usefixtures("double_precision")
def test_trajectories_have_the_posterior_everywhere(detected_sky):
    _, amplitude, likelihood, inverse, exact = detected_sky
    mass, excitations, skies, probabilities = Mass(inverse, amplitude), jnp.zeros(amplitude.shape), [], []
    for key in jax.random.split(jax.random.key(1), 700):
        moved = trajectory(excitations, key, likelihood, mass, 0.08)
        excitations = moved.excitations
        skies.append(np.asarray(likelihood.sky(amplitude, excitations)))
        probabilities.append(float(moved.probability))
    ours = np.array(skies[100:])
    assert np.mean(probabilities) > 0.6
    error = (ours.mean(axis=0) - exact.mean(axis=0)) / exact.std(axis=0)
    assert np.sqrt(np.mean(error**2)) < 0.2
    assert np.median(ours.std(axis=0) / exact.std(axis=0)) == pytest.approx(1, abs=0.1)


@pytest.mark.usefixtures("double_precision")
def test_momenta_have_the_covariance_whose_inverse_gives_velocities(detected_sky):
    _, amplitude, _, inverse, _ = detected_sky
    mass = Mass(inverse, amplitude)
    momenta = np.array([mass.draw(key) for key in jax.random.split(jax.random.key(2), 3000)])
    kinetic = [float(jnp.vdot(each, mass.velocity(each))) for each in momenta]
    assert np.mean(kinetic) == pytest.approx(amplitude.size, rel=0.02)
    assert np.var(kinetic) == pytest.approx(2 * amplitude.size, rel=0.15)


def test_the_step_follows_how_often_trajectories_are_accepted():
    assert better_step(0.02, 0.97) > 0.02 > better_step(0.02, 0.3)
    assert better_step(0.02, 0.8) == 0.02


@pytest.mark.usefixtures("double_precision")
def test_the_preconditioner_saves_iterations_at_high_dynamic_range():
    shape, sigma = (48, 48), 1e-4
    observation = Observation(shape, sigma, points=400)
    truth = blob(shape, width=6.0)
    field = CorrelatedField(shape, Prior(offset=float(np.log(0.1 * sigma / observation.beam_area))))
    amplitude = field.amplitude(field.expected_spectrum())
    start = field.coefficients(jnp.log(truth + 1e-3 * truth.max())) / amplitude
    likelihood = observation.likelihood(observation.observe(truth), field.prior.offset)
    covariance = np.asarray(field.covariance(amplitude))

    def one_step(most):
        points = coarse_points(truth, sigma, observation.beam_area, most)
        inverse = CoarseInverse.of(points, observation.psf, sigma, covariance)
        return most_probable(start, amplitude, likelihood, drawn(observation, 0), inverse, steps=1)

    with_points, without = one_step(2500), one_step(0)
    assert with_points.iterations < without.iterations / 3
    assert with_points.gain > 3 * without.gain


def finished(resolve, dirty, state=None, model=None):
    """All global iterations. Returns the last state and those on the way."""
    zero = np.zeros((1, 1, *dirty.shape), np.float32)
    states = [state or MinorState()]
    while not states[1:] or states[-1].unfinished:
        _, after = resolve.update(dirty[None, None].astype(np.float32), zero, states[-1])
        states.append(after)
    return states[-1], states[1:-1]


def blob(shape, flux=1.0, width=3.0):
    y, x = np.indices(shape)
    image = np.exp(-((y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2) / (2 * width**2))
    return flux * image / image.sum()


def test_it_is_a_minor_cycle_with_a_posterior():
    resolve = Observation((16, 16), 0.01).resolve()
    assert isinstance(resolve, MinorCycle)
    inference: Inference = resolve
    assert callable(inference.posterior)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("shape", [(32, 32), (27, 36)])
def test_a_source_is_found_within_its_uncertainty(shape, sampler):
    observation, truth = Observation(shape, 0.01), blob(shape)
    resolve = observation.resolve(sampler=sampler, samples=8)
    state, _ = finished(resolve, observation.observe(truth))
    posterior = resolve.posterior(state)
    assert posterior.samples.shape == (8, 1, 1, *shape)
    flux = posterior.fluxes[:, 0, 0]
    assert abs(flux.mean() - 1) < 4 * max(flux.std(), 0.01)
    bright = truth > 0.3 * truth.max()
    deviation = ((posterior.mean - truth) / posterior.uncertainty)[0, 0][bright]
    assert 0.3 < np.sqrt(np.mean(deviation**2)) < 1.5
    assert np.median(posterior.uncertainty[0, 0][bright]) < 0.5 * truth.max()
    assert (np.diff(posterior.power_spectrum.frequency) > 0).all()
    assert posterior.power_spectrum.samples.shape == (8, posterior.power_spectrum.frequency.size)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_resumed_between_global_iterations_ends_as_one_that_was_not_killed(sampler):
    observation = Observation((20, 20), 0.02)
    dirty = observation.observe(blob((20, 20)))
    whole, between = finished(observation.resolve(sampler=sampler, samples=4), dirty)
    resumed, _ = finished(observation.resolve(sampler=sampler, samples=4), dirty, between[-2])
    assert len(between) > 2
    for name, array in whole.latent.items():
        if name != "records":  # which hold seconds
            np.testing.assert_array_equal(resumed.latent[name], array)


def test_it_converges_when_the_major_cycle_confirms_its_prediction():
    observation = Observation((20, 20), 0.02)
    dirty = observation.observe(blob((20, 20)))
    resolve = observation.resolve(samples=4)
    state, _ = finished(resolve, dirty)
    mean = resolve.posterior(state).mean
    _, confirmed = resolve.update(state.predicted_residual, mean, state)
    assert confirmed.converged
    _, contradicted = resolve.update(state.predicted_residual + blob((20, 20)).astype(np.float32), mean, state)
    assert not contradicted.converged


def test_pure_noise_is_consistent_with_an_empty_sky():
    observation = Observation((32, 32), 0.01)
    resolve = observation.resolve(samples=8)
    state, _ = finished(resolve, observation.noise(12))
    posterior = resolve.posterior(state)
    assert np.mean(posterior.mean < 2 * posterior.uncertainty) > 0.95
    assert posterior.mean.max() * observation.beam_area < 5 * observation.sigma


def test_a_negative_sky_is_named():
    observation = Observation((16, 16), 0.02)
    with pytest.raises(ValueError, match=r"more negative .* positivity=False"):
        finished(observation.resolve(samples=4), -observation.observe(blob((16, 16))))


def test_the_inference_begins_anew_and_keeps_its_records_when_the_noise_is_found_to_be_louder():
    shape = (20, 20)
    observation, louder = Observation(shape, 0.01), Observation(shape, 0.03)
    dirty = observation.observe(blob(shape))
    first = observation.resolve(samples=4)
    state, _ = finished(first, dirty)
    before = first.posterior(state)
    again = louder.resolve(samples=4)
    whole = again.posterior(finished(again, dirty, MinorState(latent=state.latent))[0])
    alone = again.posterior(finished(louder.resolve(samples=4), dirty)[0])
    np.testing.assert_array_equal(whole.samples, alone.samples)
    assert len(whole.iterations) == len(before.iterations) + len(alone.iterations)


def test_a_residual_that_is_no_number_is_named():
    observation = Observation((16, 16), 0.02)
    resolve = observation.resolve(samples=4)
    dirty = observation.observe(blob((16, 16)))
    _, (first, *_) = finished(resolve, dirty)
    broken = dirty.copy()
    broken[3, 3] = np.nan
    with pytest.raises(FloatingPointError, match="no number"):
        resolve.update(broken[None, None].astype(np.float32), np.zeros((1, 1, 16, 16), np.float32), first)
