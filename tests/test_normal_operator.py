"""The normal operator against a dense matrix of direct sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.kernels.normal_operator import (
    ConvolutionNormalOperator,
    TaylorNormalOperator,
)
from casa_ml_tasks.kernels.point_spread_function import DAMPING, damped, psf_of_weights
from casa_ml_tasks.simulation.direct_fourier import image_of, visibilities_of

SHAPES = [(8, 8), (7, 10), (9, 5)]


def direct_psf(shape, seed=0, visibilities=40):
    """The PSF of random uv points and weights on twice the field, by a direct sum, and the uv points (cycles/pixel)."""
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-0.4, 0.4, (2, visibilities))
    weight = rng.uniform(0.5, 2, visibilities)
    y, x = (np.arange(2 * n) - n for n in shape)
    phase = 2 * np.pi * (v[:, None, None] * y[:, None] + u[:, None, None] * x)
    return np.tensordot(weight, np.cos(phase), 1) / weight.sum(), (u, v, weight)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_equals_gridding_the_degridded_image_by_direct_sums(shape):
    psf, (u, v, weight) = direct_psf(shape)
    image = np.random.default_rng(1).normal(size=shape)
    y, x = (np.arange(n) for n in shape)
    fourier = np.exp(2j * np.pi * (v[:, None, None] * y[:, None] + u[:, None, None] * x))
    visibilities = np.tensordot(fourier, image, 2)
    expected = np.tensordot(weight * visibilities, fourier.conj(), 1).real / weight.sum()
    with jax.enable_x64(True):
        actual = ConvolutionNormalOperator.from_psf(psf)(jnp.asarray(image))
    np.testing.assert_allclose(actual, expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_its_own_adjoint(shape):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, *shape))
    with jax.enable_x64(True):
        operator = ConvolutionNormalOperator.from_psf(direct_psf(shape)[0])
        left, right = jnp.vdot(operator(jnp.asarray(a)), b), jnp.vdot(a, operator(jnp.asarray(b)))
    np.testing.assert_allclose(left, right, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_positive_semi_definite_below_its_spectral_norm(shape):
    with jax.enable_x64(True):
        operator = ConvolutionNormalOperator.from_psf(direct_psf(shape)[0])
        basis = jnp.eye(np.prod(shape)).reshape(-1, *shape)
        matrix = np.stack([np.ravel(operator(image)) for image in basis])
        eigenvalues = np.linalg.eigvalsh(matrix)
        assert eigenvalues.min() > -1e-10
        assert eigenvalues.max() <= operator.spectral_norm() * (1 + 1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_damping_adds_the_same_to_every_eigenvalue(shape):
    psf, image = direct_psf(shape)[0], np.random.default_rng(3).normal(size=shape)
    with jax.enable_x64(True):
        image = jnp.asarray(image)
        plain, more = ConvolutionNormalOperator.from_psf(psf), ConvolutionNormalOperator.from_psf(damped(psf))
        added = float((damped(psf) - psf).max())
        np.testing.assert_allclose(np.asarray(more(image)), np.asarray(plain(image) + added * image), atol=1e-12)
        assert added == pytest.approx(DAMPING * float(plain.spectral_norm()), rel=0.01)


def test_a_psf_that_does_not_cover_twice_the_image_is_refused():
    with pytest.raises(ValueError, match="does not cover twice the image"):
        ConvolutionNormalOperator.from_psf(np.zeros((9, 8)))


CELL = 1e-5  # radians


def random_observation(visibilities=60, seed=5):
    """uvw (visibility, 3) in metres at wavenumber 1, weights (visibility, channel), wavenumbers of three channels."""
    rng = np.random.default_rng(seed)
    uvw = rng.uniform(-0.4, 0.4, (visibilities, 3)) / CELL
    return uvw, rng.uniform(0.5, 2, (visibilities, 3)), np.array([0.8, 1.0, 1.1])


@pytest.mark.parametrize("shape", SHAPES)
def test_one_gridding_of_the_weights_gives_all_lags(shape):
    uvw, weight, wavenumber = random_observation()
    channels = zip(weight.T, wavenumber, strict=True)
    expected = sum(image_of(w, uvw * k, tuple(2 * n for n in shape), CELL) for w, k in channels)
    np.testing.assert_allclose(
        psf_of_weights(uvw, wavenumber, weight, shape, CELL), expected, atol=1e-6 * expected.max()
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_every_channel_has_its_own_psf(shape):
    uvw, weight, wavenumber = random_observation()
    images = np.random.default_rng(6).normal(size=(3, *shape))
    psfs = np.stack([psf_of_weights(uvw, k, weight[:, [c]], shape, CELL) for c, k in enumerate(wavenumber)])
    with jax.enable_x64(True):
        actual = ConvolutionNormalOperator.from_psf(psfs)(jnp.asarray(images))
    for channel, k in enumerate(wavenumber):
        visibilities = weight[:, channel] * visibilities_of(images[channel], uvw * k, CELL)
        expected = image_of(visibilities, uvw * k, shape, CELL)
        np.testing.assert_allclose(actual[channel], expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("terms", [1, 2, 3])
def test_taylor_terms_follow_the_direct_sum_over_channels(shape, terms):
    uvw, weight, wavenumber = random_observation()
    images = np.random.default_rng(7).normal(size=(terms, *shape))
    scaled = (weight * (wavenumber - 1.0) ** q for q in range(2 * terms - 1))
    psfs = np.stack([psf_of_weights(uvw, wavenumber, each, shape, CELL) for each in scaled])
    with jax.enable_x64(True):
        actual = TaylorNormalOperator.from_psfs(psfs)(jnp.asarray(images))
    expected = np.zeros_like(images)
    for channel, k in enumerate(wavenumber):
        powers = (k - 1.0) ** np.arange(terms)
        sky = np.tensordot(powers, images, 1)
        gridded = image_of(weight[:, channel] * visibilities_of(sky, uvw * k, CELL), uvw * k, shape, CELL)
        expected += powers[:, None, None] * gridded
    np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())


def test_psfs_that_fit_no_image_are_refused():
    with pytest.raises(ValueError, match="Taylor terms"):
        TaylorNormalOperator.from_psfs(np.zeros((2, 8, 8)))
