"""What the figures of data sets that are imaged together need, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.flux_scale import FluxScales
from casa_ml_tasks.calibration.uv_bins import UvBins

Array = NDArray[np.floating]

#: Colours that colour-blind readers tell apart (Okabe and Ito 2008), and markers beside them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


@dataclass(frozen=True)
class Pointings:
    """The pointings of a data set.

    Attributes:
        name: of the set.
        east, north: (pointing,), from the image's reference pixel, arcsec.
        half_power: radius at which the primary beam is at half of its peak, (pointing,), arcsec.
    """

    name: str
    east: Array
    north: Array
    half_power: Array


@dataclass(frozen=True)
class Outline:
    """The edge of a single-dish map.

    Attributes:
        name: of the map.
        east, north: of the corners in order, (corner,), from the image's reference pixel, arcsec.
        beam: full width at half maximum, arcsec.
    """

    name: str
    east: Array
    north: Array
    beam: float


@dataclass(frozen=True)
class SetResidual:
    """The dirty image of what the model leaves of a data set.

    Attributes:
        name: of the set.
        residual: (ny, nx), Jy/beam; NaN where the set sees nothing.
        noise: expected of it, a number or (ny, nx), Jy/beam.
        cell: size of a pixel, arcsec.
    """

    name: str
    residual: Array
    noise: Array | float
    cell: float

    @property
    def over_noise(self) -> Array:
        """The residual in units of its noise, (ny, nx)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.residual / self.noise
        return np.where(np.isfinite(found), found, np.nan)

    @property
    def rms(self) -> float:
        """Root mean square of the residual over its noise: 1 where only noise is left; NaN without a pixel."""
        values = self.over_noise[np.isfinite(self.over_noise)]
        return float(np.sqrt(np.mean(values**2))) if values.size else float("nan")


@dataclass(frozen=True)
class JointContent:
    """Data sets that are imaged together.

    Attributes:
        sets: visibilities and modes beside those of the model, in bins of uv distance.
        shared: range of uv distance in which their fluxes are compared, wavelengths; None where there is none.
        scales: of their fluxes.
        residuals: of each of them.
        pointings: of the Measurement Sets.
        outlines: of the maps.
        model: the sky, (ny, nx), Jy/pixel.
        sensitivity: (ny, nx), of the visibilities, 1 at its largest.
        cell: size of a pixel of the sky, arcsec.
        corrected: whether the data shown were divided by the factors.
    """

    sets: Sequence[UvBins]
    shared: tuple[float, float] | None
    scales: FluxScales
    residuals: Sequence[SetResidual]
    pointings: Sequence[Pointings]
    outlines: Sequence[Outline]
    model: Array
    sensitivity: Array
    cell: float
    corrected: bool = False

    def style(self, name: str) -> tuple[str, str]:
        """Return the colour and the marker of a data set."""
        number = [each.name for each in self.sets].index(name)
        return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def short_name(name: str) -> str:
    """Return the name of a Measurement Set or a map without its directories."""
    return name.rstrip("/").rsplit("/", 1)[-1]
