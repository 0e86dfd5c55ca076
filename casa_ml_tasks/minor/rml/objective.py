"""What the regularised maximum likelihood image minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import circulant_eigenvalues
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.minor.rml.regularisers.registry import OF_THE_MAGNITUDE, resolve

#: Of the largest eigenvalue of the normal operator, in its approximate inverse: measured on the skies of
#: `benchmarks/minor_cycle.py`, where 0.003 to 0.1 all save iterations.
DAMPING = 0.01


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Objective:
    r"""$L(I) + \sum_i \lambda_i R_i(I)$, dimensionless: a quadratic likelihood L and regularisers R.

    The unknown is not the image but its non-negative parts: the image itself where it must be positive, else
    $I = P - N$, so that every bound is a bound at zero and $|I| = P + N$ is smooth. With the regulariser 'points' the
    last part is a component of point sources, which the other regularisers do not see; the rest is extended emission.

    Attributes:
        likelihood: L, of the image.
        beam_area: solid angle of the CLEAN beam, pixels. One number, or (channel, 1, 1).
        strengths: (number of regularisers,), dimensionless.
        regularisers: their names, as `registry.resolve` takes them.
        prior: the image that the entropy prefers to all others, Jy/pixel. One number, or shaped like the image.
        expected: an image that others are judged by, as `NoiseLevel` has it.
    """

    likelihood: QuadraticLikelihood
    beam_area: jax.Array | float
    strengths: jax.Array
    regularisers: tuple[str, ...] = field(metadata={"static": True})
    prior: jax.Array | float = 0.0
    expected: jax.Array | None = None

    @property
    def noise(self) -> NoiseLevel:
        """The noise and the beam against which the regularisers judge the image."""
        return NoiseLevel(self.likelihood.sigma, self.beam_area, self.prior, self.expected)

    def components(self, parts: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the parts of extended emission, and that of point sources: 1 or none. parts: (1 to 3, ..., ny, nx)."""
        extended = len(parts) - ("points" in self.regularisers)
        return parts[:extended], parts[extended:]

    def image(self, parts: jax.Array) -> jax.Array:
        """Return the image of non-negative parts, (1 to 3, ..., ny, nx) to (..., ny, nx), Jy/pixel."""
        extended, points = self.components(parts)
        return signed(extended) + points.sum(axis=0) if len(points) else signed(extended)

    def projected(self, parts: jax.Array) -> jax.Array:
        """Return the parts without what is negative, and without what a positive and a negative part have in common.

        The image is their difference, and what they share only adds to its magnitude: left alone, it grows until
        rounding hides the image.
        """
        extended, points = self.components(jnp.maximum(parts, 0))
        if len(extended) == 2:
            extended = extended - jnp.min(extended, axis=0)
        return jnp.concatenate([extended, points])

    def regularisation(self, parts: jax.Array) -> jax.Array:
        r"""Return $\sum_i \lambda_i R_i$, a scalar, in double precision where JAX allows it."""
        extended, points = self.components(parts.astype(float))
        magnitude, image = extended.sum(axis=0), signed(extended)

        def seen(name: str) -> jax.Array:
            if name == "points":
                return points[0]
            return magnitude if name in OF_THE_MAGNITUDE else image

        terms = [
            strength * resolve(name)(seen(name), self.noise)
            for name, strength in zip(self.regularisers, self.strengths, strict=True)
        ]
        return sum(terms, jnp.zeros(()))

    def value_and_gradient(self, parts: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the objective, a scalar, and its gradient, shaped like the parts, (1 to 3, ..., ny, nx)."""
        image, pull_back = jax.vjp(self.image, parts)
        misfit, slope = self.likelihood.value_and_gradient(image)
        (misfit_gradient,) = pull_back(slope.astype(parts.dtype))
        regularisation, gradient = jax.value_and_grad(self.regularisation)(parts)
        return misfit + regularisation, misfit_gradient + gradient

    def curvature(self, parts: jax.Array) -> jax.Array:
        r"""Return a positive estimate of the diagonal of the Hessian of the regularisers, shaped like the parts.

        $|c \cdot (\nabla^2 R) c|$ with a chessboard c of +1 and -1: exact for functions of single pixels, twice the
        diagonal (Gershgorin's bound) for sums over neighbouring pairs.
        """
        chessboard = jnp.where(sum(jnp.indices(parts.shape[1:])) % 2, -1.0, 1.0).astype(parts.dtype)
        probe = jnp.stack([chessboard, -chessboard, chessboard][: len(parts)])
        _, product = jax.jvp(jax.grad(self.regularisation), (parts,), (probe,))
        return jnp.abs(probe * product)

    def preconditioner(self, parts: jax.Array) -> Callable[[jax.Array], jax.Array]:
        r"""Return an approximate inverse of the Hessian.

        It is $\sigma^2 D (C + \delta\,c_{max})^{-1} D$ with $D = (1 + r / h)^{-1/2}$.

        C is the circulant of `circulant_eigenvalues`, h the mean of its damped eigenvalues over $\sigma^2$, and r the
        curvature of the regularisers: where they rule, D divides by it; where the data rule, D is 1.
        """
        eigenvalues = circulant_eigenvalues(self.likelihood.operator.transfer)
        eigenvalues += DAMPING * eigenvalues.max(axis=(-2, -1), keepdims=True)
        variance = self.likelihood.sigma**2
        data = eigenvalues.mean(axis=(-2, -1), keepdims=True) / variance
        scale = jax.lax.optimization_barrier((1 / jnp.sqrt(1 + self.curvature(parts) / data)).astype(parts.dtype))

        def precondition(gradient: jax.Array) -> jax.Array:
            spectrum = jnp.fft.rfft2((scale * gradient).astype(parts.dtype)) / eigenvalues
            return (variance * scale * jnp.fft.irfft2(spectrum, s=gradient.shape[-2:])).astype(parts.dtype)

        return precondition


def signed(parts: jax.Array) -> jax.Array:
    """Return the difference of a positive and a negative part, or the positive one alone; (1 or 2, ...) to (...)."""
    return parts[0] if len(parts) == 1 else parts[0] - parts[1]


def parts_of(
    image: NDArray[np.floating], positivity: bool, point_image: NDArray[np.floating] | None = None
) -> jax.Array:
    """Return an image in the parts that `Objective` has for it, (1 to 3, ..., ny, nx).

    Args:
        image: (..., ny, nx), Jy/pixel.
        positivity: there is no negative part.
        point_image: what of the image is point sources; None where they are no component.
    """
    extended = image if point_image is None else image - point_image
    parts = [jnp.maximum(sign * jnp.asarray(extended, jnp.float32), 0) for sign in (1, -1)[: 1 if positivity else 2]]
    return jnp.stack(parts if point_image is None else [*parts, jnp.asarray(point_image, jnp.float32)])
