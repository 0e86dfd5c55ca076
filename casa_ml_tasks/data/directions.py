"""Where the fields of a Measurement Set are, and how baselines turn from their axes to those of an image.

A field is phased to a fixed direction, to a polynomial in time, or to an offset from an ephemeris, in any frame that
casacore knows. Its u, v and w are along East, North and the line of sight of that frame: as CASA's imager does, we
leave the reference of the UVW column aside, which is ITRF in most files. An image may follow an object; its centre is
then where the object is at the time of each visibility.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from casatools import measures, ms, quanta
from numpy.typing import NDArray

from casa_ml_tasks.data.measurement_set import MSSELECT, Selection, open_table

INERTIAL = ("J2000", "ICRS", "GALACTIC", "SUPERGAL", "ECLIPTIC", "B1950", "B1950_VLA")
PLANETS = ("MERCURY", "VENUS", "MARS", "JUPITER", "SATURN", "URANUS", "NEPTUNE", "PLUTO", "SUN", "MOON")
TRACKFIELD = "TRACKFIELD"  # tclean's word for the ephemeris of the field
#: casacore's MDirection::Types by number, for tables that do not list them.
FRAMES = (
    *("J2000", "JMEAN", "JTRUE", "APP", "B1950", "B1950_VLA", "BMEAN", "BTRUE", "GALACTIC", "HADEC", "AZEL"),
    *("AZELSW", "AZELGEO", "AZELSWGEO", "JNAT", "ECLIPTIC", "MECLIPTIC", "TECLIPTIC", "SUPERGAL", "ITRF", "TOPO"),
    "ICRS",
)

DAY = 86400.0  # seconds: B1950 turns by less than a microarcsecond, against ICRS
MOTION = 10.0  # seconds: within, the Moon leaves a straight line by 0.3 mas
STEP = 0.01  # radians along a meridian, to find North of one frame in another
SAME = 1e-13  # radians: rounding

Array = NDArray[np.float64]


class Centre(Protocol):
    """What an image says about its centre."""

    @property
    def centre(self) -> tuple[float, float]:
        """Longitude and latitude, radians; right ascension and declination in most frames."""
        ...

    @property
    def frame(self) -> str:
        """Of the centre, for instance ICRS."""
        ...

    @property
    def tracks(self) -> str:
        """The object that the centre follows, see `tracked`; '' for none."""
        ...


@dataclass(frozen=True)
class Field:
    """A row of the FIELD table.

    Of a field with an ephemeris, CASA's imager takes the offset from REFERENCE_DIR, which equals PHASE_DIR unless
    somebody has moved the phase centre.
    """

    frame: str  # of PHASE_DIR, for instance J2000, or a planet's name
    coefficients: Array  # (2, order + 1), longitude and latitude: rad, rad/s and so on
    origin: float  # of the polynomial, seconds
    ephemeris: str  # path of a table, from which the direction is an offset; '' for none

    @property
    def axes_frame(self) -> str:
        """The frame that u, v and w belong to."""
        return "J2000" if self.frame in PLANETS else self.frame

    @property
    def moves(self) -> bool:
        """Whether its direction changes from one integration to the next."""
        return bool(self.ephemeris) or self.coefficients.shape[1] > 1 or self.frame not in INERTIAL


def tracked(phasecenter: Any) -> str:
    """What an image with tclean's `phasecenter` follows: 'TRACKFIELD', a planet, or the path of an ephemeris table."""
    text = str(phasecenter).strip()
    if text.upper() in (TRACKFIELD, *PLANETS):
        return text.upper()
    return os.path.abspath(text) if text and (Path(text) / "table.dat").is_file() else ""


def selected_fields(selection: Selection) -> tuple[list[int], Array]:
    """FIELD_ID of all selected rows, and the times of the first and the last, seconds."""
    tool = ms()
    try:
        tool.open(selection.vis)
        if given := selection.given():
            tool.msselect({MSSELECT[name]: value for name, value in given.items()}, onlyparse=False)
        found = tool.range(["field_id", "time"])
        return sorted(int(field) for field in np.atleast_1d(found["field_id"])), np.array(found["time"], float)
    finally:
        tool.done()


