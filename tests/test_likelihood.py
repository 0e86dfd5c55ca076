"""The likelihood of an image against explicit matrices, alone and as a sum over data sets."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator, OperatorBesideSources, TaylorNormalOperator
from casa_ml_tasks.minor.band import Band
from casa_ml_tasks.minor.rml.taylor import BandNormalOperator
from tests.test_normal_operator import direct_psf

pytestmark = pytest.mark.usefixtures("double_precision")
SHAPES = [(8, 6), (7, 9)]
SIGMAS = 0.3, 0.1


def convolution(shape, seed=0):
    return ConvolutionNormalOperator.from_psf(direct_psf(shape, seed)[0])


def channels(shape):
    return ConvolutionNormalOperator.from_psf(np.stack([direct_psf(shape, seed)[0] for seed in (0, 1)]))


def taylor_psfs(shape):
    """Of two terms, by the direct sum over two frequencies."""
    low, high = (direct_psf(shape, seed)[0] for seed in (0, 1))
    return np.stack([(low * (-0.1) ** q + high * 0.2**q) / 2 for q in range(3)])


def taylor(shape):
    return TaylorNormalOperator.from_psfs(taylor_psfs(shape))


def band(shape):
    psfs = taylor_psfs(shape)
    single = BandNormalOperator.from_psfs(psfs, Band.of_moments(psfs[:, *shape]))
    return jax.tree.map(lambda each: each.astype(float), single)


def mosaic(shape):
    box, rng = (5, 4), np.random.default_rng(8)
    psfs = np.stack([direct_psf(box, seed)[0] for seed in range(3)]) / 3
    corners = np.array([[0, 0], [1, 1], [2, 0]])
    return Mosaic.in_flat_noise(psfs, rng.uniform(0.1, 1, (3, *box)), corners, np.ones(shape, bool)).normal()


def beside_sources(shape):
    operator = convolution(shape)
    columns = np.random.default_rng(9).normal(size=(2, *shape))
    beams = operator(jnp.asarray(columns))
    return OperatorBesideSources(operator, beams, jnp.linalg.inv(jnp.einsum("iyx,jyx->ij", columns, beams)))


def both(shape):
    """The operator of two data sets together."""
    return (likelihood_of(convolution(shape, 0), shape) + likelihood_of(convolution(shape, 1), shape)).operator


#: Operators, and how many images theirs are.
OPERATORS = {
    convolution: (),
    channels: (2,),
    taylor: (2,),
    band: (2,),
    mosaic: (),
    beside_sources: (),
    both: (),
}


@pytest.fixture(params=SHAPES)
def shape(request):
    return request.param


@pytest.fixture(params=OPERATORS, ids=lambda kind: kind.__name__)
def operator_and_shape(request, shape):
    """A normal operator of each kind, and the shape of its images."""
    return request.param(shape), (*OPERATORS[request.param], *shape)


def likelihood_of(operator, shape, seed=2, sigma=SIGMAS[0]):
    residual, model = np.random.default_rng(seed).normal(size=(2, *shape))
    return QuadraticLikelihood(operator, jnp.asarray(residual), jnp.asarray(model), sigma)


def dense(operator, shape):
    """The operator as a matrix."""
    pixels = np.eye(np.prod(shape)).reshape(-1, *shape)
    return np.stack([np.ravel(operator(jnp.asarray(each))) for each in pixels], axis=1)


def random_images(count, shape, seed=3):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, *shape)))


def test_value_gradient_and_predicted_residual_are_those_of_the_matrix(operator_and_shape):
    operator, shape = operator_and_shape
    likelihood, matrix = likelihood_of(operator, shape), dense(operator, shape)
    (image,) = random_images(1, shape)
    change, residual = np.ravel(image - likelihood.model), np.ravel(likelihood.residual)
    expected = (0.5 * change @ matrix @ change - change @ residual) / SIGMAS[0] ** 2
    assert float(likelihood.value(image)) == pytest.approx(expected, rel=1e-9)
    left = residual - matrix @ change
    np.testing.assert_allclose(np.ravel(likelihood.predicted_residual(image)), left, atol=1e-9)
    np.testing.assert_allclose(np.ravel(likelihood.gradient(image)), -left / SIGMAS[0] ** 2, atol=1e-7)


def test_the_gradient_is_that_of_finite_differences(operator_and_shape):
    operator, shape = operator_and_shape
    likelihood = likelihood_of(operator, shape)
    image, direction = random_images(2, shape)
    step = 1e-4
    ahead, behind = (likelihood.value(image + sign * step * direction) for sign in (1, -1))
    slope = float(jnp.vdot(likelihood.gradient(image), direction))
    assert float(ahead - behind) / (2 * step) == pytest.approx(slope, rel=1e-6)


def test_the_curvature_is_symmetric_and_below_the_spectral_norm(operator_and_shape):
    operator, shape = operator_and_shape
    likelihood = likelihood_of(operator, shape)
    a, b = random_images(2, shape)
    left, right = jnp.vdot(likelihood.curvature(a), b), jnp.vdot(a, likelihood.curvature(b))
    assert float(left) == pytest.approx(float(right), rel=1e-8, abs=1e-8 * float(jnp.vdot(a, a)))
    eigenvalues = np.linalg.eigvalsh(dense(likelihood.curvature, shape))
    assert eigenvalues.min() > -1e-8 * eigenvalues.max()
    assert eigenvalues.max() <= operator.spectral_norm() / SIGMAS[0] ** 2 * (1 + 1e-9)


def test_another_model_changes_a_likelihood_by_a_constant(operator_and_shape):
    operator, shape = operator_and_shape
    likelihood = likelihood_of(operator, shape)
    model, *images = random_images(3, shape)
    moved = likelihood.around(model)
    np.testing.assert_array_equal(moved.model, model)
    differences = [float(moved.value(image) - likelihood.value(image)) for image in images]
    assert differences[0] == pytest.approx(differences[1], rel=1e-8)


def two_data_sets(shape):
    """Likelihoods of the same image from two arrays, with models and noises of their own, and their matrices."""
    operators = convolution(shape, 0), convolution(shape, 1)
    likelihoods = [likelihood_of(*each) for each in zip(operators, (shape, shape), (4, 5), SIGMAS, strict=True)]
    return likelihoods, [dense(each, shape) for each in operators]


def test_the_sum_of_two_likelihoods_is_the_likelihood_of_both_data_sets(shape):
    (first, second), matrices = two_data_sets(shape)
    likelihood = first + second
    images = random_images(2, shape)

    def chi2_over_2(image):
        total = 0.0
        for each, matrix, sigma in zip((first, second), matrices, SIGMAS, strict=True):
            change = np.ravel(image - each.model)
            total += (0.5 * change @ matrix @ change - change @ np.ravel(each.residual)) / sigma**2
        return total

    difference = float(likelihood.value(images[0]) - likelihood.value(images[1]))
    assert difference == pytest.approx(chi2_over_2(images[0]) - chi2_over_2(images[1]), rel=1e-9)
    gradient = sum(np.asarray(each.gradient(images[0])) for each in (first, second))
    np.testing.assert_allclose(likelihood.gradient(images[0]), gradient, atol=1e-8)
    curvature = sum(matrix / sigma**2 for matrix, sigma in zip(matrices, SIGMAS, strict=True))
    np.testing.assert_allclose(dense(likelihood.curvature, shape), curvature, atol=1e-8)


def test_the_residual_of_a_sum_has_the_noise_that_it_says(shape):
    r"""The noise of r is $\sigma^2 H$: the residual of a sum, a weighted mean, has it with its own sigma and H."""
    (first, second), matrices = two_data_sets(shape)
    likelihood = first + second
    assert float(likelihood.sigma) == pytest.approx(np.sum(np.array(SIGMAS) ** -2) ** -0.5)
    weights = float(likelihood.sigma) ** 2 / np.array(SIGMAS) ** 2
    pairs = zip(weights, SIGMAS, matrices, strict=True)
    covariance = sum((weight * sigma) ** 2 * matrix for weight, sigma, matrix in pairs)
    np.testing.assert_allclose(likelihood.sigma**2 * dense(likelihood.operator, shape), covariance, atol=1e-10)
    (image,) = random_images(1, shape)
    residual = sum(w * each.predicted_residual(image) for w, each in zip(weights, (first, second), strict=True))
    np.testing.assert_allclose(likelihood.predicted_residual(image), residual, atol=1e-9)


def test_addition_is_associative_and_needs_no_model(shape):
    likelihoods = [replace(likelihood_of(convolution(shape, k), shape, k), model=0.0) for k in range(3)]
    (image,) = random_images(1, shape)
    expected = sum(float(each.value(image)) for each in likelihoods)
    first, second, third = likelihoods
    for likelihood in ((first + second) + third, first + (second + third)):
        assert float(likelihood.value(image)) == pytest.approx(expected, rel=1e-9)


def test_a_channel_without_data_in_one_set_is_that_of_the_other(shape):
    nothing = ConvolutionNormalOperator(channels(shape).transfer.at[1].set(0))
    sigmas = [jnp.asarray(each)[:, None, None] for each in ([0.3, np.inf], [0.1, 0.2])]
    likelihoods = [
        likelihood_of(operator, (2, *shape), seed, sigma)
        for operator, seed, sigma in zip((nothing, channels(shape)), (4, 5), sigmas, strict=True)
    ]
    likelihood = likelihoods[0] + likelihoods[1]
    assert float(likelihood.sigma[1, 0, 0]) == pytest.approx(0.2)
    (image,) = random_images(1, (2, *shape))
    expected = sum(np.asarray(each.gradient(image)) for each in likelihoods)
    np.testing.assert_allclose(likelihood.gradient(image), expected, atol=1e-8)


def test_a_sum_of_single_precision_stays_in_single_precision(shape):
    def single(seed):
        operator = ConvolutionNormalOperator.from_psf(direct_psf(shape, seed)[0], np.float32)
        residual = likelihood_of(operator, shape, seed).residual.astype(jnp.float32)
        return QuadraticLikelihood(operator, residual, jnp.zeros(shape, jnp.float32), SIGMAS[seed])

    likelihood = single(0) + single(1)
    image = random_images(1, shape)[0].astype(jnp.float32)
    assert likelihood.predicted_residual(image).dtype == jnp.float32
    assert likelihood.operator.transfer.dtype == jnp.float32
    assert likelihood.value(image).dtype == jnp.float64


def test_likelihoods_go_through_compiled_and_mapped_functions(operator_and_shape):
    operator, shape = operator_and_shape
    likelihood = likelihood_of(operator, shape)
    images = random_images(3, shape)
    compiled = jax.jit(lambda likelihood, images: jax.vmap(likelihood.value_and_gradient)(images))
    values, gradients = compiled(likelihood, images)
    for image, value, gradient in zip(images, values, gradients, strict=True):
        assert float(value) == pytest.approx(float(likelihood.value(image)), rel=1e-9)
        np.testing.assert_allclose(gradient, likelihood.gradient(image), atol=1e-8)
        np.testing.assert_allclose(jax.grad(likelihood.value)(image), gradient, atol=1e-7)
