r"""How an image changes with the flux scale of one of the data sets that it was fitted to.

The image I minimises the sum of the misfits of all sets and of regularisers, with Hessian C. Where the data of set t
are brighter by a small share e, the gradient changes by $-e\, b_t$ with $b_t = F_t^H W_t F_t I$, and the image becomes
$I + e\, C^{-1} b_t$ in the pixels that are on no bound. Conjugate gradients solve for $C^{-1} b_t / s$, with a scale s
that makes the pixels alike.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

MOST_ITERATIONS = 200
TOLERANCE = 1e-3  # of the residual of the equation: factors of flux need no more


def change_of_image(
    gradient: Callable[[jax.Array], jax.Array],
    image: jax.Array,
    data_term: jax.Array,
    free: jax.Array,
    scale: jax.Array | float = 1.0,
) -> jax.Array:
    """Return the derivative of the image by the relative flux scale of a data set, shaped like the image, Jy/pixel.

    Args:
        gradient: of what the image minimises, by the image, pixel/Jy.
        image: at the minimum, Jy/pixel.
        data_term: b, the dirty image of the set's model visibilities over the variance of its noise, pixel/Jy.
        free: which pixels are on no bound, boolean.
        scale: by how much pixels are expected to change; positive.
    """
    step = jnp.where(free, scale, 0.0)

    def curvature(direction: jax.Array) -> jax.Array:
        return step * jax.jvp(gradient, (image,), (step * direction,))[1]

    found, _ = jax.scipy.sparse.linalg.cg(curvature, step * data_term, tol=TOLERANCE, maxiter=MOST_ITERATIONS)
    return step * found
