"""Read Measurement Sets: what is selected, and what one pass over it finds.

What a sample is made of, by `stokes` (and alike for RR and LL):

| `stokes` | visibility | weight | needs |
| --- | --- | --- | --- |
| I | (XX + YY)/2 | w_XX + w_YY | both |
| pseudoI | as I; where one hand alone is good, that one | as I; that of the good hand | either |
| XX | XX | w_XX | XX |

A hand is good where it is unflagged and has positive weight. CASA's imager has one more condition for all but pseudoI:
every correlation must be unflagged, cross-hands and the other parallel hand included. What it images is counted so
(`Selection.imager`). It also gives every hand the mean weight of both, flagged or not, and takes no notice of steps in
a selection of channels such as '0:0~63^2'.

Planes that are not total intensity (Q, IQUV, XXYY) are counted as I. Autocorrelations and cross-hands are not read.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from casatools import ms, table
from numpy.typing import NDArray
from tqdm import tqdm

from casa_ml_tasks.data.image_channels import ImageChannels

SPEED_OF_LIGHT = 299_792_458.0  # m/s
BLOCK = 2_000_000  # visibilities (correlations x channels x rows) in memory at once

COLUMNS = {"data": "DATA", "corrected": "CORRECTED_DATA"}
PARALLEL_HANDS = {1: "I", 5: "RR", 8: "LL", 9: "XX", 12: "YY"}  # casacore's Stokes::StokesTypes
#: tclean's `stokes` that are an intensity of one plane; the hands are such only without polarisation.
TOTAL_INTENSITY = ("I", "pseudoI", "XX", "YY", "RR", "LL")
MSSELECT = {
    "field": "field",
    "spw": "spw",
    "timerange": "time",
    "uvrange": "uvdist",
    "antenna": "baseline",
    "scan": "scan",
    "observation": "observation",
    "intent": "scanintent",
}
FRAMES = ("REST", "LSRK", "LSRD", "BARY", "GEO", "TOPO", "GALACTO", "LGROUP", "CMB")  # casacore's MFrequency::Types
STREAMS = ("ANTENNA1", "ANTENNA2", "FEED1", "FEED2", "FIELD_ID", "ARRAY_ID", "OBSERVATION_ID")


@dataclass(frozen=True)
class Selection:
    """One Measurement Set, tclean's selection strings, and what is read of what they select.

    Attributes:
        datacolumn: "data" or "corrected".
        stokes: what a sample is made of: I, pseudoI or a hand such as XX.
        imager: that images the samples; CASA's drops more of them, as this module says.
        fallback: whether the column is read in the place of another, which was asked for and does not exist.
        fields: FIELD_IDs whose rows are read, of those that the strings select; None for all.
        rows: first and last + 1 of the rows that are read, of those of these fields; None for all.
    """

    vis: str
    field: str = ""
    spw: str = ""
    timerange: str = ""
    uvrange: str = ""
    antenna: str = ""
    scan: str = ""
    observation: str = ""
    intent: str = ""
    datacolumn: str = "data"
    fallback: bool = False
    stokes: str = "I"
    imager: Literal["native", "casa"] = "native"
    fields: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None

    def given(self) -> dict[str, str]:
        """The selection parameters that are not empty."""
        return {name: value for name in MSSELECT if (value := getattr(self, name))}


@dataclass(frozen=True)
class Rows:
    """Some rows of one data description: when and with which antennas they were observed."""

    frequency: NDArray[np.float64]  # (channel,), of the selected channels, Hz
    row: NDArray[np.integer]  # (row,), numbers in the Measurement Set
    time: NDArray[np.float64]  # (row,), seconds
    streams: NDArray[np.integer]  # (key, row): STREAMS, what neighbouring integrations share
    hands: tuple[int, ...]  # numbers of the parallel hands among the correlations


@dataclass(frozen=True)
class Block(Rows):
    """Some rows of one data description: cross-correlations, parallel hands, selected channels."""

    visibility: NDArray[np.complexfloating]  # (hand, channel, row), Jy
    weight: NDArray[np.floating]  # (hand, channel, row), nominal, Jy^-2
    flag: NDArray[np.bool_]  # (hand, channel, row)
    uvw: NDArray[np.float64]  # (3, row), metres
    frame: str  # of the frequency, for instance TOPO
    channel: NDArray[np.integer]  # (channel,), numbers in the spectral window
    one_hand_suffices: bool = False  # for a sample; else it needs all

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """(channel, row), of samples."""
        spoilt = np.all if self.one_hand_suffices else np.any
        return np.asarray(spoilt(self.flag, axis=0))


def blocks(selection: Selection, progress: bool = False, channels: ImageChannels | None = None) -> Iterator[Block]:
    """The selected visibilities, some rows at a time so that memory stays bounded.

    Args:
        selection: of one Measurement Set.
        progress: show a progress bar.
        channels: of a cube; channels of the data that lie outside are left out.

    Raises:
        ValueError: the selection selects nothing.
    """
    for part, described, mask, numbers, start in _pieces(selection, progress, channels):
        yield _read(part, selection, described, mask, numbers, start)


def rows(selection: Selection, channels: ImageChannels | None = None) -> Iterator[Rows]:
    """The rows that `blocks` gives of the same arguments, without their visibilities.

    Raises:
        ValueError: the selection selects nothing.
    """
    for part, described, mask, numbers, start in _pieces(selection, False, channels):
        yield _rows(part, described, mask, numbers, start)


def count_rows(selection: Selection) -> int:
    """Return how many rows are selected.

    Raises:
        ValueError: none is.
    """
    return int(_selected(selection)[0].size)


def count_rows_of_fields(selection: Selection) -> dict[int, int]:
    """Return how many rows of each FIELD_ID are selected.

    Raises:
        ValueError: none is.
    """
    with open_table(selection.vis) as main:
        found = np.unique(main.getcol("FIELD_ID")[_selected(selection)[0]], return_counts=True)
    return dict(zip(*(each.tolist() for each in found), strict=True))


@dataclass(frozen=True)
class Window:
    """The selected channels of a spectral window, in the order of the data."""

    frequency: NDArray[np.float64]  # (channel,), Hz
    width: NDArray[np.float64]  # (channel,), Hz, positive
    recorded: int  # channels of the window, selected or not
    rows: int  # selected


def windows(selection: Selection) -> list[Window]:
    """What of the spectral windows is selected.

    Raises:
        ValueError: the selection selects nothing.
    """
    rows, ranges = _selected(selection)
    with open_table(selection.vis) as main:
        numbers, counts = np.unique(main.getcol("DATA_DESC_ID")[rows], return_counts=True)
    found = []
    for number, count in zip(numbers, counts, strict=True):
        described = _describe(selection, int(number))
        mask = _channel_mask(selection, described, ranges)
        found.append(Window(described.frequency[mask], described.width[mask], mask.size, int(count)))
    return found


def samples(
    block: Block,
) -> tuple[NDArray[np.complexfloating], NDArray[np.floating], NDArray[np.bool_]]:
    """What a Block's samples are, as this module says.

    Returns:
        Visibilities, (channel, row), Jy; their weights, (channel, row), Jy^-2, 0 where there is no sample; and which
        hands are in them, (hand, channel, row). A visibility need not be finite.
    """
    good = ~block.flag & (block.weight > 0)
    if block.one_hand_suffices and not good.all():
        count = np.maximum(np.count_nonzero(good, axis=0), 1)
        visibility = np.where(good, block.visibility, 0).sum(axis=0) / count
        return visibility, np.where(good, block.weight, 0).sum(axis=0, dtype=np.float64), good
    good &= good.all(axis=0)
    weight = np.where(good[0], block.weight.sum(axis=0, dtype=np.float64), 0)
    return block.visibility.mean(axis=0), weight, good


@contextmanager
def open_table(path: str) -> Iterator[Any]:
    """The casatools table at `path`, closed again whatever happens."""
    tb = table()
    try:
        tb.open(path)
    except RuntimeError as error:
        raise ValueError(
            f"'{path}' cannot be read as a CASA table ({error}); is the Measurement Set complete?"
        ) from error
    try:
        yield tb
    finally:
        tb.close()


def _selected(selection: Selection) -> tuple[NDArray[np.integer], dict[int, NDArray[np.integer]]]:
    """Selected rows of MAIN, and per spectral window its (first, last, step) of selected channels."""
    found = _msselect(selection.vis, selection.given())
    if found is None:
        guilty = {n: v for n, v in selection.given().items() if _msselect(selection.vis, {n: v}) is None}
        named = ", ".join(f"{name}='{value}'" for name, value in (guilty or selection.given()).items())
        together = "" if guilty else " together"
        raise ValueError(f"{named}{together} selects nothing in vis='{selection.vis}'; listobs shows what it holds")
    rows, ranges = found
    if selection.fields is not None:
        with open_table(selection.vis) as main:
            rows = rows[np.isin(main.getcol("FIELD_ID")[rows], selection.fields)]
    return rows if selection.rows is None else rows[slice(*selection.rows)], ranges


def _msselect(
    path: str, strings: Mapping[str, str]
) -> tuple[NDArray[np.integer], dict[int, NDArray[np.integer]]] | None:
    tool = ms()
    try:
        tool.open(path)
        if strings and not tool.msselect({MSSELECT[name]: value for name, value in strings.items()}):
            return None
        rows = np.asarray(tool.range(["rows"]).get("rows", []))
        ranges = np.asarray(tool.msselectedindices()["channel"]).reshape(-1, 4) if strings else np.empty((0, 4), int)
    except RuntimeError:
        return None  # msselect raises or returns False, by the kind of selection that fails
    finally:
        tool.done()
    return (rows, {int(spw): ranges[ranges[:, 0] == spw, 1:] for spw in ranges[:, 0]}) if rows.size else None


@dataclass(frozen=True)
class _Description:
    """A data description: a spectral window and its polarizations."""

    spw: int
    frequency: NDArray[np.float64]  # (channel,), Hz
    width: NDArray[np.float64]  # (channel,), Hz, positive
    frame: str  # of the frequency
    hands: list[int]  # indices of the parallel hands that samples are made of


def _describe(selection: Selection, description: int) -> _Description:
    path, stokes = selection.vis, selection.stokes
    with open_table(f"{path}/DATA_DESCRIPTION") as tb:
        spw = int(tb.getcell("SPECTRAL_WINDOW_ID", description))
        polarization = int(tb.getcell("POLARIZATION_ID", description))
    with open_table(f"{path}/SPECTRAL_WINDOW") as tb:
        frequency = tb.getcell("CHAN_FREQ", spw)
        width = np.abs(tb.getcell("CHAN_WIDTH", spw))
        frame = int(tb.getcell("MEAS_FREQ_REF", spw))
    with open_table(f"{path}/POLARIZATION") as tb:
        types = tb.getcell("CORR_TYPE", polarization)
    wanted = (stokes,) if stokes in PARALLEL_HANDS.values() and stokes != "I" else tuple(PARALLEL_HANDS.values())
    hands = [i for i, kind in enumerate(types) if PARALLEL_HANDS.get(int(kind)) in wanted]
    if not hands:
        missing = f"no {stokes}" if wanted == (stokes,) else "no parallel hands (XX, YY, RR, LL)"
        raise ValueError(f"vis='{path}' has {missing} in spw {spw}; select another with spw")
    return _Description(spw, frequency, width, FRAMES[frame] if frame in range(len(FRAMES)) else "TOPO", hands)


def _channel_mask(
    selection: Selection, described: _Description, ranges: Mapping[int, NDArray[np.integer]]
) -> NDArray[np.bool_]:
    """(channel,): True where selected; `ranges` has (range, 3) of first, last and step for windows with a selection."""
    if described.spw not in ranges:
        return np.ones(described.frequency.size, bool)
    mask = np.zeros(described.frequency.size, bool)
    for first, last, step in ranges[described.spw]:
        mask[first : last + 1 : max(step, 1) if selection.imager == "native" else 1] = True
    return mask


def _has_weight_spectrum(part: Any, shape: tuple[int, ...]) -> bool:
    column = "WEIGHT_SPECTRUM"
    return (
        column in part.colnames()
        and part.iscelldefined(column, 0)
        and tuple(part.getcell(column, 0).shape) == tuple(shape)
    )


def _pieces(
    selection: Selection, progress: bool, channels: ImageChannels | None
) -> Iterator[tuple[Any, _Description, NDArray[np.bool_], NDArray[np.integer], int]]:
    """The arguments of `_rows` for all that is selected, piece by piece."""
    rows, ranges = _selected(selection)
    with (
        open_table(selection.vis) as main,
        tqdm(desc="reading", total=rows.size, unit=" rows", leave=False, disable=None if progress else True) as bar,
    ):
        descriptions = main.getcol("DATA_DESC_ID")[rows]
        for description in np.unique(descriptions):
            described = _describe(selection, int(description))
            mask = _channel_mask(selection, described, ranges)
            if channels is not None:
                mask &= channels.of(described.frequency) >= 0
            numbers = rows[descriptions == description]
            if not mask.any():
                bar.update(numbers.size)
                continue
            with closing(main.selectrows(numbers)) as part:
                step = max(1, BLOCK // part.getcell(COLUMNS[selection.datacolumn], 0).size)
                for start in range(0, part.nrows(), step):
                    yield part, described, mask, numbers[start : start + step], start
                    bar.update(min(step, part.nrows() - start))


def _rows(
    part: Any, described: _Description, mask: NDArray[np.bool_], numbers: NDArray[np.integer], start: int
) -> Rows:
    """The rows of a table of one data description from `start` on; `numbers` are theirs in the Measurement Set."""
    streams = np.array([part.getcol(name, start, numbers.size) for name in STREAMS])
    cross = streams[STREAMS.index("ANTENNA1")] != streams[STREAMS.index("ANTENNA2")]
    time = part.getcol("TIME", start, numbers.size)
    return Rows(described.frequency[mask], numbers[cross], time[cross], streams[:, cross], tuple(described.hands))


def _read(
    part: Any,
    selection: Selection,
    described: _Description,
    mask: NDArray[np.bool_],
    numbers: NDArray[np.integer],
    start: int,
) -> Block:
    """The same with their visibilities; arguments as those of `_rows`."""
    hands, column = described.hands, COLUMNS[selection.datacolumn]
    one_hand_suffices = selection.stokes == "pseudoI"
    any_flag_spoils = selection.imager == "casa" and not one_hand_suffices

    def get(name: str) -> NDArray[Any]:
        return part.getcol(name, start, numbers.size)

    cross = get("ANTENNA1") != get("ANTENNA2")

    def chosen(name: str, every: bool = False) -> NDArray[Any]:
        cube = get(name)
        for axis, keep in ((0, np.isin(np.arange(len(cube)), hands) | every), (1, mask), (2, cross)):
            if not keep.all():  # each selection is a copy of everything
                cube = np.compress(keep, cube, axis)
        return cube

    visibility = chosen(column)
    if _has_weight_spectrum(part, part.getcell(column, 0).shape):
        weight = chosen("WEIGHT_SPECTRUM")
    else:
        weight = np.broadcast_to(get("WEIGHT")[hands][:, None, cross], visibility.shape)
    flag = chosen("FLAG", every=True).any(axis=0) if any_flag_spoils else chosen("FLAG")
    return Block(
        **vars(_rows(part, described, mask, numbers, start)),
        visibility=visibility,
        weight=weight,
        flag=np.broadcast_to(flag, visibility.shape) | get("FLAG_ROW")[cross],
        uvw=get("UVW")[:, cross],
        frame=described.frame,
        channel=np.flatnonzero(mask),
        one_hand_suffices=one_hand_suffices,
    )
