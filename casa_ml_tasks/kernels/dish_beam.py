"""The beam of a single dish, of peak 1, and its Fourier transform; lengths are in pixels of the sky's image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FAINTEST = 1e-4
"""Parts of a beam, or of its transform, below this share of the peak are left out."""


class DishBeam(Protocol):
    """The response to a point source of 1 Jy, Jy/beam, around the source."""

    @property
    def radius(self) -> float:
        """Beyond which the beam is below `FAINTEST`, pixels."""
        ...

    def transform(self, v: NDArray[np.floating], u: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        r"""Return $\sum_{yx} B(y, x) \exp(-2\pi i (v y + u x))$, (v, u), its value at 0 the beam's area, pixels.

        Args:
            v, u: spatial frequencies along y and x, cycles/pixel.
        """
        ...


@dataclass(frozen=True)
class GaussianBeam:
    """An elliptical Gaussian.

    Attributes:
        major, minor: full widths at half maximum, pixels.
        angle: of the major axis from North (y) towards East (-x), radians.
    """

    major: float
    minor: float
    angle: float = 0.0

    @property
    def radius(self) -> float:
        """Beyond which the beam is below `FAINTEST`, pixels."""
        return self.major * np.sqrt(np.log2(1 / FAINTEST)) / 2

    def transform(self, v: NDArray[np.floating], u: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """Return the Fourier transform, a Gaussian, (v, u); frequencies in cycles/pixel."""
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        along = cosine * v[:, None] - sine * u
        across = sine * v[:, None] + cosine * u
        exponent = (np.pi**2 / (4 * np.log(2))) * ((self.major * along) ** 2 + (self.minor * across) ** 2)
        return np.pi / (4 * np.log(2)) * self.major * self.minor * np.exp(-exponent) + 0j


@dataclass(frozen=True, eq=False)
class SampledBeam:
    """An image of the beam, the same as another if it is the same object.

    Attributes:
        pixels: (ny, nx), 1 at the peak.
        centre: pixel y, x of the image of the beam that looks at the source.
        step: height and width of its pixels, pixels of the sky's image; negative where it runs the other way.
    """

    pixels: NDArray[np.floating]
    centre: tuple[float, float]
    step: tuple[float, float]

    @property
    def radius(self) -> float:
        """Beyond which the beam is below `FAINTEST`, pixels."""
        y, x = np.nonzero(np.abs(self.pixels) > FAINTEST * np.abs(self.pixels).max())
        return float(np.hypot((y - self.centre[0]) * self.step[0], (x - self.centre[1]) * self.step[1]).max())

    def transform(self, v: NDArray[np.floating], u: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """Return the Fourier transform of the beam, band-limited to what its pixels sample, (v, u)."""
        phases = []
        for frequency, centre, step, count in zip((v, u), self.centre, self.step, self.pixels.shape, strict=True):
            sampled = np.abs(frequency) < 0.5 / abs(step)
            positions = (np.arange(count) - centre) * step
            phases.append(sampled[:, None] * np.exp(-2j * np.pi * np.multiply.outer(frequency, positions)))
        return abs(self.step[0] * self.step[1]) * (phases[0] @ self.pixels @ phases[1].T)
