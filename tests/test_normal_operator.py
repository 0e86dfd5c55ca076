"""The normal operator against a dense matrix of direct sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.kernels.normal_operator import NormalOperator, psf_of_mosaic

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
        actual = NormalOperator.from_psf(psf)(jnp.asarray(image))
    np.testing.assert_allclose(actual, expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_its_own_adjoint(shape):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, *shape))
    with jax.enable_x64(True):
        operator = NormalOperator.from_psf(direct_psf(shape)[0])
        left, right = jnp.vdot(operator(jnp.asarray(a)), b), jnp.vdot(a, operator(jnp.asarray(b)))
    np.testing.assert_allclose(left, right, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_positive_semi_definite_below_its_spectral_norm(shape):
    with jax.enable_x64(True):
        operator = NormalOperator.from_psf(direct_psf(shape)[0])
        basis = jnp.eye(np.prod(shape)).reshape(-1, *shape)
        matrix = np.stack([np.ravel(operator(image)) for image in basis])
        eigenvalues = np.linalg.eigvalsh(matrix)
        assert eigenvalues.min() > -1e-10
        assert eigenvalues.max() <= operator.spectral_norm() * (1 + 1e-10)


def test_a_psf_that_does_not_cover_twice_the_image_is_refused():
    with pytest.raises(ValueError, match="does not cover twice the image"):
        NormalOperator.from_psf(np.zeros((9, 8)))


def test_the_psf_of_a_dense_mosaic_gives_the_sum_over_its_pointings():
    """In the middle of a large mosaic: one pointing a pixel, Gaussian beams, the same uv points for each."""
    n = 24
    psf, _ = direct_psf((n, n), visibilities=60)
    y, x = np.mgrid[: 2 * n, : 2 * n] - n
    beam = np.exp(-(x**2 + y**2) / (2 * 2.5**2))
    operator = psf_of_mosaic(psf, beam)
    # Row of sum_k A_k T A_k / (p p) for the central pixel, pointings k on every pixel around it:
    overlap = np.array([[np.sum(beam * np.roll(beam, (dy, dx), (0, 1))) for dx in (-3, 0, 4)] for dy in (-2, 0, 5)])
    expected = psf[np.ix_([n - 2, n, n + 5], [n - 3, n, n + 4])] * overlap / np.sum(beam**2)
    np.testing.assert_allclose(operator[np.ix_([n - 2, n, n + 5], [n - 3, n, n + 4])], expected, atol=1e-12)
