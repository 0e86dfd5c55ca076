"""A sky of several components: their names, their free parameters, their visibilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, NDArray
from numpyro.distributions import Distribution

from casa_ml_tasks.parametric.components import Baselines, Component, Parameter, RadialProfile

TRIALS = 16  # draws from the prior for which a model must be finite
Components = Component | Sequence[Component] | Mapping[str, Component]


def predict(components: Components, u: ArrayLike, v: ArrayLike, **values: float) -> NDArray[np.complex128]:
    """The visibilities of a sky, for instance to simulate an observation.

    Args:
        components: one, several, or several by name; numbers throughout but for those in `values`.
        u, v: (visibility,), wavelengths.
        values: of free parameters, by names such as "ring.radius": `predict(ring, u, v, **{"ring.radius": 1})`.

    Returns:
        (visibility,), Jy.

    Raises:
        ValueError: a parameter is bad, or free without a value.
    """
    sky = named(components)
    if missing := [name for name in free_parameters(sky) if name not in values]:
        raise ValueError(f"the free parameter '{missing[0]}' has no value; give one in values")
    with jax.enable_x64(True):
        return np.asarray(visibilities(sky, values, np.atleast_1d(u).astype(float), np.atleast_1d(v).astype(float)))


def named(components: Components) -> dict[str, Component]:
    """Components by name: the user's names, else "ring", or "ring_1" and "ring_2" where there are two.

    Raises:
        ValueError: there is none, or one is no component.
    """
    if isinstance(components, Mapping):
        sky = dict(components)
    else:
        listed = [components] if isinstance(components, Component) else list(components)
        kinds = [type(each).__name__.lower() for each in listed]
        together, seen = Counter(kinds), Counter[str]()
        sky = {}
        for kind, component in zip(kinds, listed, strict=True):
            seen[kind] += 1
            sky[kind if together[kind] == 1 else f"{kind}_{seen[kind]}"] = component
    if not sky:
        raise ValueError("components is empty; give at least one, for example Gaussian(flux=..., fwhm=...)")
    for name, component in sky.items():
        if not isinstance(component, Component):
            raise ValueError(f"components holds {component!r} as '{name}', which is none; give for example a Gaussian")
        _check_component(name, component)
    return sky


def free_parameters(sky: Mapping[str, Component]) -> dict[str, Distribution]:
    """The priors of all free parameters, by names such as "ring.radius"."""
    return {
        f"{name}.{parameter}": prior
        for name, component in sky.items()
        for parameter, prior in component.parameters_by_name().items()
        if isinstance(prior, Distribution)
    }


def visibilities(sky: Mapping[str, Component], values: Mapping[str, Parameter], u: Baselines, v: Baselines) -> Array:
    """(visibility,), complex, Jy; values: of the free parameters, by name."""
    return sum((_at(sky[name], name, values).visibility(u, v) for name in sky), jnp.zeros(u.shape, complex))


def check_finite(
    sky: Mapping[str, Component], trials: Sequence[Mapping[str, Parameter]], u: Baselines, v: Baselines
) -> None:
    """Raise ValueError where a component gives other than finite visibilities at one of the trial values."""
    for values in trials:
        for name, component in sky.items():
            tried = _at(component, name, values)
            if (shape := np.shape(tried.centred(u, v))) not in ((), u.shape):
                raise ValueError(f"component '{name}' gives the shape {shape} for u of the shape {u.shape}; mend it")
            model = np.asarray(tried.visibility(u, v))
            if bad := np.count_nonzero(~np.isfinite(model)):
                where = ", ".join(f"{key}={float(value):.4g}" for key, value in values.items())
                raise ValueError(
                    f"component '{name}' gives {bad} NaN or infinite visibilities at {where}; "
                    "mend its function or narrow the prior"
                )


def check_parameter(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number or the prior of one."""
    if isinstance(value, Distribution):
        if value.batch_shape or value.event_shape or value.support.is_discrete:
            raise ValueError(f"{name}={value!r} is not the prior of one real number; give one such as Uniform(0, 1)")
    elif isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name}={value!r} is neither a finite number nor a numpyro distribution; give one of them")


def _at(component: Component, name: str, values: Mapping[str, Parameter]) -> Component:
    own = component.parameters_by_name()
    return component.at({each: values[f"{name}.{each}"] for each in own if f"{name}.{each}" in values})


def _check_component(name: str, component: Component) -> None:
    for parameter, value in component.parameters_by_name().items():
        check_parameter(f"{name}.{parameter}", value)
    if isinstance(component, RadialProfile) and not (0 < component.outer < np.inf and component.points >= 1):
        raise ValueError(
            f"{name}.outer={component.outer}, points={component.points}: give a radius in arcsec and at least one point"
        )
