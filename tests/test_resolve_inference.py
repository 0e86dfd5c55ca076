"""Samples of the posterior against the analytic one where there is one, and against NUTS where there is none."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.infer import MCMC, NUTS

from casa_ml_tasks.engine.protocols import MinorCycle, MinorState
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.minor.resolve import mass as mass_of_nodes
from casa_ml_tasks.minor.resolve.beginning import fainter, position_of
from casa_ml_tasks.minor.resolve.centring import Centring
from casa_ml_tasks.minor.resolve.coarse_brightness import CoarseBrightness
from casa_ml_tasks.minor.resolve.coarse_likelihood import coarse_nodes
from casa_ml_tasks.minor.resolve.composition import continuum, cube
from casa_ml_tasks.minor.resolve.correlated_field import Prior, hartley
from casa_ml_tasks.minor.resolve.energy import energy, slope_of_energy, spectral_curvature
from casa_ml_tasks.minor.resolve.hamiltonian import trajectory
from casa_ml_tasks.minor.resolve.latent import Latent, Stage, as_numbers
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.posterior import Inference
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.sampling.convergence import error_of_mean
from tests.few_visibilities import (
    COMPOSITIONS,
    Observation,
    blob,
    composed,
    drawn,
    expected_spectrum,
    finished,
    images_of,
    leave,
    observation_for,
    some_centring,
    standard_of,
    transformed,
)
from tests.state_schema import has_the_arrays_of

energy_of, slope_of, likelihood_of = map(jax.jit, (energy, slope_of_energy, QuadraticLikelihood.value))


@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
@pytest.mark.parametrize("kind", COMPOSITIONS)
@pytest.mark.usefixtures("double_precision")
def test_the_gradient_of_the_energy_is_the_finite_difference(kind, shape):
    observation, rng = observation_for(kind, shape), np.random.default_rng(1)
    sky = LogNormalSky.of(shape, composed(kind, observation))
    likelihood = observation.likelihood(observation.noise(1))
    at, along = drawn(sky, rng), drawn(sky, rng)
    centring = some_centring(sky, rng)
    step = 1e-5
    forward, backward = (jax.tree.map(lambda x, d, s=sign * step: x + s * d, at, along) for sign in (1, -1))
    values = [energy_of(sky, each, likelihood, centring) for each in (forward, backward)]
    difference = (values[0] - values[1]) / (2 * step)
    slope = slope_of(sky, at, likelihood, centring)
    along_slope = sum(float(jnp.vdot(*each)) for each in zip(slope, along, strict=True))
    assert along_slope == pytest.approx(float(difference), rel=1e-5)  # in single precision


@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
@pytest.mark.parametrize("kind", COMPOSITIONS)
@pytest.mark.usefixtures("double_precision")
def test_the_likelihood_is_half_the_chi_squared_of_the_visibilities(kind, shape):
    observation, rng = observation_for(kind, shape), np.random.default_rng(1)
    noise = rng.normal(size=len(observation.design))
    residual = observation.dirty(noise)
    model, *skies = rng.normal(size=(3, *residual.shape))
    likelihood = observation.likelihood(residual)._replace(model=jnp.asarray(model))
    misfits = [noise - observation.design @ (each - model).ravel() for each in skies]
    expected = 0.5 * (np.vdot(misfits[0], misfits[0]) - np.vdot(misfits[1], misfits[1]))
    values = [likelihood_of(likelihood.exact, jnp.asarray(each)) for each in skies]
    assert float(values[0] - values[1]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
@pytest.mark.parametrize("kind", COMPOSITIONS)
@pytest.mark.usefixtures("double_precision")
def test_the_curvature_along_the_spectra_is_that_of_finite_differences_of_the_sky(kind, shape):
    observation, rng, step = observation_for(kind, shape), np.random.default_rng(2), 1e-5
    sky = LogNormalSky.of(shape, composed(kind, observation))
    at, along, centring = drawn(sky, rng), rng.normal(size=sky.parameters), some_centring(sky, rng)
    x, spectrum = centring.enter(sky, at)
    ends = (images_of(sky, leave(centring, sky, Position(x, spectrum + sign * step * along))) for sign in (1, -1))
    visibilities = observation.design @ np.ravel(next(ends) - next(ends)) / (2 * step)
    curvature = spectral_curvature(sky, at, observation.likelihood(observation.noise(1)), centring)
    assert along @ curvature @ along == pytest.approx(np.vdot(visibilities, visibilities), rel=1e-5)


@pytest.fixture
def unfilled(monkeypatch):
    """Masses have hardly more nodes than there are: not hundreds, so that masses share a program."""
    monkeypatch.setattr(mass_of_nodes, "FILLED_UP", 16)


def followed(sky, observation, likelihood, at, points, trajectories, step):
    """A chain with the spectrum that it begins with. Returns its excitations, and how likely they were accepted."""
    mass = Mass.of(sky, at, points, observation.response(np.ones((1, 1))), likelihood.sources)
    excitations, probabilities, generator = [], [], np.random.default_rng(1)
    for _ in range(trajectories):
        moved = trajectory(sky, at, generator, likelihood, mass, step, 80)
        at = moved.position
        excitations.append(at.excitations)
        probabilities.append(float(moved.probability))
    return excitations, probabilities


@pytest.mark.usefixtures("double_precision", "unfilled")
def test_samples_of_an_almost_linear_sky_have_the_analytic_mean_and_covariance():
    shape, offset = (10, 12), 0.0
    observation = Observation(shape, 2e-3)
    sky = LogNormalSky.of(shape, continuum(Prior(offset, (0.01, 0.001), (0.02, 0.002))))
    spectrum = expected_spectrum(sky)
    amplitude = sky.amplitude(spectrum)
    size = amplitude.size
    truth = sky(Position(jnp.asarray(np.random.default_rng(2).normal(size=(1, *shape))), spectrum))
    dirty = observation.observe(np.asarray(truth))
    synthesis = np.array(hartley(amplitude * np.eye(size).reshape(-1, *shape))).reshape(size, size).T
    curvature = observation.design.T @ observation.design
    covariance = np.linalg.inv(np.eye(size) + synthesis.T @ curvature @ synthesis)
    data = dirty.ravel() / observation.sigma**2 - curvature @ np.ones(size)  # exp(tau) = 1 + tau
    mean = covariance @ synthesis.T @ data

    points = coarse_nodes(np.ones((1, *shape)), observation.sigma, observation.beam_area)
    start = Position(jnp.zeros((1, *shape)), spectrum)
    chain, _ = followed(sky, observation, observation.likelihood(dirty), start, points, 400, 0.03)
    samples = np.array([transformed(amplitude * each) for each in chain[20:]]).reshape(-1, size)
    deviation = np.sqrt(np.diag(synthesis @ covariance @ synthesis.T))
    error = (samples.mean(axis=0) - synthesis @ mean) / deviation
    assert np.sqrt(np.mean(error**2)) < 0.25  # 380 samples, and exp is not quite linear
    assert np.median(samples.std(axis=0) / deviation) == pytest.approx(1, abs=0.07)


@pytest.fixture(scope="module")
def detected_sky():
    """A log-normal sky that is partly detected, what there is to know of it, and NUTS' samples of its posterior."""
    shape, offset = (12, 12), -1.0
    with jax.enable_x64(True):
        observation = Observation(shape, 0.3)
        sky = LogNormalSky.of(shape, continuum(Prior(offset, (0.5, 0.1), (1.0, 0.3))))
        excitations = np.random.default_rng(4).normal(size=(1, *shape))
        truth = Position(jnp.asarray(excitations), expected_spectrum(sky))
        likelihood = observation.likelihood(observation.observe(np.asarray(sky(truth))))

        def model():
            excitations, standard = (
                numpyro.sample(n, numpyro.distributions.Normal(jnp.zeros(s.shape), 1))
                for n, s in (("excitations", truth.excitations), ("standard", truth.spectrum))
            )
            numpyro.factor("data", -likelihood.exact.value(sky(Position(excitations, sky.spectrum(standard)))))

        sampler = MCMC(NUTS(model, max_tree_depth=7), num_warmup=400, num_samples=1500, progress_bar=False)
        sampler.run(jax.random.PRNGKey(0))
        found = sampler.get_samples()
        spectra = [sky.spectrum(each) for each in found["standard"]]
        exact = np.array([images_of(sky, Position(*each)) for each in zip(found["excitations"], spectra, strict=True)])
    return observation, sky, truth, likelihood, exact, np.asarray(found["standard"])


