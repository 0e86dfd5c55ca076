"""Regularisers by name: ours, and the user's own as 'module:function'.

A new one of ours is a function and a line in `REGULARISERS`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.rml.regularisers.entropies import entropy, multiplicity
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel, Regulariser
from casa_ml_tasks.minor.rml.regularisers.shape import compactness, edge_clamp
from casa_ml_tasks.minor.rml.regularisers.smoothness import (
    laplacian,
    log_smoothness,
    power_spectrum,
    total_squared_variation,
    total_squared_variation_of_channels,
    total_variation,
    total_variation_of_channels,
)
from casa_ml_tasks.minor.rml.regularisers.sparsity import l1, points, reweighted_l1, starlet, uv_sparsity

REGULARISERS: dict[str, Regulariser] = {
    "l1": l1,
    "tsv": total_squared_variation,
    "tv": total_variation,
    "entropy": entropy,
    "log_smoothness": log_smoothness,
    "reweighted_l1": reweighted_l1,
    "starlet": starlet,
    "uv_sparsity": uv_sparsity,
    "laplacian": laplacian,
    "power_spectrum": power_spectrum,
    "multiplicity": multiplicity,
    "edge_clamp": edge_clamp,
    "compactness": compactness,
    "tsv_channel": total_squared_variation_of_channels,
    "tv_channel": total_variation_of_channels,
}

#: Those of one component of a sky of several.
COMPONENTS: dict[str, Regulariser] = {"points": points}

KNOWN = REGULARISERS | COMPONENTS

#: Those that take a logarithm of the image, and so have no meaning with positivity=False.
NEED_POSITIVITY = frozenset({"entropy", "log_smoothness", "multiplicity", *COMPONENTS})

#: What stands in for those in images that may be negative; the others are left out.
SIGNED_TWIN = {"log_smoothness": "tsv"}

#: Those that compare channels, and are zero for a lone one.
NEED_CHANNELS = frozenset({"tsv_channel", "tv_channel"})

#: Sums of a function of |I|: taken on the sum of the positive and the negative part, where they are smooth.
OF_THE_MAGNITUDE = frozenset({"l1", "reweighted_l1", "compactness"})

#: Those that grow at least as fast as |I| in every pixel. CASA's PSFs have slightly negative eigenvalues, along which
#: an image of either sign would run away without one of these.
BOUND_THE_MAGNITUDE = frozenset({"l1", "compactness"})

#: A user's gradient and values may disagree by this fraction of what all pixels contribute.
TOLERANCE = 0.01


def resolve(name: str) -> Regulariser:
    """Return the function that a name in `REGULARISERS`, or 'module:function', stands for.

    A module is imported as Python would, from the current directory first.

    Raises:
        ValueError: the name is unknown, the module does not import or has no such function.
    """
    if name in KNOWN:
        return KNOWN[name]
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise ValueError(
            f"regularizer='{name}' is unknown; use any of {', '.join(KNOWN)}, or your own as 'module:function'"
        )
    function = getattr(_imported(name, module_name), function_name, None)
    if not callable(function):
        raise ValueError(
            f"regularizer='{name}': the module '{module_name}' has no function '{function_name}'; correct the name"
        )
    return function


def of_signed_images(strengths: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return the names and strengths of the regularisers that an image which may be negative has in place of these."""
    twins = [(SIGNED_TWIN.get(name, name), strength) for name, strength in strengths]
    return [(name, strength) for name, strength in twins if name not in NEED_POSITIVITY]


def _imported(name: str, module_name: str) -> object:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        raise ValueError(
            f"regularizer='{name}': importing the module '{module_name}' raises {_brief(error)}; give a module of the "
            "current directory or of the Python path that imports"
        ) from error
    finally:
        sys.path.remove(folder)


