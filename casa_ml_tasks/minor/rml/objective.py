"""What the regularised maximum likelihood image minimises."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.minor.rml.regularisers.registry import OF_THE_MAGNITUDE, resolve


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Objective:
    r"""$\frac{1}{\sigma^2}\left(\frac12 I^T H I - I^T j\right) + \sum_i \lambda_i R_i(I)$, dimensionless.

    The first term is $\chi^2/2$ up to a constant, with $H = F^H W F / \sum W$ and $j$ the dirty image; sigma, the
    noise of j, carries the weights. The unknown is not the image but its non-negative parts: the image itself where
    it must be positive, else $I = P - N$, so that every bound is a bound at zero and $|I| = P + N$ is smooth.

    Attributes:
        operator: H, Jy/pixel to Jy/beam.
        dirty: j, (..., ny, nx), Jy/beam.
        noise: sigma and beam area.
        strengths: (number of regularisers,), dimensionless.
        regularisers: their names, as `registry.resolve` takes them.
    """

    operator: NormalOperator
    dirty: jax.Array
    noise: NoiseLevel
    strengths: jax.Array
    regularisers: tuple[str, ...] = field(metadata={"static": True})

    def image(self, parts: jax.Array) -> jax.Array:
        """parts: (1 or 2, ..., ny, nx), non-negative. Returns the image, (..., ny, nx), Jy/pixel."""
        return parts[0] if len(parts) == 1 else parts[0] - parts[1]

    def regularisation(self, parts: jax.Array) -> jax.Array:
        r"""$\sum_i \lambda_i R_i$, a scalar."""
        magnitude, image = parts.sum(axis=0), self.image(parts)
        terms = [
            strength * resolve(name)(magnitude if name in OF_THE_MAGNITUDE else image, self.noise)
            for name, strength in zip(self.regularisers, self.strengths, strict=True)
        ]
        return sum(terms, jnp.zeros(()))

    def value_and_gradient(self, parts: jax.Array) -> tuple[jax.Array, jax.Array]:
        """parts: (1 or 2, ..., ny, nx). Returns the objective, a scalar, and its gradient, shaped like the parts."""
        image, pull_back = jax.vjp(self.image, parts)
        dirty_of_image = self.operator(image)
        misfit = jnp.vdot(image, (0.5 * dirty_of_image - self.dirty) / self.noise.sigma**2)
        (misfit_gradient,) = pull_back((dirty_of_image - self.dirty) / self.noise.sigma**2)
        regularisation, gradient = jax.value_and_grad(self.regularisation)(parts)
        return misfit + regularisation, misfit_gradient + gradient

    def curvature(self, parts: jax.Array) -> jax.Array:
        r"""A positive estimate of the diagonal of the Hessian, shaped like the parts: the preconditioner's inverse.

        The data term has the geometric mean of its largest and its mean eigenvalue. The regularisers have
        $|c \cdot (\nabla^2 R) c|$ with a chessboard c of +1 and -1: exact for functions of single pixels, twice the
        diagonal (Gershgorin's bound) for sums over neighbouring pairs.
        """
        chessboard = jnp.where(sum(jnp.indices(parts.shape[1:])) % 2, -1.0, 1.0).astype(parts.dtype)
        probe = jnp.stack([chessboard, -chessboard][: len(parts)])
        _, product = jax.jvp(jax.grad(self.regularisation), (parts,), (probe,))
        mean_eigenvalue = self.operator.transfer.mean()
        data = jnp.sqrt(self.operator.spectral_norm() * mean_eigenvalue) / self.noise.sigma**2
        return data + jnp.abs(probe * product)
