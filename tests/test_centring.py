"""Coordinates of skies and spectra: the same posterior in all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from casa_ml_tasks.minor.resolve.centring import Centring
from casa_ml_tasks.minor.resolve.coarse_brightness import CoarseBrightness
from casa_ml_tasks.minor.resolve.composition import continuum
from casa_ml_tasks.minor.resolve.correlated_field import hartley
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.spectrum import curvature
from tests.few_visibilities import (
    COMPOSITIONS,
    PRIOR,
    blob,
    composed,
    drawn,
    drawn_spectrum,
    enter,
    expected_spectrum,
    images_of,
    leave,
    observation_for,
    prior_of_spectra,
    some_centring,
)

pytestmark = pytest.mark.usefixtures("double_precision")
SHAPES = [(12, 12), (9, 14)]
FWHM = np.sqrt(8 * np.log(2))  # of a Gaussian's standard deviation

prior_and_sky = jax.jit(Centring.prior_and_sky)


@jax.jit
def stretched(centring, sky, at):
    """The derivatives of the coordinates along the excitations, (coordinate, excitation)."""

    def coordinates(excitations):
        return centring.enter(sky, at._replace(excitations=excitations.reshape(at.excitations.shape))).excitations

    return jax.jacobian(coordinates)(at.excitations.ravel()).reshape(2 * [at.excitations.size])


@jax.jit
def bent_along_spectra(centring, sky, at):
    """The second derivatives along the spectra of the prior of excitations, (parameters, parameters)."""

    def prior(spectrum):
        return centring.prior_and_sky(sky, at._replace(spectrum=spectrum))[0] - sky.prior_of_spectra(spectrum)

    return jax.hessian(prior)(at.spectrum)


@pytest.fixture(params=COMPOSITIONS)
def kind(request):
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
def test_a_position_comes_back_from_any_coordinates(kind, shape):
    rng, sky = np.random.default_rng(1), LogNormalSky.of(shape, composed(kind, observation_for(kind, shape)))
    at, centring = drawn(sky, rng), some_centring(sky, rng)
    inside = enter(centring, sky, at)
    assert np.std(inside.excitations / at.excitations) > 0.1
    np.testing.assert_allclose(leave(centring, sky, inside).excitations, at.excitations, rtol=1e-12, atol=1e-12)
    other = drawn(sky, rng)._replace(excitations=at.excitations)
    unchanged = enter(Centring.none(sky, at.spectrum), sky, other)
    np.testing.assert_allclose(unchanged.excitations, at.excitations, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_change_by_the_volume_that_the_coordinates_stretch(kind, shape):
    rng, sky = np.random.default_rng(2), LogNormalSky.of(shape, composed(kind, observation_for(kind, shape)))
    centring = some_centring(sky, rng)
    for at in (drawn(sky, rng), drawn(sky, rng)):
        prior, images = prior_and_sky(centring, sky, enter(centring, sky, at))
        np.testing.assert_allclose(images, images_of(sky, at), rtol=1e-9)
        otherwise = 0.5 * np.vdot(at.excitations, at.excitations) + prior_of_spectra(sky, at.spectrum)
        volume = np.linalg.slogdet(stretched(centring, sky, at))
        assert float(prior - otherwise) == pytest.approx(volume.logabsdet, rel=1e-6)
        assert abs(volume.logabsdet) > 1


@pytest.mark.parametrize("shape", SHAPES)
def test_spectra_are_as_curved_as_modes_of_the_expected_strength_say(kind, shape):
    rng, sky = np.random.default_rng(3), LogNormalSky.of(shape, composed(kind, observation_for(kind, shape)))
    spectrum = drawn_spectrum(sky, rng)
    none = Centring.none(sky, spectrum)
    centring = none._replace(weight=some_centring(sky, rng).weight)
    strong = jnp.asarray(rng.choice([-1.0, 1.0], (sky.mixing.shape[1], *shape)))
    actual = bent_along_spectra(centring, sky, Position(strong, spectrum))
    expected = np.asarray(curvature(sky, spectrum, sky.modes.count * centring.weight**2))
    np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_weights_hold_a_spectrum_least(shape):
    rng, sky = np.random.default_rng(4), LogNormalSky.of(shape, composed("cube", observation_for("cube", shape)))
    of_rings = rng.lognormal(sigma=3, size=(sky.mixing.shape[1], sky.modes.count.size))
    known = of_rings[:, sky.modes.ring]
    weight = np.asarray(Centring.none(sky, expected_spectrum(sky)).weighted(sky, known).weight)[:, sky.modes.ring]

    def held(weight):
        return known * (1 - weight) ** 2 + 2 * weight**2

    assert (held(weight) < held(weight + 1e-3)).all()
    assert (held(weight) < held(weight - 1e-3)).all()


@pytest.mark.parametrize("shape", [(32, 32), (27, 34)])
def test_a_source_keeps_its_brightness_while_its_fine_structure_changes(shape):
    """At the resolution of the beam, to half a percent, where it would change by three."""
    rng, width = np.random.default_rng(5), 5.0
    sky = LogNormalSky.of(shape, continuum(PRIOR))
    at = Position(jnp.zeros((1, *shape)), expected_spectrum(sky))
    planes = np.asarray(sky.planes(at)) + blob(shape, 300 * np.exp(PRIOR.offset))
    brightness = CoarseBrightness.of(sky, planes, np.array([0.01 * np.exp(PRIOR.offset)]), 1.2 / width, float)
    none = Centring.none(sky, at.spectrum, brightness)
    centring = none._replace(weight=jnp.ones_like(none.weight))
    coefficients, amplitude = sky.coefficients(jnp.log(planes)), sky.amplitude(at.spectrum)
    smooth = brightness.coarse * coefficients
    fine = (1 - brightness.coarse) * hartley(rng.normal(scale=0.6, size=(1, *shape))) / np.prod(shape)

    def of_beams(coefficients):
        return np.log(gaussian_filter(np.exp(sky.log_planes(coefficients))[0], width / FWHM, mode="wrap"))

    def change(coefficients):
        return np.std(of_beams(coefficients) - of_beams(smooth))

    kept = centring.leave(sky, Position((smooth + fine) / amplitude, at.spectrum))
    assert change(amplitude * kept.excitations) < 0.2 * change(smooth + fine)