def check_user_function(
    name: str, shape: tuple[int, ...] = (16, 16), sigma: float = 1e-3, beam_area: float = 20.0
) -> None:
    """Try 'module:function' as the minor cycle will use it: compiled, with two derivatives, from an empty image on.

    Args:
        name: 'module:function'.
        shape: (..., y, x) of the images it is tried on.
        sigma: Jy/beam.
        beam_area: pixels.

    Raises:
        ValueError: it cannot be imported, raises, returns anything but one finite number, or has a gradient that JAX
            cannot take, that is not finite, or whose integral is not the difference of two values.
    """
    function = resolve(name)
    with jax.enable_x64(True):
        noise = NoiseLevel(jnp.asarray(sigma), jnp.asarray(beam_area))
        first, brightening = np.random.default_rng(0).uniform(0, 10 * float(noise.floor), (2, *shape))
        _check_value(name, function, first, noise)
        _check_derivatives(name, function, np.zeros(shape), noise, "an empty image, with which the minor cycle begins")
        _check_derivatives(name, function, first, noise, f"a positive image of shape {shape}")
        _check_gradient(name, function, first, first + brightening, noise)


def _check_value(name: str, function: Regulariser, image: NDArray[np.float64], noise: NoiseLevel) -> None:
    try:
        value = np.asarray(function(jnp.asarray(image), noise))
    except Exception as error:
        raise ValueError(
            f"regularizer='{name}' raises {_brief(error)} for an image of shape {image.shape}; it is called "
            "function(image, noise)"
        ) from error
    if value.shape != () or not np.issubdtype(value.dtype, np.floating):
        raise ValueError(
            f"regularizer='{name}' returns {value.dtype} of shape {value.shape}; return one real number, such as a "
            "jax.numpy.sum"
        )
    if not np.isfinite(value):
        raise ValueError(f"regularizer='{name}' is {value} for a positive image; add a floor such as noise.floor")


def _check_derivatives(
    name: str, function: Regulariser, image: NDArray[np.float64], noise: NoiseLevel, which: str
) -> None:
    """Check the gradient, and the derivative of it that the preconditioner takes."""

    @jax.jit
    def derivatives(image: jax.Array, noise: NoiseLevel) -> tuple[jax.Array, jax.Array]:
        return jax.jvp(jax.grad(lambda each: function(each, noise)), (image,), (jnp.ones_like(image),))

    try:
        gradient, product = derivatives(jnp.asarray(image), noise)
    except Exception as error:
        raise ValueError(
            f"regularizer='{name}' cannot be differentiated by JAX, which raises {_brief(error)}; use functions of "
            "jax.numpy alone, and jax.numpy.where in place of if"
        ) from error
    if not (np.isfinite(gradient).all() and np.isfinite(product).all()):
        raise ValueError(
            f"regularizer='{name}' has a derivative that is not finite for {which}; add a floor such as noise.floor"
        )


def _check_gradient(
    name: str, function: Regulariser, first: NDArray[np.float64], last: NDArray[np.float64], noise: NoiseLevel
) -> None:
    """Check a line integral of the gradient, by Gauss and Legendre, against the difference of values at its ends."""
    gradient, way = jax.jit(jax.grad(function)), last - first
    nodes, weights = np.polynomial.legendre.leggauss(32)
    work = [np.asarray(gradient(jnp.asarray(first + (1 + node) / 2 * way), noise)) * way for node in nodes]
    integral = np.tensordot(weights / 2, work, axes=1)
    before, after = (float(function(jnp.asarray(image), noise)) for image in (first, last))
    if abs(integral.sum() - (after - before)) > TOLERANCE * np.abs(integral).sum() + 1e-9 * abs(before):
        raise ValueError(
            f"regularizer='{name}' is not differentiable: between two images it changes by {after - before:.4g}, its "
            f"gradient says {integral.sum():.4g}; use no rounding, threshold or count"
        )


def _brief(error: Exception) -> str:
    """Return the kind of an error and the first line of what it says."""
    return f"{type(error).__name__} ({str(error).partition(chr(10))[0]})"
