r"""What a sky is put together from: shapes with their visibilities.

A parameter is a number (fixed) or a numpyro distribution (free, with this prior). Angles on the sky are in arcsec, East
and North of the phase centre, orientations in degrees, position angles from North through East.
`V(u, v) = sum I exp(+2 pi i (u l + v m))` with u, v in wavelengths, l East, m North: CASA's sign.

An ellipse has the visibilities of the circle at stretched baselines: with u along its major axis and its axis ratio e,
$V(u, v) = V_{circle}(\sqrt{u^2 + (e v)^2})$. All shapes are written in q^2, where they are smooth at q = 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray
from scipy.constants import arcsecond, degree

from casa_ml_tasks.parametric import hankel
from casa_ml_tasks.parametric.functions import cosine_and_sine, j0, jinc

Parameter = Any  # a number, or a numpyro distribution until `at` has set it
Baselines = NDArray[np.float64]
SETTING = {"setting": True}  # metadata of fields that are no parameters
SHORTEST = 1e-3  # cycles/arcsec


@dataclass(frozen=True, kw_only=True)
class Component(ABC):
    """A part of the sky.

    Attributes:
        east, north: of its centre from the phase centre, arcsec.
    """

    east: Parameter = 0.0
    north: Parameter = 0.0

    def parameters_by_name(self) -> dict[str, Any]:
        """All parameters, fixed and free."""
        return {each.name: getattr(self, each.name) for each in fields(self) if "setting" not in each.metadata}

    def at(self, values: Mapping[str, Parameter]) -> Self:
        """A copy with some parameters set."""
        return replace(self, **values)

    def visibility(self, u: Baselines, v: Baselines) -> Array:
        """(visibility,), complex, Jy, when all parameters are numbers; u, v: (visibility,), wavelengths."""
        phase = 2 * np.pi * arcsecond * (u * self.east + v * self.north)
        return self.centred(u, v) * jax.lax.complex(*cosine_and_sine(phase))

    @abstractmethod
    def centred(self, u: Baselines, v: Baselines) -> Array:
        """The visibilities, Jy, were it at the phase centre."""


@dataclass(frozen=True, kw_only=True)
class Point(Component):
    """A point source; flux in Jy."""

    flux: Parameter

    def centred(self, u: Baselines, v: Baselines) -> Array:
        """The same on all baselines."""
        return self.flux * jnp.ones_like(u)


@dataclass(frozen=True, kw_only=True)
class Elliptical(Component):
    """What is circular but for a stretch.

    Attributes:
        position_angle: of the major axis, degrees from North through East.
    """

    position_angle: Parameter = 0.0

    def centred(self, u: Baselines, v: Baselines) -> Array:
        """The visibilities of the circle at stretched baselines."""
        sine, cosine = jnp.sin(self.position_angle * degree), jnp.cos(self.position_angle * degree)
        along, across = u * sine + v * cosine, u * cosine - v * sine
        squared_frequency = (along**2 + (self.stretch() * across) ** 2) * arcsecond**2
        return self.radial(squared_frequency, float(np.hypot(u, v).max(initial=0)) * arcsecond)

    @abstractmethod
    def stretch(self) -> Array:
        """Minor over major axis."""

    @abstractmethod
    def radial(self, squared_frequency: Array, longest: float) -> Array:
        """Visibilities, Jy, of the circle at q^2, (cycles/arcsec)^2; no q is larger than `longest`."""


@dataclass(frozen=True, kw_only=True)
class Gaussian(Elliptical):
    r"""An elliptical Gaussian, $V = S \exp(-\pi^2 \theta^2 q^2 / (4 \ln 2))$.

    Attributes:
        flux: S, Jy.
        fwhm: theta, full width at half maximum along the major axis, arcsec.
        axis_ratio: minor over major axis.
    """

    flux: Parameter
    fwhm: Parameter
    axis_ratio: Parameter = 1.0

    def stretch(self) -> Array:
        """The axis ratio."""
        return jnp.asarray(self.axis_ratio)

    def radial(self, squared_frequency: Array, longest: float) -> Array:
        """A Gaussian again."""
        return self.flux * _gaussian(self.fwhm, squared_frequency)


@dataclass(frozen=True, kw_only=True)
class Inclined(Elliptical):
    """What is circular when seen face-on.

    Attributes:
        inclination: degrees, 0 face-on.
    """

    inclination: Parameter = 0.0

    def stretch(self) -> Array:
        """The cosine of the inclination."""
        return jnp.abs(jnp.cos(self.inclination * degree))


@dataclass(frozen=True, kw_only=True)
class Disk(Inclined):
    r"""A disk of uniform brightness, $V = S\, 2 J_1(x) / x$ with $x = 2 \pi q R$.

    Attributes:
        flux: S, Jy.
        radius: R, arcsec.
    """

    flux: Parameter
    radius: Parameter

    def radial(self, squared_frequency: Array, longest: float) -> Array:
        """Airy's pattern."""
        return self.flux * jinc((2 * np.pi * self.radius) ** 2 * squared_frequency)


