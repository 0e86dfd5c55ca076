"""The likelihood of an image, given gridded data: a quadratic form that RML, RESOLVE and cross-validation share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import jax
import jax.numpy as jnp

from casa_ml_tasks.kernels.normal_operator import NormalOperator


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class QuadraticLikelihood:
    r"""$L(I) = (\frac12 \Delta^T H \Delta - \Delta^T r) / \sigma^2$ with $\Delta = I - I_0$, dimensionless.

    L is $\chi^2/2$ of the visibilities up to a constant. The residual r is that of a model $I_0$ near the image, as a
    major cycle returns it, so that only the small $\Delta$ goes through H, and single precision is enough for it.
    Likelihoods of the same image add up: `mosaic + single_dish` is the likelihood of both data sets together.

    Attributes:
        operator: H, Jy/pixel to Jy/beam.
        residual: r, (..., ny, nx), Jy/beam; the dirty image where the model is 0.
        model: $I_0$, (..., ny, nx), Jy/pixel.
        sigma: noise of the residual, which carries the weights, Jy/beam. One number, or (channel, 1, 1); infinite for
            a channel without data.
    """

    operator: NormalOperator
    residual: jax.Array
    model: jax.Array | float
    sigma: jax.Array | float

    def value_and_gradient(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        r"""Return L, a scalar, and $(H \Delta - r) / \sigma^2$, shaped like the image, by one application of H."""
        change = image - self.model
        dirty = self.operator(change)
        value = jnp.vdot(change.astype(float), (0.5 * dirty - self.residual) / self.sigma**2)
        return value, (dirty - self.residual) / self.sigma**2

    def value(self, image: jax.Array) -> jax.Array:
        """Return L of an image, (..., ny, nx), Jy/pixel: a scalar, in double precision where JAX allows it."""
        return self.value_and_gradient(image)[0]

    def gradient(self, image: jax.Array) -> jax.Array:
        """Return the derivative of L by every pixel of an image, (..., ny, nx), pixel/Jy."""
        return self.value_and_gradient(image)[1]

    def curvature(self, direction: jax.Array) -> jax.Array:
        r"""Return the Hessian times a direction, $H D / \sigma^2$; (..., ny, nx), Jy/pixel to pixel/Jy."""
        return self.operator(direction) / self.sigma**2

    def predicted_residual(self, image: jax.Array) -> jax.Array:
        r"""Return the residual of an image, $r - H \Delta$, (..., ny, nx), Jy/beam."""
        return self.residual - self.operator(image - self.model)

    def around(self, image: jax.Array) -> QuadraticLikelihood:
        """Return the same likelihood, up to a constant, with another image as its model."""
        return replace(self, residual=self.predicted_residual(image), model=image)

    def __add__(self, other: QuadraticLikelihood) -> QuadraticLikelihood:
        r"""Return the likelihood of both data sets, up to a constant.

        Operator and residual are the means with weights $1/\sigma^2$, as if all data had been gridded together with
        natural weights. The noise of that residual is $\sigma = (\sigma_1^{-2} + \sigma_2^{-2})^{-1/2}$, and the model
        is that of the first.
        """
        model = jnp.broadcast_to(jnp.asarray(self.model, self.residual.dtype), self.residual.shape)
        precisions = [jnp.asarray(each.sigma, float) ** -2 for each in (self, other)]
        total = reduce(add, precisions)
        weights = [jnp.where(total > 0, precision / total, 0.0) for precision in precisions]
        residual = weights[0] * self.residual + weights[1] * other.predicted_residual(model)
        operator = WeightedSum.of((self.operator, other.operator), weights)
        return QuadraticLikelihood(operator, residual.astype(self.residual.dtype), model, total**-0.5)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WeightedSum:
    r"""$\sum_k w_k H_k$, the normal operator of several data sets together.

    Attributes:
        operators: $H_k$, of images of the same shape.
        weights: $w_k$, which add up to 1. Numbers, or (channel, 1, 1), in the precision of their operators.
    """

    operators: tuple[NormalOperator, ...]
    weights: tuple[jax.Array, ...]

    @classmethod
    def of(cls, operators: tuple[NormalOperator, ...], weights: list[jax.Array]) -> WeightedSum:
        """Return the sum with its weights in the precision of the operators."""
        pairs = zip(operators, weights, strict=True)
        return cls(operators, tuple(weight.astype(each.transfer.dtype) for each, weight in pairs))

    @property
    def transfer(self) -> jax.Array:
        """The mean transfer function, (..., 2 ny, nx + 1)."""
        return reduce(add, [weight * each.transfer for each, weight in self._terms()])

    def __call__(self, image: jax.Array) -> jax.Array:
        """Return the dirty image of an image; (..., ny, nx), Jy/pixel to Jy/beam."""
        return reduce(add, [weight * each(image) for each, weight in self._terms()])

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue: the sum of those of the terms."""
        return reduce(add, [jnp.max(weight) * each.spectral_norm() for each, weight in self._terms()])

    def _terms(self) -> list[tuple[NormalOperator, jax.Array]]:
        return list(zip(self.operators, self.weights, strict=True))
