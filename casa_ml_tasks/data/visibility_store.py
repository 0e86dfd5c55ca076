"""Selected visibilities of one plane in flat arrays: read from the Measurement Sets once, used in every major cycle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.averaging import Plane, Samples, averaged, joined, stokes_i
from casa_ml_tasks.data.directions import turned
from casa_ml_tasks.data.frequency_frame import lsrk_over_observed
from casa_ml_tasks.data.image_channels import ChannelsOfWidth, ImageChannels
from casa_ml_tasks.data.measurement_set import SPEED_OF_LIGHT, Block, Selection, blocks, open_table
from casa_ml_tasks.kernels.visibilities import DTYPES, Origin, Visibilities, columns

CHUNK = 1 << 24  # visibilities that are planned at once
SHARE_OF_MEMORY = 0.25  # of what is free; larger stores are files
FIELD_ID, OBSERVATION_ID = 4, 6  # in Block.streams


class Numbering(Protocol):
    """Tells visibilities apart by where they come from."""

    def of(self, block: Block, vis: str) -> NDArray[np.uint16]:
        """A number for each row of a Block, (row,)."""
        ...


@dataclass
class Origins:
    """Numbers the origins in the order in which they are met."""

    known: list[Origin] = field(default_factory=list)

    def of(self, block: Block, vis: str) -> NDArray[np.uint16]:
        """The origin of each row of a Block, (row,)."""
        spw = _spectral_window(vis, int(block.row[0])) if block.row.size else 0
        observations, which = np.unique(block.streams[OBSERVATION_ID], return_inverse=True)
        return np.array([self._number(Origin(vis, spw, int(each))) for each in observations], np.uint16)[which]

    def _number(self, origin: Origin) -> int:
        if origin not in self.known:
            self.known.append(origin)
        return self.known.index(origin)


@dataclass(frozen=True)
class ImageFrame:
    """What the image says about its visibilities."""

    centre: tuple[float, float]  # right ascension and declination, radians
    frame: str  # of the centre, for instance ICRS
    lsrk: bool = True  # frequencies in LSRK, as tclean grids continuum; else as observed
    channels: ImageChannels | ChannelsOfWidth | None = None  # of a cube, at observed frequencies; else one for all
    tracks: str = ""  # the object that the centre follows, as `directions.tracked` names it


@dataclass
class VisibilityStore:
    """Arrays that grow block by block, in memory, or in files of a folder once they are too large for it."""

    directory: Path
    most_bytes: float = field(default_factory=lambda: SHARE_OF_MEMORY * free_memory())
    _pieces: list[Visibilities] = field(default_factory=list)
    _on_disk: bool = False
    _hands: int = 1
    _names: tuple[str, ...] = ()

    def add(self, piece: Visibilities) -> None:
        """Append some visibilities, all with their origin or all without."""
        self._hands, self._names = max(self._hands, piece.hands), columns(piece)
        self._pieces.append(piece)
        if not self._on_disk and sum(_bytes(each) for each in self._pieces) > self.most_bytes:
            self._on_disk = True
            shutil.rmtree(self.directory, ignore_errors=True)  # what a killed run left
        if self._on_disk:
            self._flush()

    def visibilities(self) -> Visibilities:
        """All that were added."""
        if not self._names:
            return Visibilities.none()

        def joined(name: str) -> NDArray[Any]:
            if self._on_disk:
                return self._mapped(name)
            return np.concatenate([getattr(each, name) for each in self._pieces])

        return Visibilities(**{name: joined(name) for name in self._names}, hands=self._hands)

    def _flush(self) -> None:
        self.directory.mkdir(exist_ok=True)
        for name in self._names:
            with open(self.directory / name, "ab") as file:
                for piece in self._pieces:
                    getattr(piece, name).tofile(file)
        self._pieces.clear()

    def _mapped(self, name: str) -> NDArray[Any]:
        row = (3,) if name == "uvw" else ()
        flat = np.memmap(self.directory / name, DTYPES[name], "r+")
        return flat.reshape(-1, *row)


def reordered(visibilities: Visibilities, order: NDArray[np.integer], directory: Path) -> Visibilities:
    """Return visibilities in another order, or some of them.

    Args:
        visibilities: in memory, or in files of the folder, which are replaced.
        order: numbers of the visibilities.
        directory: of the files.
    """
    replaced = {}
    for name in columns(visibilities):
        column = getattr(visibilities, name)
        if not isinstance(column, np.memmap):
            replaced[name] = column[order]
            continue
        path = directory / f"{name}.sorted"
        with open(path, "wb") as file:
            for part in chunks(order.size):
                column[order[part]].tofile(file)
        path.replace(directory / name)
        flat = np.memmap(directory / name, DTYPES[name], "r+")
        replaced[name] = flat.reshape(-1, *column.shape[1:])
    return replace(visibilities, **replaced)


def read(
    selections: Iterable[Selection],
    frame: ImageFrame,
    directory: Path,
    smearing: float = 0.0,
    field_radius: float = 0.0,
    progress: bool = False,
    origins: Numbering | None = None,
    outside: bool = False,
    pointings: Numbering | None = None,
    most_bytes: float | None = None,
) -> Visibilities:
    """All selected visibilities, in one pass over the Measurement Sets.

    Args:
        selections: what `measurement_set.selections` returned.
        frame: of the image.
        directory: for files, if memory does not suffice.
        smearing: average in time and frequency as far as this bound on a point source's error allows; 0 does not.
        field_radius: radians from the centre within which that bound holds.
        progress: show a progress bar.
        origins: numbers the origins of the visibilities, which are then told; not of averages.
        outside: also those in no channel of a cube, with channel -1: a density of weights for all channels counts them.
        pointings: numbers the pointings of the visibilities, which are then told; not of averages.
        most_bytes: that are kept in memory; `SHARE_OF_MEMORY` of what is free by default.

    Raises:
        ValueError: a selection selects nothing, or origins of averages are asked for.
    """
    if smearing and (origins is not None or pointings is not None):
        raise ValueError(f"smearing={smearing} averages visibilities of several origins; use 0 to tell them apart")
    most_bytes = SHARE_OF_MEMORY * free_memory() if most_bytes is None else most_bytes
    store, used = VisibilityStore(directory, most_bytes), 0
    inside = None if outside or not isinstance(frame.channels, ImageChannels) else frame.channels
    for selection in selections:
        if smearing and frame.channels is None:
            planes = (to_image(block, selection.vis, frame) for block in blocks(selection, progress))
            for plane in joined(planes):
                averages = averaged(plane, field_radius, smearing)
                used += int(averages.count.sum())
                store.add(_of_samples(averages, plane.hands))
        else:
            for block in blocks(selection, progress, inside):
                store.add(samples(block, selection.vis, frame, origins, pointings))
    visibilities = store.visibilities()
    if used:
        casalog.post(f"{used} visibilities are averaged to {visibilities.size} with smearing={smearing:g}", "INFO")
    return visibilities


def samples(
    block: Block,
    vis: str,
    frame: ImageFrame,
    origins: Numbering | None = None,
    pointings: Numbering | None = None,
) -> Visibilities:
    """The samples of a Block that are not flagged and finite."""

    def numbered(numbering: Numbering | None) -> NDArray[np.uint16] | None:
        return None if numbering is None else np.broadcast_to(numbering.of(block, vis), used.shape)[used]

    plane = to_image(block, vis, frame)
    used = plane.weight > 0
    channel = np.zeros(block.frequency.size, int)
    if frame.channels is not None:
        channel = frame.channels.of(block.frequency)
    uvw = plane.uvw.T * (plane.frequency[:, None, None] / SPEED_OF_LIGHT)
    return Visibilities(
        uvw[used],
        plane.visibility[used].astype(np.complex64),
        plane.weight[used].astype(np.float32),
        np.repeat(channel, np.count_nonzero(used, axis=1)).astype(np.int32),
        len(block.visibility),
        numbered(origins),
        numbered(pointings),
    )


def to_image(block: Block, vis: str, frame: ImageFrame) -> Plane:
    """The Stokes I samples of a Block as the image sees them; weight 0 where they are flagged or not finite.

    Baselines are along the image's axes, and so long that over the observed wavelength they give the phase in the
    image's frequency frame.
    """
    plane = stokes_i(block)
    uvw, phase = baselines(block, vis, frame)
    visibility = plane.visibility * phase
    sound = np.isfinite(visibility) & np.isfinite(plane.weight) & np.isfinite(uvw).all(axis=0)
    return replace(plane, uvw=uvw, visibility=np.where(sound, visibility, 0), weight=np.where(sound, plane.weight, 0))


def baselines(
    block: Block, vis: str, frame: ImageFrame
) -> tuple[NDArray[np.float64], NDArray[np.complex128] | NDArray[np.float64]]:
    r"""Baselines (3, row), metres, as in `to_image`, and the factor (channel, row) that phases to the image's centre.

    The visibility of a direction s is $e^{2\pi i b\cdot(s - s_0)}$: moving the phase centre multiplies it by
    $e^{2\pi i b\cdot(s_{old} - s_{new})}$, with the $w = b\cdot s_0$ of either.
    """
    field = block.streams[FIELD_ID]
    scale = lsrk_over_observed(vis, block.frame, block.time, field) if frame.lsrk else np.ones(field.size)
    uvw = turned(block.uvw, block.time, field, vis, frame)
    path = (block.uvw[2] - uvw[2]) * scale
    wavenumber = block.frequency[:, None] / SPEED_OF_LIGHT
    phase = np.exp(2j * np.pi * path * wavenumber) if path.any() else np.ones((block.frequency.size, field.size))
    return uvw * scale, phase


def _of_samples(averages: Samples, hands: int) -> Visibilities:
    return Visibilities(
        np.ascontiguousarray(averages.uvw.T),
        averages.visibility.astype(np.complex64),
        averages.weight.astype(np.float32),
        np.zeros(averages.weight.size, np.int32),
        hands,
    )


def chunks(size: int, most: int = CHUNK) -> Iterator[slice]:
    """Parts of about equal length."""
    count = max(1, -(-size // most))
    yield from (slice(size * i // count, size * (i + 1) // count) for i in range(count))


def _bytes(piece: Visibilities) -> int:
    return sum(getattr(piece, name).nbytes for name in columns(piece))


def _spectral_window(vis: str, row: int) -> int:
    with open_table(vis) as main:
        description = int(main.getcell("DATA_DESC_ID", row))
    with open_table(f"{vis}/DATA_DESCRIPTION") as tb:
        return int(tb.getcell("SPECTRAL_WINDOW_ID", description))


def free_memory() -> float:
    """Bytes."""
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
