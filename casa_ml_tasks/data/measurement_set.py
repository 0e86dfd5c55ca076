"""Read Measurement Sets: what is selected, and what one pass over it finds.

A Stokes I sample is V_I = (XX + YY)/2 (or of RR and LL) with the weight w_XX + w_YY, as tclean grids it; it needs both
parallel hands unflagged and with positive weight. Autocorrelations and cross-hands are not read.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from casatasks import casalog
from casatools import ms, table
from numpy.typing import NDArray
from tqdm import tqdm

from casa_ml_tasks.data import noise_scale

SPEED_OF_LIGHT = 299_792_458.0  # m/s
BLOCK = 2_000_000  # visibilities (correlations x channels x rows) in memory at once
UNLIKE = 1.5  # ratio of the noise scales of two Measurement Sets that is worth a warning

COLUMNS = {"data": "DATA", "corrected": "CORRECTED_DATA"}
PARALLEL_HANDS = {1: "I", 5: "RR", 8: "LL", 9: "XX", 12: "YY"}  # casacore's Stokes::StokesTypes
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
    """One Measurement Set, tclean's selection strings, and the data column: "data" or "corrected"."""

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

    def given(self) -> dict[str, str]:
        """The selection parameters that are not empty."""
        return {name: value for name in MSSELECT if (value := getattr(self, name))}


@dataclass(frozen=True)
class Survey:
    """What one pass over the selected visibilities found, all Measurement Sets together."""

    visibilities: int  # Stokes I samples: selected, unflagged, of positive weight
    flagged_fraction: float  # share of the selected samples lost to FLAG, FLAG_ROW or zero weight
    longest_baseline: float  # wavelengths
    highest_frequency: float  # Hz
    noise_scale: float  # true sigma / nominal sigma
    noise_scale_method: str  # the differences it was measured from
    sum_of_weights: float  # nominal, Jy^-2
    weighted_power: float  # sum of weight * |V_I|^2, dimensionless: chi^2 of an empty sky
    noise_scale_per_ms: tuple[float, ...]
    digest: int = 0  # of the samples, their weights and baselines