@pytest.mark.usefixtures("double_precision", "unfilled")
def test_skies_and_spectra_are_those_of_nuts(detected_sky):
    observation, sky, truth, likelihood, exact, exact_spectra = detected_sky
    points = coarse_nodes(np.asarray(sky(truth)), observation.sigma, observation.beam_area)
    curvature = partial(spectral_curvature, sky, truth, likelihood)
    planes = np.asarray(sky.planes(truth))
    response = observation.response(np.ones((1, 1)))
    brightness = CoarseBrightness.of(sky, planes, observation.sigma / observation.beam_area, response.finest())
    mass = Mass.of(sky, truth, points, response, likelihood.sources, curvature, brightness)
    at, skies, spectra, probabilities, generator = truth, [], [], [], np.random.default_rng(1)
    for _ in range(1500):
        moved = trajectory(sky, at, generator, likelihood, mass, 0.05, 80)
        at = moved.position
        skies.append(np.asarray(images_of(sky, at)))
        spectra.append(np.asarray(standard_of(sky, at.spectrum)))
        probabilities.append(float(moved.probability))
    assert np.mean(probabilities) > 0.6
    for ours, theirs in ((np.array(skies[100:]), exact), (np.array(spectra[100:]), exact_spectra)):
        error = (ours.mean(axis=0) - theirs.mean(axis=0)) / theirs.std(axis=0)
        assert np.sqrt(np.mean(error**2)) < 0.15
        assert np.median(ours.std(axis=0) / theirs.std(axis=0)) == pytest.approx(1, abs=0.1)


