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

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
from casatasks import casalog
from casatools import ms, table
from numpy.typing import NDArray
from tqdm import tqdm

from casa_ml_tasks.data import noise_scale
from casa_ml_tasks.data.image_channels import ImageChannels

SPEED_OF_LIGHT = 299_792_458.0  # m/s
BLOCK = 2_000_000  # visibilities (correlations x channels x rows) in memory at once
UNLIKE = 1.5  # ratio of the noise scales of two Measurement Sets that is worth a warning

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

    def given(self) -> dict[str, str]:
        """The selection parameters that are not empty."""
        return {name: value for name in MSSELECT if (value := getattr(self, name))}


@dataclass(frozen=True)
class Survey:
    """What one pass over the selected visibilities found, all Measurement Sets together."""

    visibilities: int  # samples: selected, unflagged, of positive weight
    flagged_fraction: float  # share of the selected samples lost to FLAG, FLAG_ROW or zero weight
    longest_baseline: float  # wavelengths
    highest_frequency: float  # Hz
    noise_scale: float  # true sigma / nominal sigma
    noise_scale_method: str  # the differences it was measured from
    sum_of_weights: float  # nominal, Jy^-2
    weighted_power: float  # sum of weight * |V|^2, dimensionless: chi^2 of an empty sky
    digest: int = 0  # of the samples, their weights and baselines


@dataclass(frozen=True)
class Block:
    """Some rows of one data description: cross-correlations, parallel hands, selected channels."""

    visibility: NDArray[np.complexfloating]  # (hand, channel, row), Jy
    weight: NDArray[np.floating]  # (hand, channel, row), nominal, Jy^-2
    flag: NDArray[np.bool_]  # (hand, channel, row)
    uvw: NDArray[np.float64]  # (3, row), metres
    frequency: NDArray[np.float64]  # (channel,), Hz
    frame: str  # of the frequency, for instance TOPO
    channel: NDArray[np.integer]  # (channel,), numbers in the spectral window
    hands: tuple[int, ...]  # numbers of the parallel hands among the correlations
    row: NDArray[np.integer]  # (row,), numbers in the Measurement Set
    time: NDArray[np.float64]  # (row,), seconds
    streams: NDArray[np.integer]  # (key, row): STREAMS, what neighbouring integrations share
    one_hand_suffices: bool = False  # for a sample; else it needs all

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """(channel, row), of samples."""
        spoilt = np.all if self.one_hand_suffices else np.any
        return np.asarray(spoilt(self.flag, axis=0))


@dataclass(frozen=True)
class _Findings:
    """What one Block, or one Measurement Set, adds to the Survey."""

    samples: int = 0
    used: int = 0
    not_finite: int = 0
    bad_weights: int = 0
    unflagged: int = 0
    longest_baseline: float = 0.0
    highest_frequency: float = 0.0
    sum_of_weights: float = 0.0
    weighted_power: float = 0.0
    digest: int = 0

    def __add__(self, other: "_Findings") -> "_Findings":
        def combine(name: str) -> Any:
            mine, theirs = getattr(self, name), getattr(other, name)
            return max(mine, theirs) if name in ("longest_baseline", "highest_frequency") else mine + theirs

        return _Findings(**{each.name: combine(each.name) for each in fields(self)})


def selections(parameters: Mapping[str, Any]) -> list[Selection]:
    """The Selection of each Measurement Set that the task's parameters name.

    Args:
        parameters: tclean's `vis`, `datacolumn`, `stokes`, `gridder` (all but 'native' are CASA's), and its selection
            parameters, which act whatever `selectdata` says.

    Raises:
        ValueError: something in `vis` is no readable Measurement Set, a column is missing, or the list of a selection
            parameter is not as long as `vis`.
    """
    paths = _as_list(parameters.get("vis", ""))
    if not any(paths):
        raise ValueError("vis='' names no Measurement Set; give its path, or a list of paths")
    strings = {name: _one_per_ms(name, parameters.get(name, ""), len(paths)) for name in MSSELECT}
    wanted = parameters.get("datacolumn", "corrected")
    columns = [_data_column(path, wanted) for path in paths]
    return [
        Selection(
            vis=path,
            datacolumn=column,
            fallback=column != wanted,
            stokes=stokes if (stokes := parameters.get("stokes", "I")) in TOTAL_INTENSITY else "I",
            imager="native" if parameters.get("gridder", "native") == "native" else "casa",
            **{name: values[i] for name, values in strings.items()},
        )
        for i, (path, column) in enumerate(zip(paths, columns, strict=True))
    ]