@dataclass(frozen=True)
class Block:
    """Some rows of one data description: cross-correlations, parallel hands, selected channels."""

    visibility: NDArray[np.complexfloating]  # (hand, channel, row), Jy
    weight: NDArray[np.floating]  # (hand, channel, row), nominal, Jy^-2
    flag: NDArray[np.bool_]  # (channel, row), True where either hand is flagged
    uvw: NDArray[np.float64]  # (3, row), metres
    frequency: NDArray[np.float64]  # (channel,), Hz
    frame: str  # of the frequency, for instance TOPO
    channel: NDArray[np.integer]  # (channel,), numbers in the spectral window
    hands: tuple[int, ...]  # numbers of the parallel hands among the correlations
    row: NDArray[np.integer]  # (row,), numbers in the Measurement Set
    time: NDArray[np.float64]  # (row,), seconds
    streams: NDArray[np.integer]  # (key, row): STREAMS, what neighbouring integrations share


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
        parameters: tclean's `vis`, `datacolumn` and selection parameters, which act whatever `selectdata` says.

    Raises:
        ValueError: something in `vis` is no readable Measurement Set, a column is missing, or the list of a selection
            parameter is not as long as `vis`.
    """
    paths = _as_list(parameters.get("vis", ""))
    if not any(paths):
        raise ValueError("vis='' names no Measurement Set; give its path, or a list of paths")
    strings = {name: _one_per_ms(name, parameters.get(name, ""), len(paths)) for name in MSSELECT}
    return [
        Selection(
            vis=path,
            datacolumn=_data_column(path, parameters.get("datacolumn", "corrected")),
            **{name: values[i] for name, values in strings.items()},
        )
        for i, path in enumerate(paths)
    ]


def survey(selections: Sequence[Selection], progress: bool = False) -> Survey:
    """Pass once over all selected visibilities: check them, count them, and measure their noise.

    The noise scale of several Measurement Sets is the one that makes the chi^2 of all noise together right.

    Args:
        selections: what `selections()` returned.
        progress: show a progress bar.

    Raises:
        ValueError: a selection selects nothing, everything is flagged, all weights are zero, or unflagged
            visibilities or weights are not finite.
    """
    found, scales = zip(*(_survey_one(selection, progress) for selection in selections), strict=True)
    total = sum(found, _Findings())
    used = np.array([each.used for each in found])
    per_ms = tuple(scale.value for scale in scales)
    _warn_of_noise_scales(selections, scales)
    return Survey(
        visibilities=total.used,
        flagged_fraction=1 - total.used / total.samples,
        longest_baseline=total.longest_baseline,
        highest_frequency=total.highest_frequency,
        noise_scale=float(np.sqrt(np.average(np.square(per_ms), weights=used))),
        noise_scale_method=" and ".join(sorted({scale.method for scale in scales})),
        sum_of_weights=total.sum_of_weights,
        weighted_power=total.weighted_power,
        noise_scale_per_ms=per_ms,
        digest=total.digest,
    )


def blocks(selection: Selection, progress: bool = False) -> Iterator[Block]:
    """The selected visibilities, some rows at a time so that memory stays bounded.

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
            described = _describe(selection.vis, int(description))
            mask = _channel_mask(described.frequency.size, ranges.get(described.spw))
            numbers = rows[descriptions == description]
            with closing(main.selectrows(numbers)) as part:
                step = max(1, BLOCK // part.getcell(column, 0).size)
                for start in range(0, part.nrows(), step):
                    yield _read(part, column, described, mask, numbers[start : start + step], start)
                    bar.update(min(step, part.nrows() - start))


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


def _survey_one(selection: Selection, progress: bool) -> tuple[_Findings, noise_scale.NoiseScale]:
    hands, neighbours = noise_scale.Thinned(), noise_scale.Thinned()
    found = _Findings()
    for block in blocks(selection, progress):
        usable = _usable(block)
        found += _findings(block, usable)
        hands.add(_between_hands(block, usable))
        neighbours.add(_between_neighbours(block, usable))
    _check_findings(selection, found)
    return found, noise_scale.smallest(hands.values, neighbours.values)


def _usable(block: Block) -> NDArray[np.bool_]:
    """(channel, row): every hand unflagged, finite and of positive, finite weight."""
    sound = np.isfinite(block.visibility) & np.isfinite(block.weight) & (block.weight > 0)
    return ~block.flag & sound.all(axis=0)


def _findings(block: Block, usable: NDArray[np.bool_]) -> _Findings:
    stokes_i = block.visibility.mean(axis=0)[usable]
    weight = block.weight.sum(axis=0, dtype=np.float64)[usable]
    wavelengths = np.outer(block.frequency / SPEED_OF_LIGHT, np.hypot(*block.uvw[:2]))
    bad_weight = (~np.isfinite(block.weight) | (block.weight < 0)).any(axis=0) & ~block.flag
    not_finite = (~np.isfinite(block.visibility) & (block.weight > 0)).any(axis=0) & ~block.flag
    return _Findings(
        samples=usable.size,
        unflagged=int(np.count_nonzero(~block.flag)),
        used=stokes_i.size,
        not_finite=int(np.count_nonzero(not_finite)),
        bad_weights=int(np.count_nonzero(bad_weight)),
        longest_baseline=float(wavelengths[usable].max(initial=0)),
        highest_frequency=float(block.frequency[usable.any(axis=1)].max(initial=0)),
        sum_of_weights=float(weight.sum()),
        weighted_power=float(np.sum(weight * np.abs(stokes_i) ** 2)),
        digest=_digest(stokes_i, weight, wavelengths[usable]),
    )


def _digest(*arrays: NDArray[Any]) -> int:
    """A number that other visibilities do not have; those of several Blocks are added."""
    value = 0
    for array in arrays:
        value = crc32(array.tobytes(), value)
    return value


def _between_hands(block: Block, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    if len(block.visibility) < 2:
        return np.empty(0)
    (first, second), (first_weight, second_weight) = block.visibility[:, usable], block.weight[:, usable]
    return noise_scale.normalised_differences(first, second, 1 / first_weight, 1 / second_weight)


def _between_neighbours(block: Block, usable: NDArray[np.bool_]) -> NDArray[np.float64]:
    earlier, later = noise_scale.neighbouring_integrations(block.streams, block.time)
    both = usable[:, earlier] & usable[:, later]
    stokes_i = block.visibility.mean(axis=0)
    variance = np.sum(1 / np.where(usable, block.weight, 1), axis=0) / len(block.weight) ** 2
    return noise_scale.normalised_differences(
        stokes_i[:, earlier][both], stokes_i[:, later][both], variance[:, earlier][both], variance[:, later][both]
    )


def _check_findings(selection: Selection, found: _Findings) -> None:
    vis = f"vis='{selection.vis}'"
    if found.samples == 0:
        raise ValueError(f"{vis} holds only autocorrelations in this selection; select cross-correlations")
    if found.unflagged == 0:
        raise ValueError(f"{vis} is entirely flagged in this selection; select other data or restore its flags")
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
        casalog.post(f"vis='{path}' has no CORRECTED_DATA; its DATA are read instead", "WARN")
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
    frame: str  # of the frequency
    hands: list[int]  # indices of the parallel hands


def _describe(path: str, description: int) -> _Description:
    with open_table(f"{path}/DATA_DESCRIPTION") as tb:
        spw = int(tb.getcell("SPECTRAL_WINDOW_ID", description))
        polarization = int(tb.getcell("POLARIZATION_ID", description))
    with open_table(f"{path}/SPECTRAL_WINDOW") as tb:
        frequency = tb.getcell("CHAN_FREQ", spw)
        frame = int(tb.getcell("MEAS_FREQ_REF", spw))
    with open_table(f"{path}/POLARIZATION") as tb:
        types = tb.getcell("CORR_TYPE", polarization)
    hands = [i for i, kind in enumerate(types) if int(kind) in PARALLEL_HANDS]
    if not hands:
        raise ValueError(f"vis='{path}' has no parallel hands (XX, YY, RR, LL) in spw {spw}; select another with spw")
    return _Description(spw, frequency, FRAMES[frame] if frame in range(len(FRAMES)) else "TOPO", hands)


def _channel_mask(count: int, ranges: NDArray[np.integer] | None) -> NDArray[np.bool_]:
    """(channel,): True where selected; `ranges` is (range, 3) of first, last and step, None for all."""
    if ranges is None:
        return np.ones(count, bool)
    mask = np.zeros(count, bool)
    for first, last, step in ranges:
        mask[first : last + 1 : max(step, 1)] = True
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
    column: str,
    described: _Description,
    mask: NDArray[np.bool_],
    numbers: NDArray[np.integer],
    start: int,
) -> Block:
    """The rows of a table of one data description from `start` on; `numbers` are theirs in the Measurement Set."""
    hands = described.hands

    def get(name: str) -> NDArray[Any]:
        return part.getcol(name, start, numbers.size)

    cross = get("ANTENNA1") != get("ANTENNA2")

    def chosen(name: str) -> NDArray[Any]:
        cube = get(name)
        for axis, keep in ((0, np.isin(np.arange(len(cube)), hands)), (1, mask), (2, cross)):
            if not keep.all():  # each selection is a copy of everything
                cube = np.compress(keep, cube, axis)
        return cube

    visibility = chosen(column)
    if _has_weight_spectrum(part, part.getcell(column, 0).shape):
        weight = chosen("WEIGHT_SPECTRUM")
    else:
        weight = np.broadcast_to(get("WEIGHT")[hands][:, None, cross], visibility.shape)
    return Block(
        visibility=visibility,
        weight=weight,
        flag=chosen("FLAG").any(axis=0) | get("FLAG_ROW")[cross],
        uvw=get("UVW")[:, cross],
        frequency=described.frequency[mask],
        frame=described.frame,
        channel=np.flatnonzero(mask),
        hands=tuple(hands),
        row=numbers[cross],
        time=get("TIME")[cross],
        streams=np.array([get(name)[cross] for name in STREAMS]),
    )
