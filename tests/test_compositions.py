"""What skies are composed of, and how data respond to their planes, against dense matrices and closed forms."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import invgamma, lognorm, norm

from casa_ml_tasks.minor.band import Band
from casa_ml_tasks.minor.resolve import composition
from casa_ml_tasks.minor.resolve.coarse_likelihood import Nodes
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, Prior, cosines
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky
from casa_ml_tasks.minor.resolve.sketch import NO_SOURCES
from tests.few_visibilities import (
    COMPOSITIONS,
    FREQUENCIES,
    PRIOR,
    Observation,
    blob,
    composed,
    drawn,
    finished,
    images_of,
    log_planes_of,
    observation_for,
    transformed,
)

pytestmark = pytest.mark.usefixtures("double_precision")
SHAPES = [(12, 12), (9, 14), (11, 13)]
OF_ONE_IMAGE = COMPOSITIONS[:3]
PIXELS = np.array([[3, 4], [7, 8]])


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
def test_cosines_are_orthogonal_and_as_long_as_the_first_which_is_one(channels):
    along = cosines(channels)
    np.testing.assert_allclose(along.T @ along, channels * np.eye(channels), atol=1e-12)
    np.testing.assert_array_equal(along[:, 0], 1)


@pytest.mark.parametrize("channels", [2, 3, 8])
def test_the_cosines_vary_along_the_channels_as_the_prior_says(channels, rng):
    prior = Prior(-4.0, variation=(0.8, 0.5), variation_slope=(-2.0, 0.7))
    field = CorrelatedField((8, 9), prior, channels)
    scale = np.sqrt(np.log1p((0.5 / 0.8) ** 2))
    variation = lognorm(scale, scale=0.8 * np.exp(-(scale**2) / 2))
    assert variation.mean() == pytest.approx(0.8)
    assert variation.std() == pytest.approx(0.5)
    for standard in (np.zeros(field.parameters), rng.normal(size=field.parameters)):
        first, *others = np.exp(field.log_amplitude_of_cosines(field.spectrum(jnp.asarray(standard))))
        assert first == 1
        deviation = np.log(np.linalg.norm(others) / variation.median()) / scale
        assert np.isclose(standard, deviation, atol=1e-9).any()
        slopes = np.log(others[1:] / others[0]) / np.log(np.arange(2, channels)) * 2
        for slope in slopes:
            assert np.isclose(standard, (slope + 2.0) / 0.7, atol=1e-9).any()


def test_a_field_of_one_image_has_no_cosines():
    alone, of_channels = (CorrelatedField((8, 9), PRIOR, count) for count in (1, 4))
    np.testing.assert_array_equal(alone.log_amplitude_of_cosines(jnp.zeros(alone.parameters)), [0])
    assert of_channels.parameters == alone.parameters + 2


def line(fields):
    phases = np.pi * (np.arange(3) + 0.5) / 3
    waves = [np.sqrt(2) * (np.cos(each) * fields[1] + np.cos(2 * each) * fields[2]) for each in phases]
    return np.exp(fields[0] + np.array(waves))


def power_law(fields, frequencies):
    return np.exp(fields[0]) * frequencies[:, None, None] ** fields[1]


def straight_line(fields, observation):
    frequencies = Band.of_moments(observation.psfs[:, *observation.shape]).frequencies
    low, high = power_law(fields, frequencies)
    slope = (high - low) / (frequencies[1] - frequencies[0])
    return np.array([low + slope * (1 - frequencies[0]), slope])


def with_points(fields):
    return np.exp(fields[:1]) + np.exp(PRIOR.offset) / 10 * invgamma(1).ppf(norm.cdf(fields[1:]))


BY_HAND = {
    "continuum": lambda fields, _: np.exp(fields),
    "continuum_and_points": lambda fields, _: with_points(fields),
    "emission_and_absorption": lambda fields, _: np.exp(fields[:1]) - np.exp(fields[1:]),
    "taylor_terms": straight_line,
    "cube": lambda fields, _: line(fields),
    "cube_with_continuum": lambda fields, _: line(fields) + power_law(fields[3:], FREQUENCIES / FREQUENCIES.mean()),
}
OFFSETS = {
    "continuum": [PRIOR.offset],
    "continuum_and_points": [PRIOR.offset, 0.0],
    "emission_and_absorption": [PRIOR.offset, PRIOR.offset],
    "taylor_terms": [PRIOR.offset, 0.0],
    "cube": [PRIOR.offset, 0.0, 0.0],
    "cube_with_continuum": [PRIOR.offset, 0.0, 0.0, PRIOR.offset, 0.0],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", COMPOSITIONS)
def test_images_are_those_of_the_fields(kind, shape, rng):
    observation = observation_for(kind, shape)
    sky = LogNormalSky.of(shape, composed(kind, observation))
    at = drawn(sky, rng)
    fields = np.array(transformed(sky.amplitude(at.spectrum) * at.excitations))
    fields += np.array(OFFSETS[kind])[:, None, None]
    np.testing.assert_allclose(images_of(sky, at), BY_HAND[kind](fields, observation), rtol=1e-7)


@pytest.mark.parametrize("kind", COMPOSITIONS)
def test_coefficients_are_those_of_the_planes_or_of_the_nearest_ones(kind, rng):
    sky = LogNormalSky.of((9, 14), composed(kind, observation_for(kind, (9, 14))))
    log_planes = rng.normal(size=(len(sky.mixing), *sky.shape))
    left = log_planes - np.asarray(log_planes_of(sky, sky.coefficients(jnp.asarray(log_planes))))
    np.testing.assert_allclose(np.einsum("pf,pyx->fyx", sky.mixing, left), 0, atol=1e-10)
    if kind != "cube_with_continuum":  # which has more planes than fields
        np.testing.assert_allclose(left, 0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("kind", "pixels"), [(kind, NO_SOURCES) for kind in COMPOSITIONS] + [(kind, PIXELS) for kind in OF_ONE_IMAGE]
)
def test_the_response_between_nodes_is_what_the_visibilities_say(kind, pixels, shape, rng):
    observation = observation_for(kind, shape)
    composed_of = composed(kind, observation)
    planes = len(composed_of.mixing), *shape
    places = np.unravel_index(rng.choice(np.prod(planes), 30, replace=False), planes)
    points = Nodes(*places, rng.uniform(size=30))
    seen = observation.seen(points, composed_of.synthesis, pixels)
    sources = observation.sources(np.zeros((1, *shape)), pixels)
    between = observation.response(composed_of.synthesis).between(points, sources)
    np.testing.assert_allclose(between, seen.T @ seen, atol=1e-9 * np.abs(between).max())


@pytest.mark.parametrize("kind", COMPOSITIONS)
def test_the_noise_of_a_plane_is_that_of_a_source_alone(kind, rng):
    observation = observation_for(kind, (9, 14))
    composed_of = composed(kind, observation)
    planes = np.arange(len(composed_of.mixing))
    points = Nodes(planes, rng.integers(9, size=planes.size), rng.integers(14, size=planes.size), np.ones(planes.size))
    seen = observation.seen(points, composed_of.synthesis)
    noise = observation.response(composed_of.synthesis).noise_of_planes()
    np.testing.assert_allclose(noise, (seen**2).sum(axis=0) ** -0.5, rtol=1e-9)


@pytest.mark.parametrize("kind", ["cube", "cube_with_continuum"])
def test_a_channel_without_data_tells_nothing(kind, rng):
    observation = observation_for(kind, (9, 14))
    composed_of = composed(kind, observation)
    observation.sigma[1], observation.psfs[1] = np.inf, 0
    response = observation.response(composed_of.synthesis)
    planes = len(composed_of.mixing), 9, 14
    points = Nodes(*np.unravel_index(rng.choice(np.prod(planes), 30, replace=False), planes), np.ones(30))
    has_data = points.plane % 3 != 1
    between = response.between(points, observation.sources(np.zeros((1, 9, 14))))
    seen = observation.seen(points, composed_of.synthesis)[:, has_data]
    np.testing.assert_allclose(between[np.ix_(has_data, has_data)], seen.T @ seen, atol=1e-9 * between.max())
    assert not between[~has_data].any()
    assert (np.isinf(response.noise_of_planes()) == (np.arange(planes[0]) % 3 == 1)).all()


def of_power_laws(terms, rng):
    """Composition of Taylor terms, frequencies of its planes, samples of these, their spectral indices."""
    moments = Observation((6, 7), 0.01, terms=terms).psfs[:, 6, 7]
    frequencies = Band.of_moments(moments).frequencies
    brightness, index = rng.uniform(0.1, 1, (5, 1, 6, 7)), rng.normal(size=(5, 1, 6, 7))
    planes = brightness * frequencies[:, None, None] ** index
    return composition.taylor_terms(PRIOR, moments), frequencies, planes, index


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_the_spectral_index_of_a_power_law_is_found(terms, rng):
    composed_of, _, planes, index = of_power_laws(terms, rng)
    np.testing.assert_allclose(composed_of.components["alpha"](planes), index, atol=1e-9)


@pytest.mark.parametrize("terms", [2, 3, 4])
def test_taylor_terms_are_of_the_polynomial_through_the_power_law(terms, rng):
    composed_of, frequencies, planes, _ = of_power_laws(terms, rng)
    assert len(composed_of.synthesis) == len(frequencies) == terms
    for sample in planes:
        polynomial = np.einsum("tp,pyx->tyx", composed_of.synthesis, sample)
        values = [np.polynomial.polynomial.polyval(each - 1, polynomial, tensor=False) for each in frequencies]
        np.testing.assert_allclose(values, sample, rtol=1e-9)


def test_several_taylor_terms_of_one_frequency_are_refused():
    with pytest.raises(ValueError, match="visibilities of several frequencies"):
        composition.taylor_terms(PRIOR, np.array([1.0, 0.0, 0.0]))


def test_first_images_are_divided_in_planes_that_add_up_to_them(rng):
    image = rng.normal(size=(1, 6, 7))
    positive, channels = np.maximum(image, 0), rng.uniform(size=(4, 6, 7))
    moments = np.array([1.0, 0.02, 0.04])
    line = np.where(np.arange(10) == 4, 1.0, 0.0)[:, None, None] * rng.uniform(size=(6, 7))
    beside_line = rng.uniform(size=(1, 6, 7))
    for composed_of, images, sums in (
        (composition.continuum(PRIOR), image, positive),
        (composition.continuum_and_points(PRIOR), channels[:2], channels[:2].sum(axis=0, keepdims=True)),
        (composition.emission_and_absorption(PRIOR), image, image),
        (composition.taylor_terms(PRIOR, moments), image, np.concatenate([positive, 0 * image])),
        (composition.cube(PRIOR, 4), channels, channels),
        (composition.cube_with_continuum(PRIOR, np.linspace(1, 1.1, 10)), line + beside_line, line + beside_line),
    ):
        planes = composed_of.divide(images)
        assert (planes >= 0).all()
        np.testing.assert_allclose(np.einsum("cp,pyx->cyx", composed_of.synthesis, planes), sums, atol=1e-12)
    np.testing.assert_allclose(planes[:10], line, atol=1e-12)
    np.testing.assert_allclose(planes[10:], np.broadcast_to(beside_line, line.shape), atol=1e-12)


def test_the_first_channels_of_noise_are_divided_in_planes_that_are_not_negative(rng):
    planes = composition.cube_with_continuum(PRIOR, FREQUENCIES).divide(rng.normal(size=(3, 6, 7)))
    assert planes.shape == (6, 6, 7)
    assert (planes >= 0).all()


def truth_of(kind, shape):
    """Images of a source, and of another where there is a line or absorption."""
    image, other = blob(shape), 0.8 * np.roll(blob(shape, width=2.0), (5, 5), (0, 1))
    return {
        "continuum_and_points": (image + 0.5 * np.eye(np.prod(shape))[43].reshape(shape))[None],
        "emission_and_absorption": (image - other)[None],
        "taylor_terms": np.stack([image, -0.7 * image]),
        "cube": image * np.array([1, 1.5, 0.5])[:, None, None],
        "cube_with_continuum": image * FREQUENCIES[:, None, None] ** -0.7 + other * np.eye(3)[1][:, None, None],
    }[kind]


@pytest.mark.parametrize("kind", COMPOSITIONS[1:])
def test_images_of_every_composition_are_found_within_their_uncertainty(kind):
    shape = (20, 21)
    observation = observation_for(kind, shape)
    composed_of = composed(kind, observation)
    truth = truth_of(kind, shape)
    dirty = observation.observe(truth)
    resolve = observation.resolve(compose=partial(composed, kind, observation), samples=12, most_iterations=1)
    state, _ = finished(resolve, dirty)
    posterior = resolve.posterior(state)
    fluxes = posterior.fluxes[:, :, 0]
    assert (np.abs(fluxes.mean(axis=0) - truth.sum(axis=(1, 2))) < 4 * fluxes.std(axis=0)).all()
    residual = dirty - observation.dirty(observation.design @ posterior.mean.ravel())
    np.testing.assert_allclose(state.predicted_residual[:, 0], residual, atol=1e-5 * dirty.max())
    parts = {name: each[:, :, 0] for name, each in posterior.components.items()}
    assert set(parts) == set(composed_of.components)
    if kind == "continuum_and_points":
        points = parts["points"][:, 0]
        near = points.reshape(len(points), -1)[:, 43]
        assert abs(near.mean() - 0.5) < 4 * near.std() < 0.5
    if kind == "cube_with_continuum":
        np.testing.assert_allclose(parts["line"] + parts["continuum"], posterior.samples[:, :, 0], rtol=1e-4)
        assert parts["line"].sum(axis=(-2, -1)).mean(axis=0).argmax() == 1
    if kind == "emission_and_absorption":
        np.testing.assert_allclose(parts["emission"] - parts["absorption"], posterior.samples[:, :, 0], atol=1e-7)
    if kind == "taylor_terms":
        index = parts["alpha"][:, 0, truth[0] > 0.5 * truth[0].max()].mean(axis=1)
        assert abs(index.mean() + 0.7) < 4 * index.std() < 2