@pytest.mark.usefixtures("double_precision", "unfilled")
def test_the_mass_lets_long_steps_be_taken_at_high_dynamic_range():
    shape, sigma = (32, 32), 1e-3
    observation = Observation(shape, sigma, points=400)
    sky = LogNormalSky.of(shape, continuum(Prior(offset=float(np.log(0.1 * sigma / observation.beam_area)))))
    image = blob(shape, width=6.0)[None]
    spectrum = expected_spectrum(sky)
    excitations = sky.coefficients(jnp.log(image + 1e-3 * image.max())) / sky.amplitude(spectrum)
    likelihood, start = observation.likelihood(observation.observe(image)), Position(excitations, spectrum)

    def accepted(most):
        points = coarse_nodes(image, observation.sigma, observation.beam_area, most)
        return np.mean(followed(sky, observation, likelihood, start, points, 10, 0.02)[1])

    assert accepted(1500) > 0.5
    assert accepted(0) < 0.01


@pytest.mark.usefixtures("double_precision")
def test_chains_begin_at_what_an_image_shows_and_nowhere_brighter():
    shape, sigma = (32, 32), 1e-3
    observation, image = Observation(shape, sigma), blob((32, 32))[None]
    noise = sigma / observation.beam_area
    sky = LogNormalSky.of(shape, continuum(Prior(offset=float(np.log(0.1 * noise)))))
    start = position_of(sky, image, np.full((1, 1, 1), noise), observation.beam_area, np.log(0.1 * noise))
    points, sources = coarse_nodes(image, observation.sigma, observation.beam_area), observation.sources(image)
    mass = Mass.of(sky, start, points, observation.response(np.ones((1, 1))), sources)
    whole, lower = (
        np.asarray(sky(each)) for each in (start, fainter(sky, start, mass, mass.noise(np.random.default_rng(1))))
    )
    assert np.abs(whole - image)[image > 10 * noise].max() < 0.01 * image.max()
    assert (lower < whole * (1 + 1e-9)).all()
    fell = np.log(whole / lower)
    assert fell[image > 100 * noise].mean() < 0.2 < 1 < fell[image < 0.01 * noise].mean()


@pytest.mark.usefixtures("double_precision")
def test_chains_begin_at_the_prior_in_a_channel_without_data():
    shape, noise = (32, 32), np.array([1e-3, np.inf, 1e-3])[:, None, None]
    images = blob(shape) * np.array([1.0, 0.0, 2.0])[:, None, None]
    sky = LogNormalSky.of(shape, cube(Prior(offset=float(np.log(1e-5))), 3))
    found = np.asarray(sky(position_of(sky, images, noise / 20.0, 20.0, np.log(1e-5))))
    np.testing.assert_allclose(found[1], 1e-5)
    for channel in (0, 2):
        bright = images[channel] > 0.1 * images[channel].max()
        np.testing.assert_allclose(found[channel][bright], images[channel][bright], rtol=0.05)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("double_precision")