def survey(selections: Sequence[Selection], progress: bool = False, channels: ImageChannels | None = None) -> Survey:
    """Pass once over all selected visibilities: check them, count them, and measure their noise.

    A task calls this once a run, so what a user should know of the data is posted to the CASA log here. The noise scale
    of several Measurement Sets is the one that makes the chi^2 of all noise together right.

    Args:
        selections: what `selections()` returned.
        progress: show a progress bar.
        channels: of a cube; visibilities that lie outside are not counted, and the log says how many.

    Raises:
        ValueError: a selection selects nothing, or nothing in these channels; everything is flagged, all weights are
            zero, or unflagged visibilities or weights are not finite.
    """
    _warn_of_columns(selections)
    if channels is not None:
        selections = _within(selections, channels)
    found, scales = zip(*(_survey_one(selection, progress, channels) for selection in selections), strict=True)
    total = sum(found, _Findings())
    used = np.array([each.used for each in found])
    _warn_of_noise_scales(selections, scales)
    return Survey(
        visibilities=total.used,
        flagged_fraction=1 - total.used / total.samples,
        longest_baseline=total.longest_baseline,
        highest_frequency=total.highest_frequency,
        noise_scale=float(np.sqrt(np.average([scale.value**2 for scale in scales], weights=used))),
        noise_scale_method=" and ".join(sorted({scale.method for scale in scales})),
        sum_of_weights=total.sum_of_weights,
        weighted_power=total.weighted_power,
        digest=total.digest,
    )


