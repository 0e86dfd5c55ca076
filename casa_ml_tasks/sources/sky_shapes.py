"""Gaussians of an image on the sky: directions, axes in arcsec, position angles from North through East."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from casa_ml_tasks.data.image_axes import ImageAxes
from casa_ml_tasks.sources.gaussians import Gaussians

#: As astropy knows the frames, to write names of sources.
ASTROPY = {"J2000": "fk5", "ICRS": "icrs", "B1950": "fk4", "GALACTIC": "galactic"}


@dataclass(frozen=True)
class SkyShapes:
    """Gaussians on the sky, (source,) each.

    Attributes:
        longitude, latitude: of the centres, degrees, in the frame of the image.
        longitude_error, latitude_error: 1 sigma along the sky, arcsec.
        major, minor: full widths at half maximum, arcsec.
        major_error, minor_error: 1 sigma, arcsec.
        angle: of the major axis from North through East, degrees, from 0 to 180.
        angle_error: 1 sigma, degrees.
    """

    longitude: NDArray[np.float64]
    latitude: NDArray[np.float64]
    longitude_error: NDArray[np.float64]
    latitude_error: NDArray[np.float64]
    major: NDArray[np.float64]
    minor: NDArray[np.float64]
    major_error: NDArray[np.float64]
    minor_error: NDArray[np.float64]
    angle: NDArray[np.float64]
    angle_error: NDArray[np.float64]


def on_sky(shapes: Gaussians, errors: Gaussians, axes: ImageAxes) -> SkyShapes:
    """Return Gaussians of an image on the sky, with the scale and the orientation that the image has at each.

    Args:
        shapes: in pixels, with angles from the x axis towards the y axis.
        errors: 1 sigma of each number.
        axes: of the image.
    """
    longitude, latitude = axes.directions(shapes.x, shapes.y)
    jacobian = axes.jacobians(shapes.x, shapes.y)
    along = np.stack([np.cos(shapes.angle), np.sin(shapes.angle)], -1)
    across = np.stack([-along[:, 1], along[:, 0]], -1)
    long_axis, short_axis = (np.einsum("sij,sj->si", jacobian, each) for each in (along, across))
    scale, other = np.linalg.norm(long_axis, axis=-1), np.linalg.norm(short_axis, axis=-1)
    spread = np.sqrt(np.einsum("sij,sj->si", jacobian**2, np.stack([errors.x, errors.y], -1) ** 2))
    return SkyShapes(
        longitude,
        latitude,
        longitude_error=spread[:, 0],
        latitude_error=spread[:, 1],
        major=scale * shapes.major,
        minor=other * shapes.minor,
        major_error=scale * errors.major,
        minor_error=other * errors.minor,
        angle=np.degrees(np.arctan2(long_axis[:, 0], long_axis[:, 1])) % 180,
        angle_error=np.degrees(errors.angle),
    )


def names_of(sky: SkyShapes, frame: str) -> list[str]:
    """Return names such as J162401.31-235956.2 of the directions, or G359.9442-00.0462."""
    if frame not in ASTROPY:
        return [f"{x:.5f}{y:+.5f}" for x, y in zip(sky.longitude, sky.latitude, strict=True)]
    places = SkyCoord(sky.longitude, sky.latitude, unit="deg", frame=ASTROPY[frame])
    if frame == "GALACTIC":
        return [f"G{each.l.deg:08.4f}{each.b.deg:+08.4f}" for each in places]
    letter = "B" if frame == "B1950" else "J"
    return [
        letter
        + each.ra.to_string("hourangle", sep="", precision=2, pad=True)
        + each.dec.to_string("deg", sep="", precision=1, pad=True, alwayssign=True)
        for each in places
    ]
