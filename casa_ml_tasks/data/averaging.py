r"""Average visibilities in time and frequency as far as a stated bound on smearing allows, short baselines longer.

Let a group of samples have weights w_j, p_j = w_j / sum(w), and coordinates u_j = (u, v, w) in wavelengths with the
weighted mean u. A point source of 1 Jy at s = (l, m, n-1) gives it the averaged visibility

$$\bar V = \sum_j p_j e^{2\pi i u_j \cdot s} = e^{2\pi i \bar u \cdot s} \sum_j p_j e^{i\delta_j}, \qquad
\delta_j = 2\pi (u_j - \bar u) \cdot s, \qquad \sum_j p_j \delta_j = 0.$$

As $|e^{ix} - 1 - ix| \le x^2/2$, it differs from the visibility at the mean coordinates by at most half the variance of
the phase. With C the weighted covariance of (u, v), $\lambda$ its larger eigenvalue, $\sigma_w$ the standard
deviation of w, and a field of $\sqrt{l^2+m^2} \le \rho$,

$$|\bar V e^{-2\pi i \bar u \cdot s} - 1| \le \frac{\sigma_\delta^2}{2}, \qquad
\sigma_\delta \le 2\pi \left(\rho \sqrt\lambda + (1 - \sqrt{1-\rho^2})\, \sigma_w\right).$$

This is the bound. It holds for any weights and flags, and for time and channels together: what is compared with
`smearing` is the covariance of all samples of a group. Neither needs a share of its own, and where the track runs
across the radial direction of bandwidth smearing the two hardly add up.

For an evenly weighted phase interval D the bound is the familiar $1 - \mathrm{sinc}(D/2) \le D^2/24$. Of n samples
spaced h = D/n it is $(1 - n^{-2}) D^2/24$, for their variance is $(n^2 - 1) h^2/12$: the discrete sum
$\sin(nh/2) / (n \sin(h/2))$ loses less than the continuous one, as $\sin(h/2) < h/2$.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from casa_ml_tasks.data.measurement_set import SPEED_OF_LIGHT, Block, samples

LONGEST_GAP = 3.5  # integrations: a longer gap in a stream ends the group
JOINED = 50_000_000  # visibilities joined in one Plane, 12 bytes each


@dataclass(frozen=True)
class Plane:
    """Samples of one data description, of Stokes I or what is imaged instead."""

    visibility: NDArray[np.complexfloating]  # (channel, row), Jy; of any value where the weight is 0
    weight: NDArray[np.floating]  # (channel, row), Jy^-2; 0 where flagged
    uvw: NDArray[np.float64]  # (3, row), metres
    frequency: NDArray[np.float64]  # (channel,), Hz
    time: NDArray[np.float64]  # (row,), seconds
    streams: NDArray[np.integer]  # (key, row), what the integrations of a group share: baseline, field, ...
    hands: int = 2  # parallel hands in a sample


@dataclass(frozen=True)
class Samples:
    """Averaged visibilities: `count.sum()` went in, `count.size` came out."""

    uvw: NDArray[np.float64]  # (3, n), wavelengths: weighted mean
    visibility: NDArray[np.complex128]  # (n,), Jy: weighted mean
    weight: NDArray[np.float64]  # (n,), Jy^-2: sum
    frequency: NDArray[np.float64]  # (n,), Hz: weighted mean
    count: NDArray[np.int64]  # (n,), how many visibilities each is the mean of
    row: NDArray[np.int64]  # (n,), the Plane's first row in each: its baseline, field and time are found there


def stokes_i(block: Block) -> Plane:
    """The samples of a Block, of Stokes I or what is imaged instead; those flagged get weight 0."""
    visibility, weight, _ = samples(block)
    return Plane(
        visibility=visibility,
        weight=weight,
        uvw=block.uvw,
        frequency=block.frequency,
        time=block.time,
        streams=block.streams,
        hands=len(block.visibility),
    )


def joined(planes: Iterable[Plane], most: int = JOINED) -> Iterator[Plane]:
    """Neighbouring Planes of the same channels as one, so that a group may outlast a Plane of few integrations.

    Args:
        planes: as they are read.
        most: visibilities (channels x rows) of a joined Plane; a larger one stays alone.
    """
    waiting: list[Plane] = []
    for plane in planes:
        size = sum(each.visibility.size for each in [*waiting, plane])
        if waiting and (size > most or not np.array_equal(waiting[0].frequency, plane.frequency)):
            yield _join(waiting)
            waiting = []
        waiting.append(plane)
    if waiting:
        yield _join(waiting)


def averaged(plane: Plane, field_radius: float, smearing: float) -> Samples:
    r"""The weighted means of neighbouring channels and integrations, as few as the bound of this module allows.

    A group is some neighbouring channels of consecutive integrations of one stream. Each stretch of a stream takes the
    number of channels that leaves the fewest visibilities, then as many integrations as fit. A gap of more than
    LONGEST_GAP median integrations ends a stretch. The smearing that the correlator caused comes on top.

    Args:
        plane: at least one channel; rows in any order.
        field_radius: largest $\sqrt{l^2+m^2}$ of a source, radians: half the diagonal of the image.
        smearing: largest loss of amplitude of a point source within the field, dimensionless; 0 averages nothing.

    Returns:
        The Samples by stream and time. Those of weight 0 have gone; none are left where all are.

    Raises:
        ValueError: a parameter is out of range, shapes do not agree, or samples of positive weight are not finite.
    """
    _check_parameters(field_radius, smearing)
    _check_plane(plane)
    rows = np.flatnonzero((plane.weight > 0).any(axis=0))
    rows = rows[np.lexsort((plane.time[rows], *plane.streams[:, rows]))]
    weight = np.ascontiguousarray(plane.weight.T[rows])
    uvw = np.ascontiguousarray(plane.uvw.T[rows], dtype=np.float64)
    wavenumber = np.asarray(plane.frequency / SPEED_OF_LIGHT, dtype=np.float64)
    widths = np.unique(-(-wavenumber.size // np.arange(1, wavenumber.size + 1)))[::-1]
    bound = (float(field_radius), float(1 - np.sqrt(1 - field_radius**2)), float(smearing))
    stretches = _stretches(plane.streams[:, rows], plane.time[rows])
    group, groups = _groups(weight, uvw, wavenumber, stretches, widths, bound)
    visibility = np.ascontiguousarray(plane.visibility.T[rows])
    total, mean, coordinates, count, first = _means(group, groups, weight, visibility, uvw, wavenumber)
    return Samples(
        uvw=coordinates[:3],
        visibility=mean,
        weight=total,
        frequency=coordinates[3] * SPEED_OF_LIGHT,
        count=count,
        row=rows[first],
    )


def _join(planes: list[Plane]) -> Plane:
    if len(planes) == 1:
        return planes[0]
    names = ("visibility", "weight", "uvw", "time", "streams")
    return Plane(
        frequency=planes[0].frequency,
        hands=max(each.hands for each in planes),
        **{name: np.concatenate([getattr(each, name) for each in planes], axis=-1) for name in names},
    )


def _check_parameters(field_radius: float, smearing: float) -> None:
    if not 0 < field_radius <= 1:
        raise ValueError(
            f"field_radius={field_radius} is not in (0, 1] radians; give half the diagonal of the image, in radians"
        )
    if not 0 <= smearing < 1:
        raise ValueError(f"smearing={smearing} is not in [0, 1); give the loss to be borne, for example 0.001")


def _check_plane(plane: Plane) -> None:
    channels, rows = plane.frequency.size, plane.time.size
    shapes = {"visibility": (channels, rows), "weight": (channels, rows), "uvw": (3, rows)}
    for name, expected in shapes.items():
        if (shape := getattr(plane, name).shape) != expected:
            raise ValueError(f"{name} has the shape {shape} where frequency and time ask for {expected}; transpose it?")
    if plane.streams.ndim != 2 or plane.streams.shape[1] != rows:
        raise ValueError(f"streams has the shape {plane.streams.shape}; give (key, {rows}), one column a row")
    if not (np.isfinite(plane.frequency) & (plane.frequency > 0)).all() or channels == 0:
        raise ValueError(f"frequency={plane.frequency} must be positive and finite; give at least one channel in Hz")
    if bad := np.count_nonzero(~np.isfinite(plane.weight) | (plane.weight < 0)):
        raise ValueError(f"weight holds {bad} values that are NaN, infinite or negative; give 0 to flagged samples")
    used = plane.weight > 0
    if bad := np.count_nonzero(used & ~np.isfinite(plane.visibility)):
        raise ValueError(f"visibility holds {bad} NaN or infinite values of positive weight; flag them with weight 0")
    observed = used.any(axis=0)
    for name in ("uvw", "time"):
        if bad := np.count_nonzero(~np.isfinite(getattr(plane, name)[..., observed])):
            raise ValueError(f"{name} holds {bad} NaN or infinite values in rows of positive weight; flag these rows")


def _stretches(streams: NDArray[np.integer], time: NDArray[np.float64]) -> NDArray[np.int64]:
    """First row of each stretch of a stream without gaps, and the number of rows; `streams` and `time` are sorted."""
    same = (np.diff(streams, axis=1) == 0).all(axis=0)
    gap = np.diff(time)
    lasting = gap[same & (gap > 0)]
    longest = LONGEST_GAP * np.median(lasting) if lasting.size else 0.0
    starts = np.flatnonzero(~same | (gap > longest)) + 1
    return np.concatenate([[0], starts, [time.size]]) if time.size else np.zeros(1, np.int64)


@njit(cache=True)
def _groups(weight, uvw, wavenumber, stretches, widths, bound):  # type: ignore[no-untyped-def]
    """The group of each sample, (row, channel), and the number of groups.

    Flags may leave a row's channels too far apart for the width that suits the stretch: they are halved until it fits.
    """
    channels = wavenumber.size
    group = np.empty(weight.shape, np.int64)
    spread = _spread(wavenumber, widths)
    groups = 0
    for stretch in range(stretches.size - 1):
        start, stop = stretches[stretch], stretches[stretch + 1]
        track = uvw[start:stop]
        width = _best_width(track, wavenumber, widths, spread, bound)
        first = 0
        while first < channels:
            last = min(first + width, channels)
            cut = -1
            while cut < 0:
                part = weight[start:stop, first:last]
                cut = _cut(part, track, wavenumber[first:last], bound, groups, group[start:stop, first:last])
                filled, last = last, first + (last - first + 1) // 2
            groups, first = cut, filled
    return group, groups


@njit(cache=True)
def _spread(wavenumber, widths):  # type: ignore[no-untyped-def]
    """Per width, the largest standard deviation of the wavenumber among that many neighbouring channels, 1/m."""
    spread = np.zeros(widths.size)
    for i, width in enumerate(widths):
        for first in range(0, wavenumber.size, width):
            spread[i] = max(spread[i], wavenumber[first : first + width].std())
    return spread


@njit(cache=True)
def _best_width(track, wavenumber, widths, spread, bound):  # type: ignore[no-untyped-def]
    """The number of channels that leaves the fewest visibilities of a stretch without flags.

    Two samples at the mean +- the standard deviation have the covariance of all channels together, so a trial is cheap.
    """
    best, fewest = 1, wavenumber.size * len(track)
    weight, scratch = np.ones((len(track), 2)), np.empty((len(track), 2), np.int64)
    highest = wavenumber.max()
    for width, deviation in zip(widths, spread):  # noqa: B905 (numba knows no strict)
        pieces = -(-wavenumber.size // width)
        if pieces >= fewest:
            break
        cut = _cut(weight, track, np.array([highest - deviation, highest + deviation]), bound, 0, scratch)
        if cut >= 0 and pieces * cut < fewest:
            best, fewest = width, pieces * cut
    return best


@njit(cache=True)
def _cut(weight, track, wavenumber, bound, groups, group):  # type: ignore[no-untyped-def]
    """Number the groups of consecutive rows, all channels of a row in one, each as long as the bound allows.

    Args:
        weight: (row, channel).
        track: (row, 3), metres.
        wavenumber: (channel,), 1/m.
        bound: field radius, its 1 - n, smearing.
        groups: the first number to give.
        group: (row, channel), written; where a whole row has weight 0 it stays as it was.

    Returns:
        The next free number, or -1 where the channels of one row alone exceed the bound.
    """
    moments, grown, origin = np.empty(8), np.empty(8), np.empty(3)
    number = groups - 1
    for row in range(len(track)):
        if not weight[row].any():
            continue
        if number >= groups:
            grown[:] = moments
            _add_moments(grown, weight[row], track[row], wavenumber, origin)
            if _loss(grown, bound) < bound[2]:
                moments[:] = grown
                group[row] = number
                continue
        number += 1
        origin[:] = wavenumber[0] * track[row]
        moments[:] = 0
        _add_moments(moments, weight[row], track[row], wavenumber, origin)
        if wavenumber.size > 1 and not _loss(moments, bound) < bound[2]:
            return -1
        group[row] = number
    return number + 1


@njit(cache=True)
def _add_moments(moments, weight, position, wavenumber, origin):  # type: ignore[no-untyped-def]
    """Add one row's sums of weight times 1, u, v, w, uu, uv, vv, ww, coordinates in wavelengths from `origin`."""
    for channel in range(wavenumber.size):
        p = weight[channel]
        u = wavenumber[channel] * position[0] - origin[0]
        v = wavenumber[channel] * position[1] - origin[1]
        w = wavenumber[channel] * position[2] - origin[2]
        moments[0] += p
        moments[1] += p * u
        moments[2] += p * v
        moments[3] += p * w
        moments[4] += p * u * u
        moments[5] += p * u * v
        moments[6] += p * v * v
        moments[7] += p * w * w