def test_a_dark_prior_does_not_make_the_first_spectrum_rough(seed):
    shape, excitations = (64, 64), np.random.default_rng(seed).normal(size=(1, 64, 64))
    varied = LogNormalSky.of(shape, continuum(Prior(0.0, fluctuations=(6.0, 0.1))))
    spectrum = expected_spectrum(varied)
    logarithm = np.asarray(varied.log_planes(varied.amplitude(spectrum) * excitations))
    offset = 4 - logarithm.max()  # of a sky of 50 times the noise
    above = np.maximum(np.exp(offset + logarithm) - 1, 0)
    assert offset < -5 < np.log(0.1)
    sky = LogNormalSky.of(shape, continuum(Prior(offset)))

    def too_rough(darkest):
        first = position_of(sky, above, np.ones((1, 1, 1)), 20.0, darkest).spectrum
        ratio = sky.log_amplitude_of_rings(first) - varied.log_amplitude_of_rings(spectrum)
        return float(np.mean(ratio[:, 2:]))

    assert abs(too_rough(np.log(0.1))) < 0.75  # factor of two
    assert too_rough(-np.inf) > 1.2


def test_what_has_not_converged_is_named_with_its_size_and_what_helps():
    observation = Observation((32, 32), 0.02)
    resolve = observation.resolve(samples=4, most_iterations=1)
    state, _ = finished(resolve, observation.observe(blob((32, 32))))
    pixels = np.random.default_rng(4).normal(size=(24, 4, 1, 32, 32))
    fluxes_apart = np.array([-6.0, -2.0, 2.0, 6.0])[:, None, None, None] / 32

    def problem(samples, error):
        last = replace(Latent.of(state.latent).iterations()[-1], mean_error=error)
        changed = {
            "samples": samples.reshape(-1, 1, 32, 32).astype(np.float32),
            "sampled_fluxes": np.zeros((96, 0)),
            "sampled_spectra": np.repeat(state.latent["sampled_spectra"][:1], 96, axis=0),
            "records": np.array([as_numbers(last)]),
        }
        return resolve.posterior(replace(state, latent={**state.latent, **changed})).problem

    assert problem(pixels, error_of_mean(pixels)) == ""
    apart = pixels + fluxes_apart  # squares of 8 pixels of 0.1 arcsec by 1.5 sigma, of 4 by 0.75
    assert "regions of 0.8 arcsec or more" in problem(apart, error_of_mean(apart))
    assert "uncertain by 0.49 of its error bar" in problem(apart, error_of_mean(apart))
    assert "maxglobal=2 goes on" in problem(apart, error_of_mean(apart))
    assert "a chain does not move, or is caught" in problem(apart, np.inf)


def test_it_is_a_minor_cycle_with_a_posterior():
    resolve = Observation((16, 16), 0.01).resolve()
    assert isinstance(resolve, MinorCycle)
    inference: Inference = resolve
    assert callable(inference.posterior)


@pytest.mark.parametrize("shape", [(32, 32), (27, 36)])
def test_a_source_is_found_within_its_uncertainty(shape):
    observation, truth = Observation(shape, 0.01), blob(shape)
    resolve = observation.resolve()
    state, _ = finished(resolve, observation.observe(truth))
    posterior = resolve.posterior(state)
    assert len(posterior.samples) >= 48
    assert posterior.samples.shape[1:] == (1, 1, *shape)
    flux = posterior.fluxes[:, 0, 0]
    assert abs(flux.mean() - 1) < 4 * max(flux.std(), 0.01)
    bright = truth > 0.3 * truth.max()
    deviation = ((posterior.mean - truth) / posterior.uncertainty)[0, 0][bright]
    assert 0.3 < np.sqrt(np.mean(deviation**2)) < 1.5
    assert np.median(posterior.uncertainty[0, 0][bright]) < 0.5 * truth.max()
    assert (np.diff(posterior.power_spectrum.frequency) > 0).all()
    assert posterior.power_spectrum.samples.shape == (len(posterior.samples), posterior.power_spectrum.frequency.size)


