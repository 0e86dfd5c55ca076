"""The optimiser against problems whose minimum other libraries know."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import Bounds, minimize, nnls

from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.minor.rml import projected_lbfgs
from casa_ml_tasks.minor.rml.objective import Objective
from casa_ml_tasks.minor.rml.regularisers.registry import REGULARISERS
from tests.test_normal_operator import direct_psf


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LeastSquares:
    """|A x - b|^2 / 2 on a (1, n, m) unknown."""

    matrix: jax.Array
    data: jax.Array

    def value_and_gradient(self, parts):
        residual = self.matrix @ parts.ravel() - self.data
        return 0.5 * residual @ residual, (self.matrix.T @ residual).reshape(parts.shape)

    def projected(self, parts):
        return jnp.maximum(parts, 0)

    def preconditioner(self, parts):
        curvature = jnp.sum(self.matrix**2, axis=0).reshape(parts.shape)
        return lambda gradient: gradient / curvature


def objective(shape, regularisers, seed=0):
    rng = np.random.default_rng(seed)
    psf, _ = direct_psf(shape, seed)
    operator = ConvolutionNormalOperator.from_psf(psf)
    sky = jnp.asarray(np.where(rng.uniform(size=shape) > 0.8, rng.uniform(1, 5, shape), 0))
    likelihood = QuadraticLikelihood(operator, operator(sky), 0.0, jnp.asarray(0.05))
    return Objective(likelihood, jnp.asarray(4.0), jnp.ones(len(regularisers)), tuple(regularisers))


def test_non_negative_least_squares_agrees_with_lawson_and_hanson():
    rng = np.random.default_rng(0)
    matrix, data = rng.normal(size=(60, 30)), rng.normal(size=60)
    expected, _ = nnls(matrix, data)
    assert (expected == 0).any()
    with jax.enable_x64(True):
        problem = LeastSquares(jnp.asarray(matrix), jnp.asarray(data))
        state = projected_lbfgs.begin(problem, jnp.zeros((1, 5, 6)))
        state = projected_lbfgs.advance(problem, jnp.ones((5, 6), bool), state, 200)
        np.testing.assert_allclose(np.ravel(state.position), expected, atol=1e-7)


@pytest.mark.parametrize("shape", [(12, 12), (9, 14)])
@pytest.mark.parametrize(
    "regularisers", [[], ["l1"], ["l1", "tsv"], ["l1", "tv"], ["entropy"], ["l1", "log_smoothness"]]
)
def test_the_minimum_is_the_one_that_scipy_finds(regularisers, shape):
    with jax.enable_x64(True):
        problem = objective(shape, regularisers)

        def value_and_gradient(flat):
            value, gradient = problem.value_and_gradient(jnp.asarray(flat.reshape(1, *shape)))
            return float(value), np.ravel(gradient)

        options = {"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-9}
        expected = minimize(
            value_and_gradient, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B", bounds=Bounds(0), options=options
        )
        state = projected_lbfgs.begin(problem, jnp.zeros((1, *shape)))
        state = projected_lbfgs.advance(problem, jnp.ones(shape, bool), state, 2000)
    assert float(state.value) <= expected.fun + 1e-6 * abs(expected.fun)
    assert (np.asarray(state.position) >= 0).all()


def test_pixels_outside_the_support_stay_empty():
    shape = (10, 10)
    support = np.zeros(shape, bool)
    support[2:7, 3:8] = True
    with jax.enable_x64(True):
        problem = objective(shape, ["l1"])
        state = projected_lbfgs.begin(problem, jnp.zeros((1, *shape)))
        state = projected_lbfgs.advance(problem, jnp.asarray(support), state, 50)
    position = np.asarray(state.position[0])
    assert (position[~support] == 0).all()
    assert (position[support] > 0).any()


def test_another_objective_at_the_same_place_begins_with_the_pairs_of_the_last():
    """With nothing changed the iterations go on as if there had been one call; else value and gradient are its own."""
    shape = (10, 10)
    support = jnp.ones(shape, bool)
    with jax.enable_x64(True):
        problem, other = objective(shape, ["l1"]), objective(shape, ["l1"], seed=1)
        first = projected_lbfgs.advance(problem, support, projected_lbfgs.begin(problem, jnp.zeros((1, *shape))), 5)
        again = projected_lbfgs.advance(problem, support, projected_lbfgs.begin_again(problem, first), 5)
        at_once = projected_lbfgs.advance(problem, support, first, 5)
        moved = projected_lbfgs.begin_again(other, first)
        value, gradient = other.value_and_gradient(first.position)
    np.testing.assert_allclose(again.position, at_once.position, atol=1e-12)
    np.testing.assert_allclose(moved.value, value)
    np.testing.assert_allclose(moved.gradient, gradient)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("name", REGULARISERS)
def test_the_gradient_of_the_objective_agrees_with_finite_differences(name, parts):
    shape = (7, 9)
    rng = np.random.default_rng(4)
    position = np.stack([rng.uniform(2, 3, shape), rng.uniform(0.1, 1, shape)][:parts])
    direction = rng.normal(size=position.shape)
    step = 1e-6
    with jax.enable_x64(True):
        problem = objective(shape, [name])
        ahead, _ = problem.value_and_gradient(jnp.asarray(position + step * direction))
        behind, _ = problem.value_and_gradient(jnp.asarray(position - step * direction))
        _, gradient = problem.value_and_gradient(jnp.asarray(position))
    np.testing.assert_allclose(np.vdot(gradient, direction), (ahead - behind) / (2 * step), rtol=1e-5)


@pytest.mark.parametrize("name", ["l1", "tsv", "entropy"])
def test_the_curvature_bounds_the_diagonal_of_the_hessian_of_the_regularisers(name):
    shape = (5, 6)
    position = np.random.default_rng(5).uniform(0.5, 1, (1, *shape))
    with jax.enable_x64(True):
        problem = objective(shape, [name])
        hessian = jax.hessian(lambda flat: problem.regularisation(flat.reshape(1, *shape)))(jnp.ravel(position))
        curvature = np.ravel(problem.curvature(jnp.asarray(position)))
    diagonal = np.diag(hessian)
    assert (curvature >= diagonal * (1 - 1e-9)).all()
    assert (curvature <= 2 * diagonal).all()