def blocks(selection: Selection, progress: bool = False, channels: ImageChannels | None = None) -> Iterator[Block]:
    """The selected visibilities, some rows at a time so that memory stays bounded.

    Args:
        selection: one of what `selections()` returned.
        progress: show a progress bar.
        channels: of a cube; channels of the data that lie outside are left out.

    Raises:
        ValueError: the selection selects nothing.
    """
    rows, ranges = _selected(selection)
    column = COLUMNS[selection.datacolumn]
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
                step = max(1, BLOCK // part.getcell(column, 0).size)
                for start in range(0, part.nrows(), step):
                    yield _read(part, selection, described, mask, numbers[start : start + step], start)
                    bar.update(min(step, part.nrows() - start))


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


def check_measurement_set(path: str) -> None:
    """Raise ValueError, in one sentence, unless `path` is a Measurement Set with rows."""
    if not Path(path).exists():
        raise ValueError(f"vis='{path}' does not exist; give the path of a Measurement Set")
    if not (Path(path) / "table.dat").is_file():
        raise ValueError(f"vis='{path}' is not a Measurement Set; import it first, for example with importuvfits")
    with open_table(path) as main:
        if not {"UVW", "DATA_DESC_ID", "FLAG", "ANTENNA1"} <= set(main.colnames()):
            raise ValueError(f"vis='{path}' is a CASA table but not a Measurement Set; give the path of one")
        if main.nrows() == 0:
            raise ValueError(f"vis='{path}' has no rows; give a Measurement Set with data")
    for subtable in ("SPECTRAL_WINDOW", "DATA_DESCRIPTION", "POLARIZATION", "ANTENNA", "FIELD"):
        with open_table(f"{path}/{subtable}") as opened:
            if opened.nrows() == 0:
                raise ValueError(
                    f"vis='{path}' has no rows in its {subtable} table; the copy is damaged, fetch or import it anew"
                )


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


def _survey_one(
    selection: Selection, progress: bool, channels: ImageChannels | None
) -> tuple[_Findings, noise_scale.NoiseScale]:
    hands, neighbours = noise_scale.Thinned(), noise_scale.Thinned()
    found = _Findings()
    for block in blocks(selection, progress, channels):
        visibility, weight, good = samples(block)
        usable = (weight > 0) & np.isfinite(weight) & np.isfinite(visibility)
        found += _findings(block, visibility, weight, usable)
        hands.add(_between_hands(block, usable & good.all(axis=0)))
        neighbours.add(_between_neighbours(block, visibility, good, usable))
    _check_findings(selection, found)
    return found, noise_scale.smallest(hands.values, neighbours.values)


def _findings(
    block: Block,
    visibility: NDArray[np.complexfloating],
    weight: NDArray[np.floating],
    usable: NDArray[np.bool_],
) -> _Findings:
    visibility, weight = visibility[usable], weight[usable]
    wavelengths = np.outer(block.frequency / SPEED_OF_LIGHT, np.hypot(*block.uvw[:2]))
    unflagged = ~(block.flag | block.flagged)
    bad_weight = ((~np.isfinite(block.weight) | (block.weight < 0)) & unflagged).any(axis=0)
    not_finite = (~np.isfinite(block.visibility) & (block.weight > 0) & unflagged).any(axis=0)
    return _Findings(
        samples=usable.size,
        unflagged=int(np.count_nonzero(~block.flagged)),
        used=visibility.size,
        not_finite=int(np.count_nonzero(not_finite)),
        bad_weights=int(np.count_nonzero(bad_weight)),
        longest_baseline=float(wavelengths[usable].max(initial=0)),
        highest_frequency=float(block.frequency[usable.any(axis=1)].max(initial=0)),
        sum_of_weights=float(weight.sum()),
        weighted_power=float(np.sum(weight * np.abs(visibility) ** 2)),
        digest=_digest(visibility, weight, wavelengths[usable]),
    )


def _digest(*arrays: NDArray[Any]) -> int:
    """A number that other visibilities do not have; those of several Blocks are added."""
    value = 0
    for array in arrays:
        value = crc32(array.tobytes(), value)
    return value


def _between_hands(block: Block, both: NDArray[np.bool_]) -> NDArray[np.float64]:
    if len(block.visibility) < 2:
        return np.empty(0)
    (first, second), (first_weight, second_weight) = block.visibility[:, both], block.weight[:, both]
    return noise_scale.normalised_differences(first, second, 1 / first_weight, 1 / second_weight)


def _between_neighbours(
    block: Block, visibility: NDArray[np.complexfloating], good: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Of samples of the same hands: those of a polarised source differ."""
    earlier, later = noise_scale.neighbouring_integrations(block.streams, block.time)
    both = usable[:, earlier] & usable[:, later] & (good[..., earlier] == good[..., later]).all(axis=0)
    count = np.maximum(np.count_nonzero(good, axis=0), 1)
    variance = np.sum(good / np.where(good, block.weight, 1), axis=0) / count**2
    return noise_scale.normalised_differences(
        visibility[:, earlier][both], visibility[:, later][both], variance[:, earlier][both], variance[:, later][both]
    )


def _check_findings(selection: Selection, found: _Findings) -> None:
    vis = f"vis='{selection.vis}'"
    if found.samples == 0:
        raise ValueError(f"{vis} holds only autocorrelations in this selection; select cross-correlations")
    if found.unflagged == 0:
        raise ValueError(f"{vis} {_why_flagged(selection)}")
    if found.bad_weights:
        raise ValueError(
            f"{vis} holds {found.bad_weights} unflagged visibilities with infinite, NaN or negative WEIGHT; "
            "flag them with flagdata, or set the weights anew with statwt or initweights"
        )
    if found.not_finite:
        raise ValueError(
            f"{vis} holds {found.not_finite} unflagged visibilities that are NaN or infinite; "
            "flag them with flagdata(mode='clip')"
        )
    if found.used == 0:
        raise ValueError(
            f"{vis} has no unflagged visibility with WEIGHT > 0; set the weights with initweights or statwt"
        )


def _warn_of_columns(selections: Sequence[Selection]) -> None:
    for selection in selections:
        if selection.fallback:
            casalog.post(f"vis='{selection.vis}' has no CORRECTED_DATA; its DATA are read instead", "WARN")


def _why_flagged(selection: Selection) -> str:
    """What makes all samples flagged, and the remedy."""
    if selection.imager == "casa" and _has_unflagged(replace(selection, imager="native")):
        return (
            "has a flagged correlation in every sample of this selection, and CASA's imager drops such samples; use "
            "gridder='native', which images parallel hands whatever the flags of the others"
        )
    if selection.stokes != "pseudoI" and _has_unflagged(replace(selection, stokes="pseudoI")):
        return (
            f"has one polarisation flagged throughout this selection, and stokes='{selection.stokes}' needs it; use "
            "stokes='pseudoI', which images the other"
        )
    return "is entirely flagged in this selection; select other data or restore its flags"


def _has_unflagged(selection: Selection) -> bool:
    return any(not block.flagged.all() for block in blocks(selection))


def _within(selections: Sequence[Selection], channels: ImageChannels) -> list[Selection]:
    """Those that have data in the channels; the log says how many visibilities lie outside."""
    found = [windows(selection) for selection in selections]
    total = sum(each.rows * each.frequency.size for listed in found for each in listed)
    inside = [
        sum(each.rows * int(np.count_nonzero(channels.of(each.frequency) >= 0)) for each in listed) for listed in found
    ]
    extent = f"{channels.edges[0] / 1e9:.7g} to {channels.edges[-1] / 1e9:.7g} GHz"
    if not any(inside):
        raise ValueError(
            f"no selected channel of the data lies in those of the image, {extent}; change start, width or nchan, or "
            "select other data with spw"
        )
    if outside := total - sum(inside):
        casalog.post(f"{outside} of {total} visibilities lie outside the image's channels, {extent}: left out")
    return [selection for selection, count in zip(selections, inside, strict=True) if count]


def _warn_of_noise_scales(selections: Sequence[Selection], scales: Sequence[noise_scale.NoiseScale]) -> None:
    for selection, scale in zip(selections, scales, strict=True):
        if scale.method == noise_scale.WEIGHT_AS_IT_IS:
            casalog.post(
                f"vis='{selection.vis}' has neither two parallel hands nor neighbouring integrations to measure its "
                "noise from; WEIGHT is taken as it is, and noisescale can be given by hand",
                "WARN",
            )
    if max(scale.value for scale in scales) > UNLIKE * min(scale.value for scale in scales):
        listed = ", ".join(f"{each.vis}: {scale.value:.3g}" for each, scale in zip(selections, scales, strict=True))
        casalog.post(
            f"the Measurement Sets differ in their noise scale ({listed}), so one of them outweighs the others; "
            "rescale their weights with statwt",
            "WARN",
        )


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


def _as_list(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list | tuple | np.ndarray) else [str(value)]


def _one_per_ms(name: str, value: Any, count: int) -> list[str]:
    values = _as_list(value)
    if len(values) not in (1, count):
        raise ValueError(f"{name}={values} has {len(values)} values for {count} Measurement Sets; give 1 or {count}")
    return values if len(values) == count else values * count


def _data_column(path: str, wanted: str) -> str:
    """ "data" or "corrected": what is there of what is wanted, as tclean decides."""
    check_measurement_set(path)
    if wanted not in COLUMNS:
        raise ValueError(f"datacolumn='{wanted}' is unknown; use 'data' or 'corrected'")
    with open_table(path) as main:
        present = [name for name, column in COLUMNS.items() if column in main.colnames()]
    if wanted in present:
        return wanted
    if present == ["data"]:
        return "data"
    remedy = "use datacolumn='corrected'" if present else "give a Measurement Set with interferometer data"
    raise ValueError(f"datacolumn='{wanted}': vis='{path}' has no column {COLUMNS[wanted]}; {remedy}")


def _selected(selection: Selection) -> tuple[NDArray[np.integer], dict[int, NDArray[np.integer]]]:
    """Selected rows of MAIN, and per spectral window its (first, last, step) of selected channels."""
    found = _msselect(selection.vis, selection.given())
    if found is None:
        guilty = {n: v for n, v in selection.given().items() if _msselect(selection.vis, {n: v}) is None}
        named = ", ".join(f"{name}='{value}'" for name, value in (guilty or selection.given()).items())
        together = "" if guilty else " together"
        raise ValueError(f"{named}{together} selects nothing in vis='{selection.vis}'; listobs shows what it holds")
    return found


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


def _read(
    part: Any,
    selection: Selection,
    described: _Description,
    mask: NDArray[np.bool_],
    numbers: NDArray[np.integer],
    start: int,
) -> Block:
    """The rows of a table of one data description from `start` on; `numbers` are theirs in the Measurement Set."""
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
        visibility=visibility,
        weight=weight,
        flag=np.broadcast_to(flag, visibility.shape) | get("FLAG_ROW")[cross],
        uvw=get("UVW")[:, cross],
        frequency=described.frequency[mask],
        frame=described.frame,
        channel=np.flatnonzero(mask),
        hands=tuple(hands),
        row=numbers[cross],
        time=get("TIME")[cross],
        streams=np.array([get(name)[cross] for name in STREAMS]),
        one_hand_suffices=one_hand_suffices,
    )
