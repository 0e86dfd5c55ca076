"""The pointings of a mosaic, from the Measurement Sets to a `Mosaic`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from casa_ml_tasks.data.directions import directions_of
from casa_ml_tasks.data.image_channels import ChannelsOfWidth
from casa_ml_tasks.data.measurement_set import Block, open_table
from casa_ml_tasks.data.visibility_store import FIELD_ID, ImageFrame, read
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.point_spread_function import psf_of_weights
from casa_ml_tasks.kernels.primary_beams import AiryBeam, VoltagePattern, antenna_beam
from casa_ml_tasks.kernels.uv_grid import within_nyquist
from casa_ml_tasks.kernels.visibilities import Visibilities
from casa_ml_tasks.major.imaging_weights import WeightDensity, imaging_weights
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.weighting import Weighting

ANTENNA1, ANTENNA2 = 0, 1  # in Block.streams
FAINTEST = 0.003  # of a primary beam: a pointing sees nothing where it is fainter
SAME_POINTING = 8  # decimals of a radian: 2 mas
MOST_PIXELS = 100_000  # of an image


class Pointing(NamedTuple):
    """Where two antennas look: right ascension and declination, radians, and their two beams."""

    direction: tuple[float, float]
    beams: tuple[VoltagePattern, VoltagePattern]


@dataclass
class Pointings:
    """Numbers the pointings in the order in which they are met. frame: of the image.

    A field that moves against the image keeps the direction at which it is first met.
    """

    frame: ImageFrame
    known: list[Pointing] = field(default_factory=list)
    _directions: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)

    def of(self, block: Block, vis: str) -> NDArray[np.uint16]:
        """The pointing of each row of a Block, (row,)."""
        beams = _beams(vis)
        kinds = list(dict.fromkeys(beams))
        of_antenna = np.array([kinds.index(each) for each in beams])
        ends = np.sort(of_antenna[block.streams[[ANTENNA1, ANTENNA2]]], axis=0)
        keys, first, which = np.unique(
            np.vstack([block.streams[FIELD_ID], ends]), axis=1, return_index=True, return_inverse=True
        )
        numbers = [
            self._number(Pointing(self._direction(vis, int(field), block.time[row]), (kinds[a], kinds[b])))
            for (field, a, b), row in zip(keys.T, first, strict=True)
        ]
        return np.array(numbers, np.uint16)[which.ravel()]

    def _direction(self, vis: str, field: int, time: float) -> tuple[float, float]:
        if (vis, field) not in self._directions:
            longitude, latitude = directions_of(vis).seen_in(field, float(time), self.frame)
            self._directions[vis, field] = round(longitude, SAME_POINTING), round(latitude, SAME_POINTING)
        return self._directions[vis, field]

    def _number(self, pointing: Pointing) -> int:
        if pointing not in self.known:
            self.known.append(pointing)
        return self.known.index(pointing)


def _beams(vis: str) -> list[VoltagePattern]:
    """Of the antennas. One without a model is taken for a uniformly lit dish, which the major cycles make good."""
    with open_table(f"{vis}/OBSERVATION") as tb:
        telescope = str(tb.getcell("TELESCOPE_NAME", 0))
    with open_table(f"{vis}/ANTENNA") as tb:
        diameters = tb.getcol("DISH_DIAMETER").tolist()

    def beam(diameter: float) -> VoltagePattern:
        try:
            return antenna_beam(telescope, diameter)
        except ValueError:
            return AiryBeam(diameter)

    return [beam(each) for each in diameters]


def mosaic_of(
    request: Request,
    frame: ImageFrame,
    frequencies: NDArray[np.floating],
    cell: float,
    field: NDArray[np.bool_],
    directory: Path,
) -> Mosaic:
    """Read where the telescopes pointed, and the uv coverage of each pointing.

    Args:
        request: what is imaged.
        frame: of the image.
        frequencies: of the channels of the image, Hz; the beams are those of their mean.
        cell: radians.
        field: where there is an image, (ny, nx).
        directory: for files, if memory does not suffice.

    Raises:
        ValueError: no pointing sees the image.
    """
    weighting = request.weighting.of_channels(frequencies)
    pointings = Pointings(frame)
    if weighting.per_channel and frequencies.size > 1:
        frame = replace(frame, channels=ChannelsOfWidth(float(np.abs(np.diff(frequencies)).mean())))
    store = read(request.selection.selections, frame, directory, progress=True, origins=pointings)
    assert store.origin is not None, "asked for"
    frequency = float(frequencies.mean())
    weights = _weights(store, store.origin, weighting, field.shape, cell, request.gridding.mosweight)
    used = (weights > 0) & within_nyquist(store.uvw, cell)
    whole = np.zeros(2, int), field.shape
    seen, members = [], []
    for number, pointing in enumerate(pointings.known):
        sees = field & (_beam_in(*whole, field.shape, pointing, frame, frequency, cell) > FAINTEST)
        its_own = np.flatnonzero(used & (store.origin == number))
        if sees.any() and its_own.size:
            seen.append((pointing, sees.any(axis=1), sees.any(axis=0)))
            members.append(its_own)
    if not seen:
        raise ValueError("no pointing sees the image; check phasecenter, imsize and cell")
    looking, rows, columns = zip(*seen, strict=True)
    _warn_of_folded_beams(looking, frequency, cell, min(field.shape))
    (top, height), (left, width) = _intervals(np.stack(rows)), _intervals(np.stack(columns))
    corners, shape = np.stack([top, left], axis=1), (height, width)
    casalog.post(f"mosaic: {len(looking)} pointings, each in {width} x {height} pixels", "INFO", "pointings")
    beams = [
        _beam_in(corner, shape, field.shape, pointing, frame, frequency, cell)
        for corner, pointing in zip(corners, looking, strict=True)
    ]
    total = weights[np.concatenate(members)].sum()
    psfs = [psf_of_weights(store.uvw[each], 1.0, weights[each, None], shape, cell) / total for each in members]
    return Mosaic.in_flat_noise(np.stack(psfs, dtype=np.float32, casting="same_kind"), np.stack(beams), corners, field)


def _warn_of_folded_beams(pointings: Sequence[Pointing], frequency: float, cell: float, pixels: int) -> None:
    """CASA's mosaic gridder makes its beams on the image, however narrow that is (pixels, along its shorter side)."""
    angle = cell / 2 * np.arange(0, MOST_PIXELS, 2)
    beams = {beam for each in pointings for beam in each.beams}
    needed = 2 * max(int(np.argmax(each.power(angle, frequency) < FAINTEST)) for each in beams)
    if pixels < needed:
        casalog.post(
            f"an image of {pixels} pixels is narrower than the primary beams; CASA's mosaic gridder then folds them, "
            f"and fluxes are wrong: use imsize={needed} or more",
            "WARN",
            "pointings",
        )