@dataclass(frozen=True, kw_only=True)
class Ring(Inclined):
    r"""A ring, thin or with a Gaussian across it, $V = S J_0(2 \pi q R) \exp(-\pi^2 \theta^2 q^2 / (4 \ln 2))$.

    This is the thin ring convolved with a Gaussian in its own plane, not a Gaussian radial profile; the two agree where
    the width is small against the radius.

    Attributes:
        flux: S, Jy.
        radius: R, arcsec.
        width: theta, full width at half maximum, arcsec.
    """

    flux: Parameter
    radius: Parameter
    width: Parameter = 0.0

    def radial(self, squared_frequency: Array, longest: float) -> Array:
        """A Bessel function under a Gaussian."""
        return (
            self.flux
            * j0((2 * np.pi * self.radius) ** 2 * squared_frequency)
            * _gaussian(self.width, squared_frequency)
        )


@dataclass(frozen=True, kw_only=True)
class _WithParameters(Component):
    """What has the user's own parameters beside its fields."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict, metadata=SETTING)

    def __post_init__(self) -> None:
        if taken := sorted(self.parameters.keys() & {each.name for each in fields(self)}):
            raise ValueError(
                f"parameters holds '{taken[0]}', which {type(self).__name__} has already; give it another name"
            )

    def parameters_by_name(self) -> dict[str, Any]:
        return super().parameters_by_name() | dict(self.parameters)

    def at(self, values: Mapping[str, Parameter]) -> Self:
        own = {name: value for name, value in values.items() if name in self.parameters}
        others = {name: value for name, value in values.items() if name not in own}
        return replace(self, parameters={**self.parameters, **own}, **others)


@dataclass(frozen=True, kw_only=True)
class RadialProfile(_WithParameters, Inclined):
    """The user's function of the radius, Hankel-transformed numerically.

    Attributes:
        profile: (radius, parameters) to the brightness as observed, Jy/arcsec^2, in JAX; radius: (node,), arcsec,
            measured along the major axis.
        parameters: numbers and priors by name.
        outer: arcsec; the brightness is 0 beyond.
        points: quadrature nodes for the profile; at least 5 `outer` over its finest structure.
    """

    profile: Callable[[Array, Mapping[str, Parameter]], Array] = field(metadata=SETTING)
    outer: float = field(metadata=SETTING)
    points: int = field(default=100, metadata=SETTING)

    def radial(self, squared_frequency: Array, longest: float) -> Array:
        """The Hankel transform; an inclined disk covers less of the sky."""

        def brightness(radius: Array) -> Array:
            return self.profile(radius, self.parameters)

        longest = max(longest, SHORTEST)
        return self.stretch() * hankel.transform(brightness, self.outer, self.points, longest, squared_frequency)


@dataclass(frozen=True, kw_only=True)
class VisibilityFunction(_WithParameters):
    """The user's function of the baseline.

    Attributes:
        function: (u, v, parameters) to complex visibilities, Jy, in JAX; u, v: (visibility,), wavelengths.
        parameters: numbers and priors by name.
    """

    function: Callable[[Baselines, Baselines, Mapping[str, Parameter]], Array] = field(metadata=SETTING)

    def centred(self, u: Baselines, v: Baselines) -> Array:
        """What the function gives."""
        return self.function(u, v, self.parameters)


def _gaussian(fwhm: Parameter, squared_frequency: Array) -> Array:
    return jnp.exp(-((np.pi * fwhm) ** 2) / (4 * np.log(2)) * squared_frequency)
