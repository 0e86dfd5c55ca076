"""Voltage patterns of antennas: what the A-terms and the primary beams of mosaics are made of.

A pattern is a pure function of the distance from the pointing centre and of the frequency. Distances are in direction
cosines (radians in the small-angle limit), as CASA measures them in its SIN images.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.constants import degree, giga, speed_of_light
from scipy.special import j1


@runtime_checkable
class VoltagePattern(Protocol):
    """A circular antenna response; implementations are frozen dataclasses, so that their `repr` identifies them."""

    def voltage(self, angle: ArrayLike, frequency: float) -> NDArray[np.float64]:
        """Return the response to an electric field, 1 on the axis, real; what A-terms are made of.

        Args:
            angle: distance from the pointing centre, radians.
            frequency: Hz.
        """
        ...

    def power(self, angle: ArrayLike, frequency: float) -> NDArray[np.float64]:
        """Return the primary beam as CASA's `.pb` images have it: `voltage` squared, as far as the model reaches."""
        ...


@dataclass(frozen=True)
class AiryBeam:
    r"""A uniformly lit circular aperture as in CASA's PBMath1DAiry.

    $v(\theta) = \frac{R^2 a(x) - a(R x)}{R^2 - 1}$ with $a(x) = 2 J_1(x) / x$, $x = \pi D \theta \nu / c$ and
    $R = D / d$.

    A blocked aperture would have $a(x / R)$ as its second term. CASA has $a(R x)$, and its `.pb` images follow this
    formula, so this is what corrects them consistently. It puts a spike of 2 / R^2 (1 to 3 % in power) and a tenth of
    the beam's width on the axis, for which convolution functions with a tolerance of 1e-3 need 148 taps instead of 28
    (12 m, 230 GHz, image of 150 arcsec). `blockage=0` leaves it out; the power off the axis is then 1 to 3 % lower.
    """

    diameter: float
    """D, effective, metres."""
    blockage: float = 0.0
    """d, metres."""
    cutoff: float = np.inf
    """Radius times frequency, radian Hz, beyond which CASA's primary beams are 0. The voltage goes on: a jump would
    give the convolution functions endless sidelobes."""

    def voltage(self, angle: ArrayLike, frequency: float) -> NDArray[np.float64]:
        """Return the response to an electric field; see `VoltagePattern.voltage`."""
        angle = np.abs(np.asarray(angle, np.float64))
        x = np.pi * self.diameter * frequency / speed_of_light * angle
        pattern = _airy(x)
        if self.blockage:
            ratio = self.diameter / self.blockage
            pattern = (ratio**2 * pattern - _airy(ratio * x)) / (ratio**2 - 1)
        return pattern

    def power(self, angle: ArrayLike, frequency: float) -> NDArray[np.float64]:
        """Return the primary beam; see `VoltagePattern.power`."""
        reached = np.abs(angle) * frequency <= self.cutoff
        return np.where(reached, self.voltage(angle, frequency) ** 2, 0.0)


ALMA_12M = AiryBeam(diameter=10.7, blockage=0.75, cutoff=1.784 * degree * giga)
ALMA_7M = AiryBeam(diameter=6.25, blockage=0.75, cutoff=3.568 * degree * giga)
VLA = AiryBeam(diameter=25.0, blockage=2.36, cutoff=0.8564 * degree * giga)

ANTENNA_BEAMS: dict[tuple[str, int], VoltagePattern] = {
    ("ALMA", 12): ALMA_12M,
    ("ALMA", 7): ALMA_7M,
    ("ACA", 12): ALMA_12M,
    ("ACA", 7): ALMA_7M,
    ("VLA", 25): VLA,
}
"""Telescope name and dish diameter in metres of a Measurement Set to the beam with which CASA images it."""


def antenna_beam(telescope: str, dish_diameter: float) -> VoltagePattern:
    """Return the beam of an antenna.

    Args:
        telescope: OBSERVATION/TELESCOPE_NAME.
        dish_diameter: ANTENNA/DISH_DIAMETER, metres; rounded to whole metres.

    Raises:
        ValueError: no model for this antenna.
    """
    try:
        return ANTENNA_BEAMS[telescope.upper(), round(dish_diameter)]
    except (KeyError, ValueError, OverflowError):
        known = ", ".join(f"{name} {diameter} m" for name, diameter in ANTENNA_BEAMS)
        raise ValueError(
            f"telescope={telescope!r} with dish_diameter={dish_diameter} m has no beam model (there are {known})"
        ) from None


def _airy(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 2 J1(x) / x, 1 at x = 0."""
    return np.divide(2 * j1(x), x, out=np.ones_like(x), where=x > 0)