def nodes(time: Array, interval: float) -> Array:
    """The first and the last of the times in every interval, ascending: what suffices to interpolate between.

    There are no more than times observed, however long nothing is.
    """
    observed = np.unique(time)
    ends = np.flatnonzero(np.diff(np.floor(observed / interval)))
    return observed[np.unique(np.concatenate([[0], ends, ends + 1, [observed.size - 1]]))]


def directions_of(vis: str) -> Directions:
    """Of the fields of a Measurement Set as it is now; what they were asked for is remembered until it changes."""
    return _directions(os.path.abspath(vis), _state(vis))


def toward(longitude: float, latitude: float) -> Array:
    """Unit vectors along the axes u, v and w of a direction, (3, 3): East, North and towards it."""
    sin_lon, cos_lon, sin_lat, cos_lat = np.sin(longitude), np.cos(longitude), np.sin(latitude), np.cos(latitude)
    return np.array(
        [
            [-sin_lon, cos_lon, 0],
            [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
            [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
        ]
    )


def turned(uvw: Array, time: Array, field: NDArray[np.integer], vis: str, image: Centre) -> Array:
    """Baselines turned from the axes of their fields to those of an image's centre.

    Args:
        uvw: (3, row), of any unit.
        time: (row,), seconds, UTC.
        field: (row,), FIELD_ID.
        vis: the Measurement Set.
        image: its centre.

    Returns:
        (3, row).
    """
    result, directions = uvw.copy(), directions_of(vis)
    for number in np.unique(field):
        rows = np.flatnonzero(field == number)
        at = nodes(time[rows], directions.interval(int(number), image))
        turns = directions.turns(int(number), at, image)
        if np.abs(turns - turns[0]).max() > SAME:
            changing = [[np.interp(time[rows], at, turns[:, i, j]) for j in range(3)] for i in range(3)]
            result[:, rows] = np.einsum("ijr,jr->ir", changing, uvw[:, rows])
        elif np.abs(turns[0] - np.eye(3)).max() > SAME:
            result[:, rows] = turns[0] @ uvw[:, rows]
    return result


class Directions:
    """Directions of the fields of one Measurement Set, at any time (seconds, UTC).

    Conversions between frames take about a millisecond each, so every one is remembered.
    """

    def __init__(self, vis: str):
        """Read the FIELD table."""
        self._vis = vis
        self._fields = read_fields(vis)
        self._site = _site(vis)
        self._known: dict[tuple[Any, ...], dict[float, Any]] = {}

    def interval(self, field: int, image: Centre) -> float:
        """Seconds over which the field's axes, seen from the image's, change linearly."""
        follows = image.tracks and (image.tracks != TRACKFIELD or self._fields[field].ephemeris)
        moves = self._fields[field].moves or follows or image.frame not in INERTIAL
        return MOTION if moves else DAY

    def turns(self, field: int, times: Array, image: Centre) -> Array:
        """What turns baselines to the image's axes, (time, 3, 3)."""
        return self._image_axes(field, times, image) @ np.swapaxes(self.axes(field, times, image.frame), 1, 2)

    def seen_in(self, field: int, time: float, image: Centre) -> tuple[float, float]:
        """Longitude and latitude, radians, of a field in the image's coordinates.

        They are as far from the image's centre as the field is at that time from what the image follows.
        """
        cosines = self.turns(field, np.array([time]), image)[0, :, 2]
        x, y, z = toward(*image.centre).T @ cosines
        return float(np.arctan2(y, x)), float(np.arctan2(z, np.hypot(x, y)))

    def axes(self, field: int, times: Array, frame: str) -> Array:
        """Unit vectors along u, v and w of a field in a frame, (time, 3, 3)."""
        return self._remembered(("axes", field, frame), times, lambda new: self._axes(self._fields[field], new, frame))

    def phase_centre(self, field: int, time: float) -> dict[str, Any]:
        """The direction, as a measure of its own frame, that a field's visibilities are phased to."""
        longitude, latitude = self.phase_centres(field, np.array([time]))[0]
        return _direction(self._fields[field].axes_frame, longitude, latitude)

    def phase_centres(self, field: int, times: Array) -> Array:
        """Longitude and latitude in the field's own frame, radians, (time, 2)."""
        return self._remembered(("centre", field), times, lambda new: self._centres(self._fields[field], new))

    def lsrk_over_observed(self, field: int, times: Array, frame: str) -> Array:
        """The factor from frequencies in a frame, for instance TOPO, to LSRK in the direction of a field, (time,)."""
        return self._remembered(("lsrk", field, frame), times, lambda new: self._factors(field, new, frame))

    def _remembered(
        self, key: tuple[Any, ...], times: Array, compute: Callable[[list[float]], Sequence[Any]]
    ) -> NDArray[Any]:
        known = self._known.setdefault(key, {})
        missing = [each for each in times.tolist() if each not in known]
        if missing:
            known.update(zip(missing, compute(missing), strict=True))
        return np.array([known[each] for each in times.tolist()])

    def _image_axes(self, field: int, times: Array, image: Centre) -> Array:
        if not image.tracks or (image.tracks == TRACKFIELD and not self._fields[field].ephemeris):
            return toward(*image.centre)[None]
        follows = self._fields[field].ephemeris if image.tracks == TRACKFIELD else image.tracks
        key = ("object", follows, image.frame)
        return self._remembered(
            key, times, lambda new: [toward(*each) for each in self._object(follows, new, image.frame)]
        )

    def _object(self, name: str, times: list[float], frame: str) -> list[tuple[float, float]]:
        """Longitude and latitude of a planet, or of the object of an ephemeris table, (time, 2), as seen from here."""
        ephemeris = "" if name in PLANETS else name
        found = []
        with self._observing(ephemeris) as (me, at):
            source = me.direction("COMET" if ephemeris else name)
            for time in times:
                at(time)
                seen = me.measure(source, "AZEL")  # which sees the parallax
                if not seen:
                    raise ValueError(
                        f"the ephemeris '{name}' of vis='{self._vis}' says nothing for the time {time / DAY:.5f} (MJD) "
                        "of its visibilities; attach one that does with ms.addephemeris"
                    )
                found.append(_angles(me.measure(seen, frame)))
        return found

    def _centres(self, field: Field, times: list[float]) -> list[tuple[float, float]]:
        if field.frame in PLANETS:
            return self._object(field.frame, times, field.axes_frame)
        if field.ephemeris:
            east, north = field.coefficients[:, 0]
            return [_offset(*each, east, north) for each in self._object(field.ephemeris, times, field.frame)]
        longitude, latitude = (np.polyval(each[::-1], np.array(times) - field.origin) for each in field.coefficients)
        return list(zip(longitude.tolist(), latitude.tolist(), strict=True))

    def _axes(self, field: Field, times: list[float], frame: str) -> list[Array]:
        """North is found from a second direction, which is to the North in the field's own frame."""
        own = [toward(*each) for each in self._centres(field, times)]
        if field.axes_frame == frame:
            return own
        found = []
        with self._observing() as (me, at):

            def converted(vector: Array) -> Array:
                longitude, latitude = np.arctan2(vector[1], vector[0]), np.arctan2(vector[2], np.hypot(*vector[:2]))
                return toward(*_angles(me.measure(_direction(field.axes_frame, longitude, latitude), frame)))[2]

            for time, (_, north, along) in zip(times, own, strict=True):
                at(time)
                w = converted(along)
                v = converted(np.cos(STEP) * along + np.sin(STEP) * north)
                v -= (v @ w) * w
                v /= np.linalg.norm(v)
                found.append(np.array([np.cross(v, w), v, w]))
        return found

    def _factors(self, field: int, times: list[float], frame: str) -> list[float]:
        factors, own = [], self._fields[field].axes_frame
        centres = self.phase_centres(field, np.array(times))
        with self._observing() as (me, at):
            for time, centre in zip(times, centres, strict=True):
                at(time)
                me.doframe(_direction(own, *centre))
                factors.append(me.measure(me.frequency(frame, "1GHz"), "LSRK")["m0"]["value"] / 1e9)
        return factors

    @contextmanager
    def _observing(self, ephemeris: str = "") -> Iterator[tuple[Any, Callable[[float], Any]]]:
        """casatools' measures at the telescope, and what sets its time."""
        me, qa = measures(), quanta()
        try:
            me.doframe(self._site)
            if ephemeris:
                me.framecomet(ephemeris)
            yield me, lambda time: me.doframe(me.epoch("UTC", qa.quantity(time, "s")))
        finally:
            me.done()
            qa.done()


def read_fields(vis: str) -> list[Field]:
    """The rows of the FIELD table.

    Raises:
        ValueError: the ephemeris of a field is not there.
    """
    with open_table(f"{vis}/FIELD") as tb:
        columns = tb.colnames()
        keywords = tb.getcolkeyword("PHASE_DIR", "MEASINFO")
        orders = tb.getcol("NUM_POLY") if "NUM_POLY" in columns else np.zeros(tb.nrows(), int)
        numbers = tb.getcol("EPHEMERIS_ID") if "EPHEMERIS_ID" in columns else np.full(tb.nrows(), -1)

        def field(row: int) -> Field:
            directions = tb.getcell("PHASE_DIR", row).reshape(2, -1)
            return Field(
                _frame_of(tb, keywords, row),
                directions[:, : max(int(orders[row]), 0) + 1],
                float(tb.getcell("TIME", row)),
                _ephemeris(vis, int(numbers[row])) if orders[row] <= 0 <= numbers[row] else "",
            )

        return [field(row) for row in range(tb.nrows())]


def _frame_of(tb: Any, keywords: dict[str, Any], row: int) -> str:
    """The frame of a PHASE_DIR, which may be one for all rows or have a column of its own."""
    if "VarRefCol" not in keywords:
        return str(keywords["Ref"])
    code = tb.getcell(keywords["VarRefCol"], row)
    if isinstance(code, str):
        return code
    if "TabRefCodes" not in keywords:
        return FRAMES[int(code)]
    names = dict(zip(keywords["TabRefCodes"].tolist(), keywords["TabRefTypes"], strict=True))
    return str(names[int(code)])


def _ephemeris(vis: str, number: int) -> str:
    found = sorted(Path(vis, "FIELD").glob(f"EPHEM{number}_*.tab"))
    if not found:
        raise ValueError(
            f"vis='{vis}' has no ephemeris FIELD/EPHEM{number}_*.tab, which its FIELD table names; attach it with "
            "ms.addephemeris"
        )
    return str(found[0])


def _site(vis: str) -> dict[str, Any]:
    """Where the telescope is; where casacore does not know it, its first antenna."""
    with open_table(f"{vis}/OBSERVATION") as tb:
        telescope = str(tb.getcell("TELESCOPE_NAME", 0))
    me = measures()
    try:
        if known := me.observatory(telescope):
            return known
        with open_table(f"{vis}/ANTENNA") as tb:
            x, y, z = tb.getcell("POSITION", 0).tolist()
        return me.position("ITRF", f"{x}m", f"{y}m", f"{z}m")
    finally:
        me.done()


def _offset(longitude: float, latitude: float, east: float, north: float) -> tuple[float, float]:
    """A direction offset by true angles, radians, as casacore's MVDirection::shift has it."""
    axes = toward(longitude, latitude + north)
    x, y, z = np.cos(east) * axes[2] + np.sin(east) * axes[0]
    return float(np.arctan2(y, x)), float(np.arctan2(z, np.hypot(x, y)))


def _direction(frame: str, longitude: float, latitude: float) -> dict[str, Any]:
    angles = {f"m{i}": {"value": float(each), "unit": "rad"} for i, each in enumerate((longitude, latitude))}
    return {"type": "direction", "refer": frame, **angles}


def _angles(measure: dict[str, Any]) -> tuple[float, float]:
    return measure["m0"]["value"], measure["m1"]["value"]


@lru_cache(maxsize=32)
def _directions(vis: str, _: tuple[Any, ...]) -> Directions:
    return Directions(vis)


def _state(vis: str) -> tuple[Any, ...]:
    """What changes when a table does that directions are read from: names, times and sizes of its files."""
    folders = [Path(vis, name) for name in ("FIELD", "OBSERVATION", "ANTENNA")]
    folders += sorted(folders[0].glob("EPHEM*.tab"))
    stats = [(each.path, each.stat()) for folder in folders if folder.is_dir() for each in os.scandir(folder)]
    stats = [each for each in stats if not each[0].endswith(".lock")]
    return tuple(sorted((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats))