def test_a_run_resumed_between_global_iterations_ends_as_one_that_was_not_killed():
    observation = Observation((20, 20), 0.02)
    dirty = observation.observe(blob((20, 20)))
    whole, between = finished(observation.resolve(samples=4, most_iterations=3), dirty)
    resumed, _ = finished(observation.resolve(samples=4, most_iterations=3), dirty, between[-2])
    assert len(between) > 2
    assert has_the_arrays_of(Resolve.schema, whole)
    for name, array in whole.latent.items():
        if name != "records":  # which hold seconds
            np.testing.assert_array_equal(resumed.latent[name], array)


def test_it_converges_when_the_major_cycle_confirms_its_prediction():
    observation = Observation((20, 20), 0.02)
    dirty = observation.observe(blob((20, 20)))
    resolve = observation.resolve(samples=4, most_iterations=2)
    state, _ = finished(resolve, dirty)
    mean = resolve.posterior(state).mean
    _, confirmed = resolve.update(state.predicted_residual, mean, state)
    assert confirmed.converged
    _, contradicted = resolve.update(state.predicted_residual + blob((20, 20)).astype(np.float32), mean, state)
    assert not contradicted.converged


def test_pure_noise_is_consistent_with_an_empty_sky():
    observation = Observation((32, 32), 0.01)
    resolve = observation.resolve(samples=8, most_iterations=2)
    state, _ = finished(resolve, observation.noise(12))
    posterior = resolve.posterior(state)
    assert np.mean(posterior.mean < 2 * posterior.uncertainty) > 0.95
    assert posterior.mean.max() * observation.beam_area < 5 * observation.sigma


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [("continuum", "more negative .*absorption"), ("taylor_terms", "more negative"), ("cube", "more negative")],
)
def test_a_negative_sky_is_named(kind, sentence):
    observation = observation_for(kind, (16, 16), 0.02)
    resolve = observation.resolve(compose=partial(composed, kind, observation), samples=4, most_iterations=2)
    sky = np.zeros((observation.design.shape[1] // 256, 16, 16))
    sky[0] = -blob((16, 16))
    with pytest.raises(ValueError, match=sentence):
        finished(resolve, observation.observe(sky))


def test_the_inference_begins_anew_and_keeps_its_records_when_the_noise_is_found_to_be_louder():
    shape = (20, 20)
    observation, louder = Observation(shape, 0.01), Observation(shape, 0.03)
    dirty = observation.observe(blob(shape))
    first = observation.resolve(samples=4, most_iterations=2)
    state, _ = finished(first, dirty)
    before = first.posterior(state)
    again = louder.resolve(samples=4, most_iterations=2)
    whole = again.posterior(finished(again, dirty, MinorState(latent=state.latent))[0])
    alone = again.posterior(finished(louder.resolve(samples=4, most_iterations=2), dirty)[0])
    assert [each.stage for each in whole.iterations[len(before.iterations) :]] == [
        each.stage for each in alone.iterations
    ]
    assert whole.fluxes.mean() == pytest.approx(alone.fluxes.mean(), abs=2 * float(alone.fluxes.std()))
    assert len(whole.iterations) == len(before.iterations) + len(alone.iterations)


def test_the_noise_cools_down_to_the_true_one_where_the_signal_is_strong():
    shape = (20, 20)
    observation = Observation(shape, 1e-4)
    dirty = observation.observe(blob(shape))
    resolve = observation.resolve(samples=4, most_iterations=2)
    last, between = finished(resolve, dirty)
    latents = [Latent.of(each.latent) for each in (*between, last)]
    peak = dirty.max() / observation.sigma[0]
    assert latents[0].heat == pytest.approx(peak / Settings.hottest / Settings.cooler, rel=1e-6)
    assert latents[-1].heat == 1
    stages = [iteration.stage for iteration in latents[-1].iterations()]
    assert list(dict.fromkeys(stages)) == ["warm", "sample"]
    sampled = [each.spectra for each in latents if each.stage == Stage.SAMPLE]
    assert (np.diff(sampled, axis=0) != 0).any(axis=-1).all()  # however strong the signal
    assert len(np.unique(sampled[0], axis=0)) == Settings.chains  # none of them where another was
    # No visibility holds the flux itself: six noises and six seeds gave 0.2 to 5 thousandths too much.
    assert resolve.posterior(last).fluxes.mean() == pytest.approx(1, abs=0.01)


def test_a_later_round_begins_with_the_noise_that_the_first_did():
    """Its residual is of a model and faint, which tells nothing of how tightly the data hold the sky."""
    shape, model = (20, 20), blob(shape=(20, 20))[None]
    observation = Observation(shape, 1e-4)
    resolve, dirty = observation.resolve(samples=4, most_iterations=2), observation.observe(model)
    residual = dirty - observation.dirty(observation.design @ model.ravel())
    nothing = np.zeros((1, 1, *shape), np.float32)
    _, first = resolve.update(dirty[:, None].astype(np.float32), nothing, MinorState())
    _, later = resolve.update(residual[:, None].astype(np.float32), model[:, None].astype(np.float32), MinorState())
    assert later.latent["heat"] == pytest.approx(first.latent["heat"], rel=1e-4) != 1


def test_a_residual_that_is_no_number_is_named():
    observation = Observation((16, 16), 0.02)
    resolve = observation.resolve(samples=4, most_iterations=2)
    dirty = observation.observe(blob((16, 16)))
    _, (first, *_) = finished(resolve, dirty)
    broken = dirty.copy()
    broken[0, 3, 3] = np.nan
    with pytest.raises(FloatingPointError, match="no number"):
        resolve.update(broken[None].astype(np.float32), np.zeros((1, 1, 16, 16), np.float32), first)


@pytest.mark.parametrize("shape", [(24, 24), (21, 26)])
@pytest.mark.usefixtures("double_precision", "unfilled")
def test_a_mass_serves_for_any_fine_structure_of_bright_sources(shape):
    rng, observation = np.random.default_rng(6), Observation(shape, 0.5, points=300, longest=0.1)
    sky = LogNormalSky.of(shape, continuum(Prior(0.0, (0.5, 0.1), (1.0, 0.1), slope=(-2.0, 0.1))))
    truth = Position(jnp.asarray(rng.normal(size=(1, *shape))), expected_spectrum(sky))
    noise = observation.sigma / observation.beam_area
    coarse = CoarseBrightness.of(sky, np.asarray(sky.planes(truth)), noise, 0.14).coarse
    smooth = truth._replace(excitations=coarse * truth.excitations)
    planes = np.asarray(sky.planes(smooth))
    points = coarse_nodes(planes, observation.sigma, observation.beam_area)
    likelihood = observation.likelihood(observation.observe(np.asarray(sky(truth))))
    curvature = partial(spectral_curvature, sky, smooth, likelihood)

    def accepted(brightness):
        response = observation.response(np.ones((1, 1)))
        mass = Mass.of(sky, smooth, points, response, likelihood.sources, curvature, brightness)
        generator = np.random.default_rng(7)
        moves = [trajectory(sky, truth, generator, likelihood, mass, 0.04, 25) for _ in range(20)]
        return float(np.mean([moved.probability for moved in moves]))

    brightness = CoarseBrightness.of(sky, planes, noise, 0.14)
    assert accepted(brightness) > 0.4 > 0.1 > accepted(None)


@pytest.mark.usefixtures("double_precision")
def test_the_energy_of_a_trajectory_is_that_of_excitations_wherever_the_centring_is(detected_sky):
    observation, sky, truth, likelihood, *_ = detected_sky
    points = coarse_nodes(np.asarray(sky(truth)), observation.sigma, observation.beam_area)
    curvature = partial(spectral_curvature, sky, truth, likelihood)
    mass = Mass.of(sky, truth, points, observation.response(np.ones((1, 1))), likelihood.sources, curvature)
    moved = trajectory(sky, truth, np.random.default_rng(3), likelihood, mass, 0.05, 10)
    expected = energy(sky, moved.position, likelihood, Centring.none(sky, truth.spectrum))
    np.testing.assert_allclose(moved.energy, expected, rtol=1e-9)
    assert abs(mass.centring.log_volume(sky, moved.position.spectrum)) > 1e-3