def _beam_in(
    corner: NDArray[np.int64],
    shape: tuple[int, ...],
    of_image: tuple[int, ...],
    pointing: Pointing,
    frame: ImageFrame,
    frequency: float,
    cell: float,
) -> NDArray[np.float64]:
    r"""The primary beam of a pointing in a box of an image, (ny, nx) both: $\sqrt{P_1 P_2}$ of its antennas' powers."""
    east, north = _direction_cosines(pointing.direction, frame.centre)
    y, x = np.indices(shape) + corner[:, None, None]
    angle = np.hypot((of_image[1] // 2 - x) * cell - east, (y - of_image[0] // 2) * cell - north)
    first, second = (beam.power(angle, frequency) for beam in pointing.beams)
    return np.sqrt(first * second)


def _direction_cosines(direction: tuple[float, float], centre: tuple[float, float]) -> tuple[float, float]:
    """l towards East and m towards North of a direction (right ascension, declination) from the image's centre."""
    (ra, dec), (ra0, dec0) = direction, centre
    return (
        np.cos(dec) * np.sin(ra - ra0),
        np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0),
    )


def _intervals(seen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Where intervals of one length begin that hold what each pointing sees, and the length. seen: (pointing, n)."""
    length = seen.shape[1]
    first, last = seen.argmax(axis=1), length - seen[:, ::-1].argmax(axis=1)
    size = min(length, next_fast_len(int((last - first).max()), real=True))
    return np.minimum(first, length - size), size


def _weights(
    store: Visibilities,
    pointing: NDArray[np.uint16],
    weighting: Weighting,
    shape: tuple[int, int],
    cell: float,
    mosweight: bool,
) -> NDArray[np.float64]:
    """Imaging weights, (visibility,), with a density for each channel and, with `mosweight`, each pointing, as in CASA.

    Channels are as wide as those of the image.
    """
    weights = np.zeros(store.size)
    apart = weighting.needs_density and mosweight
    kinds = np.stack([store.channel, pointing if apart else np.zeros(store.size)], axis=1)
    _, group = np.unique(kinds, axis=0, return_inverse=True)
    order = np.argsort(group.ravel(), kind="stable")
    for members in np.split(order, np.cumsum(np.bincount(group.ravel()))[:-1]):
        part = store[members]
        density = WeightDensity(weighting, shape, cell, store.hands)
        if weighting.needs_density:
            density.add(part.uvw[:, 0], part.uvw[:, 1], part.weight)
        weights[members] = imaging_weights(part.uvw[:, 0], part.uvw[:, 1], part.weight, density)
    return weights
