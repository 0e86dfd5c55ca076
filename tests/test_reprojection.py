"""Skies between the pixels of an image: visibilities against direct sums, and the adjoint."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.kernels.band_limited import tap_count, taps
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.kernels.reprojected_operator import ReprojectedNormalOperator, reprojected
from casa_ml_tasks.kernels.reprojection import PointwiseSky, SlicedSky
from casa_ml_tasks.simulation.direct_fourier import image_of, relative_error, visibilities_of

CELL = 1e-5  # radians
BAND = 0.3  # cycles a pixel
SHAPES = [((8, 8), (40, 40)), ((7, 10), (41, 38)), ((9, 5), (38, 45))]


def turned(sky_shape, shape, angle=0.6, scale=0.83):
    """Positions in an image, (2, ny, nx), of a sky that is turned, scaled, sheared and off its pixels."""
    lags = np.indices(sky_shape) - np.reshape([n // 2 for n in sky_shape], (2, 1, 1))
    jacobian = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), 1.1 * np.cos(angle)]])
    centre = np.array([shape[0] // 2 + 0.3, shape[1] // 2 - 0.4])
    return np.tensordot(jacobian, lags, 1) + centre[:, None, None], jacobian


def baselines(count=80):
    uvw = np.random.default_rng(1).uniform(-BAND, BAND, (count, 3)) / CELL
    uvw[:, 2] = 0
    return uvw


def phasors(positions, shape, uvw):
    """exp(2 pi i (ul + vm)) at pixels of an image, whose centre is the phase centre: (visibility, ny, nx)."""
    m, l = (positions[0] - shape[0] // 2) * CELL, -(positions[1] - shape[1] // 2) * CELL  # noqa: E741
    return np.exp(2j * np.pi * (uvw[:, 0, None, None] * l + uvw[:, 1, None, None] * m))


@pytest.mark.parametrize(
    ("sky_shape", "shape", "tolerance"),
    [(*each, error) for each, error in zip(SHAPES, (1e-2, 1e-3, 1e-4), strict=True)],
)
def test_any_sky_has_the_visibilities_of_its_pixels(sky_shape, shape, tolerance):
    positions, _ = turned(sky_shape, shape)
    uvw, rng = baselines(), np.random.default_rng(2)
    point = np.zeros(sky_shape)
    point[2, 3] = 1
    for sky in (rng.normal(size=sky_shape), np.ones(sky_shape), point):
        with jax.enable_x64(True):
            image = np.asarray(PointwiseSky.at(positions, shape, BAND, tolerance)(jnp.asarray(sky)))
        expected = np.tensordot(phasors(positions, shape, uvw), sky, 2)
        # The tolerance is of each axis.
        assert relative_error(visibilities_of(image, uvw, CELL), expected) < 2 * tolerance
        np.testing.assert_allclose(image.sum(), sky.sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("sky_shape", "shape"), SHAPES)
def test_the_adjoint_interpolates_a_dirty_image(sky_shape, shape):
    positions, _ = turned(sky_shape, shape)
    uvw, rng = baselines(), np.random.default_rng(3)
    visibilities = rng.normal(size=len(uvw)) + 1j * rng.normal(size=len(uvw))
    with jax.enable_x64(True):
        found = PointwiseSky.at(positions, shape, BAND).adjoint(jnp.asarray(image_of(visibilities, uvw, shape, CELL)))
    expected = np.tensordot(visibilities, phasors(positions, shape, uvw).conj(), (0, 0)).real
    assert relative_error(found, expected) < 2e-4


def reprojections(sky_shape, shape):
    positions, _ = turned(sky_shape, shape)
    yield PointwiseSky.at(positions, shape, BAND)
    outside = positions * 3 - 60  # most of the sky is not in the image, some at its edges
    outside[:, 0, :2] = np.nan
    yield PointwiseSky.at(outside, shape, BAND)
    yield SlicedSky(sky_shape, shape, (3, -2))
    yield SlicedSky(shape, sky_shape, (5, 20))


@pytest.mark.parametrize(
    ("sky_shape", "shape", "planes"), [(*each, planes) for each, planes in zip(SHAPES, [(), (2, 1), (3,)], strict=True)]
)
def test_the_adjoint_is_the_transpose(sky_shape, shape, planes):
    rng = np.random.default_rng(4)
    with jax.enable_x64(True):
        for each in reprojections(sky_shape, shape):
            sky, image = rng.normal(size=(*planes, *each.sky_shape)), rng.normal(size=(*planes, *each.shape))
            left, right = jnp.vdot(each(jnp.asarray(sky)), image), jnp.vdot(sky, each.adjoint(jnp.asarray(image)))
            assert abs(left) > 0
            np.testing.assert_allclose(left, right, rtol=1e-12)


def test_pixels_that_the_image_does_not_see_count_for_nothing():
    positions = np.full((2, 3, 3), np.nan)
    positions[:, 1, 1] = 20.25, 19.5
    positions[:, 0, 0] = 200, 20
    reprojection = PointwiseSky.at(positions, (40, 41), BAND)
    np.testing.assert_array_equal(np.argwhere(reprojection.seen), [[1, 1]])
    np.testing.assert_allclose(reprojection(jnp.ones((3, 3))).sum(), 1, rtol=1e-5)
    assert np.count_nonzero(reprojection.adjoint(jnp.ones((40, 41)))) == 1


def test_a_sky_in_the_frame_of_the_image_is_the_image():
    sky = np.random.default_rng(5).normal(size=(9, 12))
    np.testing.assert_array_equal(SlicedSky((9, 12), (4, 5), (2, 6))(sky), sky[2:6, 6:11].astype(np.float32))
    positions = np.indices((9, 12)) - np.reshape([2, 6], (2, 1, 1)) * 1.0
    rendered = PointwiseSky.at(positions, (4, 5), BAND)(jnp.asarray(sky))
    np.testing.assert_allclose(rendered, sky[2:6, 6:11], atol=1e-3)


def test_the_norm_bounds_the_largest_eigenvalue():
    sky_shape, shape = SHAPES[1]
    positions, _ = turned(sky_shape, shape)
    with jax.enable_x64(True):
        reprojection = PointwiseSky.at(positions, shape, BAND)
        basis = np.eye(np.prod(sky_shape)).reshape(-1, *sky_shape)
        columns = np.asarray(reprojection(jnp.asarray(basis))).reshape(len(basis), -1)
        largest = np.linalg.svd(columns, compute_uv=False)[0] ** 2
        assert largest <= reprojection.norm() < 1.2 * largest


def test_a_point_between_pixels_is_the_pixel_that_it_is_on():
    first, weights = taps(np.array([5.0, 7.5]), BAND, 12)
    np.testing.assert_array_equal(first, [0, 2])
    np.testing.assert_allclose(weights[0], np.eye(12)[5], atol=1e-3)
    np.testing.assert_allclose(weights[1], weights[1, ::-1], atol=1e-7)


def test_pixels_too_large_for_the_baselines_are_refused():
    with pytest.raises(ValueError, match=r"use a cell of at most 0\.93 times this one"):
        tap_count(0.45, 1e-3)


@pytest.mark.parametrize(("sky_shape", "shape"), SHAPES)
def test_the_normal_operator_of_a_sky_is_the_sum_over_visibilities(sky_shape, shape):
    positions, jacobian = turned(sky_shape, shape)
    uvw, rng = baselines(), np.random.default_rng(6)
    weight = rng.uniform(0.5, 2, len(uvw))
    psf = psf_of_weights(uvw, 1.0, weight[:, None], shape, CELL) / weight.sum()
    sky = rng.normal(size=sky_shape)
    with jax.enable_x64(True):
        image_operator = ConvolutionNormalOperator.from_psf(psf)
        reprojection = PointwiseSky.at(positions, shape, BAND)
        operator = ReprojectedNormalOperator.of(reprojection, image_operator, jacobian)
        found = operator(jnp.asarray(sky))
        ratio = jnp.vdot(operator(jnp.asarray(found)), found) / jnp.vdot(found, found)
        assert ratio < operator.spectral_norm()
        transfer = np.asarray(operator.transfer)
    phases = phasors(positions, shape, uvw)
    visibilities = weight * np.tensordot(phases, sky, 2)
    expected = np.tensordot(visibilities, phases.conj(), (0, 0)).real / weight.sum()
    assert relative_error(found, expected) < 1e-3
    # The convolution that is nearest to it is exact here, where the reprojection is affine.
    assert relative_error(ConvolutionNormalOperator(jnp.asarray(transfer))(jnp.asarray(sky)), expected) < 0.05


def test_the_w_term_of_a_sky_is_that_of_its_pixels():
    cell, sky_shape, shape = 2e-3, (9, 8), (60, 55)
    positions, _ = turned(sky_shape, shape)
    uvw, sky = baselines() * CELL / cell * 0.8, np.random.default_rng(8).normal(size=sky_shape)
    uvw[:, 2] = np.random.default_rng(9).uniform(-1, 1, len(uvw)) / cell
    m, l = (positions[0] - shape[0] // 2) * cell, -(positions[1] - shape[1] // 2) * cell  # noqa: E741
    directions = np.stack([l, m, np.sqrt(1 - l**2 - m**2) - 1])
    expected = np.tensordot(np.exp(2j * np.pi * np.tensordot(uvw, directions, 1)), sky, 2)
    flat = np.tensordot(np.exp(2j * np.pi * np.tensordot(uvw[:, :2], directions[:2], 1)), sky, 2)
    with jax.enable_x64(True):
        image = np.asarray(PointwiseSky.at(positions, shape, BAND)(jnp.asarray(sky)))
    assert relative_error(flat, expected) > 0.01
    assert relative_error(visibilities_of(image, uvw, cell, w_term=True), expected) < 2e-4


@pytest.mark.parametrize("channels", [(), (2,)])
def test_the_likelihood_of_a_sky_is_that_of_its_image(channels):
    sky_shape, shape = SHAPES[1]
    positions, jacobian = turned(sky_shape, shape)
    uvw, rng = baselines(), np.random.default_rng(7)
    psf = psf_of_weights(uvw, 1.0, rng.uniform(0.5, 2, (len(uvw), 1)), shape, CELL) / len(uvw)
    with jax.enable_x64(True):
        first, second = jnp.asarray(rng.normal(size=(2, *channels, *sky_shape)))
        operator = ConvolutionNormalOperator.from_psf(np.broadcast_to(psf, (*channels, *psf.shape)))
        reprojection = PointwiseSky.at(positions, shape, BAND)
        residual = jnp.asarray(rng.normal(size=(*channels, *shape)))
        of_image = QuadraticLikelihood(operator, residual, reprojection(first), 0.3)
        of_sky = reprojected(of_image, reprojection, first, jacobian)
        assert of_sky.operator.transfer.shape == (*channels, 2 * sky_shape[0], sky_shape[1] + 1)
        value, gradient = of_sky.value_and_gradient(second)
        np.testing.assert_allclose(value, of_image.value(reprojection(second)), rtol=1e-10)
        change, step = jnp.asarray(rng.normal(size=second.shape)), 1e-4
        slope = (of_sky.value(second + step * change) - of_sky.value(second - step * change)) / (2 * step)
        np.testing.assert_allclose(jnp.vdot(gradient, change), slope, rtol=1e-6)
