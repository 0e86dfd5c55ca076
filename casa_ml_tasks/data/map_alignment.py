"""Where a map of the sky lies on an image in another frame or projection, and the map on pixels along the image's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, map_coordinates, spline_filter

from casa_ml_tasks.data.sky_frame import rotation
from casa_ml_tasks.kernels.dish_modes import MapGrid

STRAIGHT = 1e-3
"""Of the beam: pixels that lie so near to a grid along the image's axes lie on it."""
FEWEST_PIXELS = 2.0
"""Pixels of a map within the width of its beam, from which it can be interpolated."""
ORDER = 5  # of the spline
NORTH = 1e-3  # degrees, a step to find North with


@dataclass(frozen=True)
class Alignment:
    """A map's pixels along the axes of an image.

    Attributes:
        grid: of the pixels on the image.
        places: y and x of the grid's pixels on the map, (2, ny, nx); None where they are the map's own.
        back: y and x of the map's pixels on the grid, (2, ny, nx) of the map.
        turn: angle from the map's North to the image's y axis, from y towards -x, radians: to be added to position
            angles on the map.
    """

    grid: MapGrid
    places: NDArray[np.float64] | None
    back: NDArray[np.float64]
    turn: float

    def aligned(self, pixels: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return planes of the map, (..., ny, nx), on the grid, NaN where they are not known."""
        if self.places is None:
            return pixels
        planes = pixels.reshape(-1, *pixels.shape[-2:])
        return np.stack([_interpolated(plane, self.places) for plane in planes]).reshape(
            *pixels.shape[:-2], *self.grid.shape
        )

    def error(self, pixels: NDArray[np.floating]) -> float:
        """Return the r.m.s. of what interpolation there and back changes in planes of a map, in their unit."""
        if self.places is None:
            return 0.0
        planes = pixels.reshape(-1, *pixels.shape[-2:])
        changed = [
            _interpolated(each, self.back) - plane for each, plane in zip(self.aligned(planes), planes, strict=True)
        ]
        finite = np.isfinite(changed)
        return float(np.sqrt(np.mean(np.square(changed), where=finite))) if finite.any() else 0.0


def alignment(
    celestial: WCS, shape: tuple[int, int], image: WCS, image_shape: tuple[int, int], beam: float
) -> Alignment:
    """Return how a map's pixels lie along an image's.

    Args:
        celestial: coordinates of the map.
        shape: (ny, nx) of the map.
        image: coordinates of the image.
        image_shape: (ny, nx) of the image.
        beam: width of the map's beam, pixels of the image.

    Raises:
        ValueError: the map lies elsewhere, or has too few pixels a beam to be interpolated.
    """
    y, x = np.indices(shape).reshape(2, -1)
    found = _transformed(celestial, image, y, x).reshape(2, *shape)
    near = np.all(np.isfinite(found), axis=0)
    for places, count in zip(found, image_shape, strict=True):
        near &= (places > -beam - 0.5) & (places < count - 0.5 + beam)
    if near.sum() < 3:
        raise ValueError("lies elsewhere on the sky than the image; give a map of the image's field")
    indices = np.argwhere(near)
    middle = indices[np.argmin(np.sum((found[:, near].T - np.array(image_shape) / 2) ** 2, axis=1))]
    turn = _turn(celestial, image, *middle)
    fitted, steps, origin = _straight(found, near)
    if fitted < STRAIGHT * beam:
        grid = MapGrid(shape, (float(origin[0]), float(origin[1])), (float(steps[0]), float(steps[1])))
        return Alignment(grid, None, found, turn)
    return _resampling(celestial, shape, image, image_shape, found, beam, turn)


def _straight(
    found: NDArray[np.float64], near: NDArray[np.bool_]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return how far pixels are from the grid that fits them best, pixels of the image, its steps and its origin."""
    indices = np.argwhere(near)
    steps, origin, worst = np.ones(2), np.zeros(2), 0.0
    for axis in (0, 1):
        design = np.stack([indices[:, axis], np.ones(len(indices))], axis=1)
        (steps[axis], origin[axis]), *_ = np.linalg.lstsq(design, found[axis][near], rcond=None)
        worst = max(worst, float(np.abs(design @ [steps[axis], origin[axis]] - found[axis][near]).max()))
    return worst, steps, origin


def _resampling(
    celestial: WCS,
    shape: tuple[int, int],
    image: WCS,
    image_shape: tuple[int, int],
    found: NDArray[np.float64],
    beam: float,
    turn: float,
) -> Alignment:
    """Return the alignment with a grid of square pixels over the map, but not far beyond the image."""
    size = np.sqrt(abs(np.linalg.det(celestial.pixel_scale_matrix) / np.linalg.det(image.pixel_scale_matrix)))
    if beam < FEWEST_PIXELS * size:
        raise ValueError(
            f"has {beam / size:.1f} pixels within its beam, too few to be turned into the image's axes; "
            f"give a map with {FEWEST_PIXELS:g} or more, or along the image's axes"
        )
    edges = [
        (places[np.isfinite(places)], max(count, 4 * beam)) for places, count in zip(found, image_shape, strict=True)
    ]
    first = [max(-margin, float(places.min())) for places, margin in edges]
    last = [
        min(count + margin, float(places.max())) for (places, margin), count in zip(edges, image_shape, strict=True)
    ]
    counts = [max(1, int((end - begin) / size) + 1) for begin, end in zip(first, last, strict=True)]
    origin = [(begin + end - (n - 1) * size) / 2 for begin, end, n in zip(first, last, counts, strict=True)]
    grid = MapGrid((counts[0], counts[1]), (origin[0], origin[1]), (float(size), float(size)))
    y, x = (each.ravel() for each in np.meshgrid(grid.positions(0), grid.positions(1), indexing="ij"))
    places = _transformed(image, celestial, y, x).reshape(2, *grid.shape)
    back = (found - np.array(origin)[:, None, None]) / size
    return Alignment(grid, places, back, turn)


def frame_of(celestial: WCS) -> str:
    """Return casacore's name of the frame of an image's coordinates.

    Raises:
        ValueError: it is none that stays as it is.
    """
    kind = celestial.wcs.lngtyp.strip().upper()
    if kind != "RA":
        names = {"GLON": "GALACTIC", "ELON": "ECLIPTIC", "SLON": "SUPERGAL"}
    else:
        kind, names = celestial.wcs.radesys.strip().upper() or "ICRS", {"ICRS": "ICRS", "FK5": "J2000", "FK4": "B1950"}
    equinox = {"FK5": 2000.0, "FK4": 1950.0}.get(kind)
    if kind not in names or (equinox and abs(celestial.wcs.equinox - equinox) > 1e-6):
        raise ValueError(
            f"is in {kind} of equinox {celestial.wcs.equinox:g}; give a map in ICRS, J2000, B1950 or GALACTIC"
        )
    return names[kind]


def _transformed(of: WCS, to: WCS, y: NDArray[Any], x: NDArray[Any]) -> NDArray[np.float64]:
    """Return y and x in pixels of one image of the places in another, (2, place); NaN where there are none."""
    longitude, latitude = np.radians(_world(of, y, x))
    frames = frame_of(of), frame_of(to)
    if frames[0] != frames[1]:
        vectors = [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
        around = np.nanmedian(np.stack(vectors), axis=1)
        matrix = rotation(*frames, (np.arctan2(around[1], around[0]), np.arcsin(around[2] / np.linalg.norm(around))))
        east, north, up = matrix @ np.stack(vectors)
        longitude, latitude = np.arctan2(north, east), np.arcsin(np.clip(up, -1, 1))
    return np.stack(to.wcs_world2pix(*np.degrees([longitude, latitude]), 0)[::-1])


def _world(wcs: WCS, y: NDArray[Any], x: NDArray[Any]) -> tuple[NDArray[np.float64], ...]:
    """Return longitude and latitude, degrees, NaN off the sphere."""
    longitude, latitude = wcs.wcs_pix2world(x, y, 0)
    back = np.stack(wcs.wcs_world2pix(longitude, latitude, 0)) - [x, y]
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(back).max(axis=0) < 1e-3)
    return np.where(off, np.nan, longitude), np.where(off, np.nan, latitude)


def _turn(of: WCS, to: WCS, y: int, x: int) -> float:
    """Return the direction of North of one image in the pixels of another, radians from y towards -x."""
    longitude, latitude = of.wcs_pix2world([x], [y], 0)
    north = of.wcs_world2pix(longitude, latitude + NORTH, 0)
    ends = _transformed(of, to, np.array([y, north[1][0]]), np.array([x, north[0][0]]))
    up, right = ends[:, 1] - ends[:, 0]
    return float(np.arctan2(-right, up))


def _interpolated(plane: NDArray[np.floating], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a plane at y and x by a spline, NaN beside pixels without a value."""
    known = np.isfinite(plane)
    if not known.any():
        return np.full(places.shape[1:], np.nan)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = spline_filter(plane[tuple(nearest)], ORDER, mode="mirror")
    inside = np.all(np.isfinite(places), axis=0)
    at = np.where(inside, places, 0)
    values = map_coordinates(filled, at, order=ORDER, mode="mirror", prefilter=False)
    missing = map_coordinates((~known).astype(float), at, order=1, mode="constant", cval=1.0)
    return np.where(inside & (missing < 1e-9), values, np.nan)
