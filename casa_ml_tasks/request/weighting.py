"""How visibilities are weighted: tclean's weighting schemes, and its taper in the uv plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from casatools import quanta
from numpy.typing import ArrayLike, NDArray
from scipy.constants import arcsecond

from casa_ml_tasks.request.grid import CONTINUUM
from casa_ml_tasks.request.values import as_list

#: tclean's weighting schemes that divide by the density of weights.
DENSITY_SCHEMES = ("uniform", "superuniform", "briggs", "briggsabs", "briggsbwtaper")
SCHEMES = ("natural", "radial", *DENSITY_SCHEMES)


@dataclass(frozen=True)
class Taper:
    """A Gaussian in the uv plane that lowers the weights of long baselines."""

    major: float  #: wavelengths: where, along `angle`, the weight is halved
    minor: float  #: wavelengths: where, across it, the weight is halved
    angle: float = 0.0  #: position angle of the major axis, North through East, radian

    @classmethod
    def from_quantities(cls, uvtaper: Sequence[str]) -> Taper | None:
        """tclean's `uvtaper`: [bmaj, bmin, bpa], of which bmin defaults to bmaj and bpa to North.

        Args:
            uvtaper: the full width at half maximum in the image ('1.5arcsec') or the half width in the uv plane
                ('100klambda'), and an angle ('30deg'). Nothing, or '', is no taper.

        Raises:
            ValueError: a size is neither an angle nor a number of wavelengths, or the sizes are a mixture of both.
        """
        if not any(uvtaper):
            return None
        sizes = [_convert(size, ("arcsec", "lambda"), "uvtaper") for size in uvtaper[:2]]
        (major, unit), (minor, other_unit) = sizes[0], sizes[-1]
        if unit != other_unit:
            raise ValueError(f"uvtaper={list(uvtaper)} mixes image and uv sizes; give both as angles or in lambda.")
        if min(major, minor) <= 0:
            raise ValueError(f"uvtaper={list(uvtaper)} has a size that is not positive; give positive sizes.")
        if unit == "arcsec":
            major, minor = _half_width_in_uv(major * arcsecond), _half_width_in_uv(minor * arcsecond)
        angle, _ = _convert(uvtaper[2], ("rad",), "uvtaper") if len(uvtaper) > 2 else (0.0, "rad")
        return cls(major, minor, angle)

    def __call__(self, u: ArrayLike, v: ArrayLike) -> NDArray[np.float64]:
        r"""$2^{-(a/\mathrm{major})^2-(b/\mathrm{minor})^2}$ at u, v in wavelengths; a runs along the major axis."""
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        along = np.multiply(u, sine) + np.multiply(v, cosine)
        across = np.multiply(u, cosine) - np.multiply(v, sine)
        return np.exp2(-((along / self.major) ** 2) - (across / self.minor) ** 2)


@dataclass(frozen=True)
class Weighting:
    """How the visibilities are weighted: tclean's parameters of that name.

    Raises:
        ValueError: the scheme is unknown, or both parameters of 'briggsabs' are 0.
    """

    scheme: str = "natural"
    robust: float = 0.5
    noise: float = 1.0  #: Jy, for 'briggsabs'
    npixels: int = 0
    taper: Taper | None = None
    per_channel: bool = False  #: of a cube: a density for every image channel, counted as tclean does there
    bandwidth: float | None = None  #: of the image over its central frequency; None before its channels are known

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ValueError(f"weighting={self.scheme!r} is not known; choose one of {', '.join(map(repr, SCHEMES))}.")
        if self.npixels < 0:
            raise ValueError(f"npixels={self.npixels} is negative; give 0 or a number of uv cells.")
        if self.scheme == "briggsabs" and not (self.robust or self.noise):
            raise ValueError("weighting='briggsabs' with robust=0 and noise=0 divides by nothing; give either a value.")
        if self.scheme == "briggsbwtaper" and self.bandwidth == 0:
            raise ValueError("weighting='briggsbwtaper' needs a cube of two channels or more; use weighting='briggs'.")

    @classmethod
    def from_parameters(
        cls,
        *,
        weighting: str = "natural",
        robust: float = 0.5,
        noise: Any = 1.0,
        npixels: int = 0,
        uvtaper: Any = "",
        specmode: str = "mfs",
        perchanweightdensity: bool = False,
        **_: Any,
    ) -> Self:
        """Read the parameters of these names.

        Superuniform weights of a cube have one density for all channels, whatever `perchanweightdensity` says.
        """
        return cls(
            scheme=weighting,
            robust=float(robust),
            noise=noise if isinstance(noise, int | float) else _convert(noise, ("Jy",), "noise")[0],
            npixels=int(npixels),
            taper=Taper.from_quantities(as_list(uvtaper)),
            per_channel=bool(
                perchanweightdensity
                and specmode not in CONTINUUM
                and weighting in DENSITY_SCHEMES
                and weighting != "superuniform"
            ),
        )

    def of_channels(self, frequencies: ArrayLike) -> Weighting:
        """Return the weighting of an image with these channels, whose bandwidth 'briggsbwtaper' takes.

        Args:
            frequencies: (channel,), Hz.

        Raises:
            ValueError: 'briggsbwtaper' is asked for, and there are no two channels.
        """
        return replace(self, bandwidth=fractional_bandwidth(frequencies))

    @property
    def is_natural(self) -> bool:
        """Whether visibilities have their own weights, those of their noise."""
        return self.scheme == "natural" and self.taper is None

    @property
    def needs_density(self) -> bool:
        """Whether a first pass must count the weights."""
        return self.scheme in DENSITY_SCHEMES

    @property
    def has_one_density(self) -> bool:
        """Whether the weights need one density of all channels; else none, or that of each channel alone."""
        return self.needs_density and not self.per_channel

    @property
    def box(self) -> int:
        """A visibility counts in all uv cells this near to its own, in either direction."""
        if self.scheme == "superuniform":
            return self.npixels or 3
        return self.npixels if self.per_channel else 0

    def grid_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(ny, nx) of the grid of uv cells for an image of this shape; `npixels` may ask for a smaller one."""
        if self.npixels and not self.box:
            return self.npixels, self.npixels
        return shape


def fractional_bandwidth(frequencies: ArrayLike) -> float:
    """Between the first and the last channel of an image, over their mean; 0 for none. frequencies: (channel,), Hz."""
    ends = np.asarray(frequencies, float)[[0, -1]] if np.size(frequencies) else np.ones(2)
    return float(abs(ends[1] - ends[0]) / ends.mean())


def _half_width_in_uv(full_width: float) -> float:
    """Wavelengths where the transform of a Gaussian, `full_width` radian wide at half maximum, has halved."""
    return 2 * np.log(2) / (np.pi * full_width)


def _convert(quantity: str, units: Sequence[str], parameter: str) -> tuple[float, str]:
    """The quantity in the first of the units that fits, and that unit."""
    tool = quanta()
    try:
        for unit in units:
            if tool.isquantity(quantity) and tool.compare(quantity, f"1{unit}"):
                return float(tool.convert(quantity, unit)["value"]), unit
    finally:
        tool.done()
    raise ValueError(f"{parameter}={quantity!r} is no quantity in {' or '.join(units)}; write it as '1{units[0]}'.")