@njit(cache=True)
def _loss(moments, bound):  # type: ignore[no-untyped-def]
    r"""$\sigma_\delta^2 / 2$, the bound of this module."""
    _, u, v, w, uu, uv, vv, ww = moments / moments[0]
    uu, uv, vv, ww = uu - u * u, uv - u * v, vv - v * v, ww - w * w
    largest = (uu + vv) / 2 + np.hypot((uu - vv) / 2, uv)
    return 2 * (np.pi * (bound[0] * np.sqrt(max(largest, 0.0)) + bound[1] * np.sqrt(max(ww, 0.0)))) ** 2


@njit(cache=True)
def _means(group, groups, weight, visibility, uvw, wavenumber):  # type: ignore[no-untyped-def]
    """Per group: sum of weights, mean visibility, mean (u, v, w, wavenumber), number of samples, first row."""
    total, mean, coordinates = np.zeros(groups), np.zeros(groups, np.complex128), np.zeros((4, groups))
    count, first = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    for row in range(len(weight)):
        for channel in range(wavenumber.size):
            p, g = np.float64(weight[row, channel]), group[row, channel]
            if p == 0:
                continue
            if count[g] == 0:
                first[g] = row
            count[g] += 1
            total[g] += p
            mean[g] += p * visibility[row, channel]
            for axis in range(3):
                coordinates[axis, g] += p * wavenumber[channel] * uvw[row, axis]
            coordinates[3, g] += p * wavenumber[channel]
    return total, mean / total, coordinates / total, count, first
