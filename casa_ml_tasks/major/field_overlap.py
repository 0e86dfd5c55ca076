"""Outlier fields must not overlap each other or the main field."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from astropy.coordinates import SkyCoord

from casa_ml_tasks.data.casa_image import read_cell, read_direction
from casa_ml_tasks.major.casa_field import CasaField

#: CASA's names of frames in astropy's; others are close to FK5.
ASTROPY_FRAMES = {"ICRS": "icrs", "B1950": "fk4", "GALACTIC": "galactic"}


def refuse_overlaps(fields: Sequence[CasaField]) -> None:
    """Raise ValueError where fields overlap.

    Flux on common pixels would be that of both, and minor cycles that know nothing of each other add it twice.
    """
    for one, other in combinations(fields, 2):
        offset = _centre(one).spherical_offsets_to(_centre(other))
        east, north = (float(abs(angle.to_value("arcsec"))) for angle in offset)
        height, width = ((a + b) / 2 for a, b in zip(_extent(one), _extent(other), strict=True))
        if east < width and north < height:
            name, other_name = one.final_name, other.final_name
            raise ValueError(
                f"the field '{other_name}' overlaps '{name}': its centre is {east:.4g} and {north:.4g} arcsec away, "
                f"not {width:.4g} or {height:.4g}; move it in the outlierfile or make a field smaller"
            )


def _centre(field: CasaField) -> SkyCoord:
    (right_ascension, declination), frame = read_direction(field.product("psf"))
    return SkyCoord(right_ascension, declination, unit="rad", frame=ASTROPY_FRAMES.get(frame, "fk5"))


def _extent(field: CasaField) -> tuple[float, float]:
    """Return height and width, arcsec."""
    cell = read_cell(field.product("psf"))
    return field.shape[2] * cell, field.shape[3] * cell
