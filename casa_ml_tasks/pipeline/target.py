"""From a target of hif_makeimlist to the call of a task that images the same data on the same grid as tclean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

#: Parameters that the target alone decides: products would get other names, or mix data.
OF_THE_TARGET = ("vis", "imagename")
#: Of the target, where it says something and our default is another; the value goes to the parameter of the same name.
WHERE_GIVEN = ("uvrange", "reffreq", "restfreq")


class PipelineTarget(Protocol):
    """The pipeline's dictionary for one image, `CleanTarget` of hif_makeimlist."""

    def __getitem__(self, name: str, /) -> Any: ...


class MeasurementSet(Protocol):
    """The pipeline's domain object, as far as it is used here."""

    def get_original_intent(self, intent: str, /) -> Iterable[str]: ...


class ObservingRun(Protocol):
    """The pipeline's `context.observing_run`, as far as it is used here."""

    def get_ms(self, name: str) -> MeasurementSet: ...

    def get_real_spwsel(self, spwsel: list[str], vis: list[str]) -> Sequence[str | None]: ...


@dataclass(frozen=True)
class Identity:
    """Which image a target is; plain text, for names and for results that are pickled.

    Attributes:
        imagename: that the products begin with.
        source: name of the source.
        intent: of the pipeline, such as 'TARGET'.
        spw: virtual spectral windows, such as '16,18'.
        specmode: of the pipeline: mfs, cont, cube or repBW.
        stokes: planes.
        datatype: of the data that are imaged, such as 'REGCAL_CONTLINE_SCIENCE'.
        prefix: of image names, such as the member OUS.
        terms: Taylor terms; 0 where images are of channels.
    """

    imagename: str
    source: str
    intent: str
    spw: str
    specmode: str
    stokes: str
    datatype: str
    prefix: str
    terms: int = 0

    @property
    def sentence(self) -> str:
        """Short, for headings and messages."""
        return f"{self.source} ({self.intent}), spw {self.spw}, {self.specmode}"


def identity_of(target: PipelineTarget, task: str, stage: str) -> Identity:
    """Return which image a target is, with a name of our own: tclean's products of the same target stay.

    Args:
        target: of the pipeline.
        task: that images it.
        stage: the pipeline's `context.stage`, such as '7_0'.
    """
    heuristics = target["heuristics"]
    root = target["imagename"].replace("STAGENUMBER", stage).rpartition("/")[-1]
    return Identity(
        imagename=f"{root}.{target['stokes']}.{task}",
        source=heuristics.get_sourcename(target["vis"], target["field"], target["intent"]),
        intent=target["intent"],
        spw=target["spw"],
        specmode=target["specmode"],
        stokes=target["stokes"],
        datatype=target["datatype"] or "",
        prefix=heuristics.imagename_prefix,
        terms=target["nterms"] or 2 if target["deconvolver"] == "mtmfs" else 0,
    )


def call_of(target: PipelineTarget, identity: Identity, observing_run: ObservingRun) -> dict[str, Any]:
    """Return the parameters of our task, whose names and meaning are tclean's.

    Data and grid are those of the pipeline's tclean call. What steers CLEAN (masks, thresholds, weighting) is left to
    the defaults of the task, which need none.

    Raises:
        ValueError: no Measurement Set has data of the target.
    """
    heuristics = target["heuristics"]
    scans, indices = heuristics.get_scanidlist(target["vis"], target["field"], target["intent"])
    vis = [target["vis"][index] for index in indices]
    spw = observing_run.get_real_spwsel(_selection(target, vis), vis)
    used = [number for number, selected in enumerate(spw) if selected]
    if not used:
        raise ValueError(
            f"no Measurement Set of {target['vis']} has data of {identity.sentence}; check the target list"
        )
    antenna = target["antenna"]
    call = {
        "vis": [vis[number] for number in used],
        "field": target["field"],
        "spw": [spw[number] for number in used],
        "scan": [scans[number] for number in used],
        "antenna": [antenna[indices[number]] for number in used] if antenna else "",
        "intent": ",".join(sorted(observing_run.get_ms(vis[used[0]]).get_original_intent(target["intent"]))),
        "datacolumn": target["datacolumn"],
        "imagename": identity.imagename,
        "imsize": target["imsize"],
        "cell": target["cell"],
        "phasecenter": target["phasecenter"],
        "stokes": target["stokes"],
        "gridder": target["gridder"],
        "pblimit": target["pblimit"] or heuristics.pblimits(None, target["specmode"])[0],
        "pbcor": True,
        **{name: target[name] for name in WHERE_GIVEN if target[name]},
    }
    if identity.terms:
        call |= {"deconvolver": "mtmfs", "nterms": identity.terms}
    if heuristics.is_eph_obj(target["field"]):
        call["phasecenter"] = "TRACKFIELD"
    return call | _spectral(target, vis)


def _selection(target: PipelineTarget, vis: list[str]) -> list[str]:
    """Return virtual windows, with frequencies where continuum alone is imaged, for each Measurement Set."""
    if _is_cube(target):
        return [target["spw"]] * len(vis)
    names = ("phasecenter", "field", "intent", "spw", "specmode", "spwsel_lsrk")
    frequencies, *_ = target["heuristics"].calc_ms_frame_ranges(
        SimpleNamespace(vis=vis, **{name: target[name] for name in names})
    )
    return list(frequencies)


def _is_cube(target: PipelineTarget) -> bool:
    return target["specmode"] in ("cube", "repBW")


def _spectral(target: PipelineTarget, vis: list[str]) -> dict[str, Any]:
    """Return the channels of the image: one, or those that the pipeline's tclean has in a cube.

    Raises:
        ValueError: the Measurement Sets have no frequency in common.
    """
    if not _is_cube(target):
        return {"specmode": "mfs"}
    heuristics = target["heuristics"]
    moves = heuristics.is_eph_obj(target["field"])
    frame = "REST" if moves else "LSRK"
    lowest, highest, native = heuristics.freq_intersection(vis, target["field"], target["intent"], target["spw"], frame)
    if -1 in (lowest, highest):
        raise ValueError(f"spw {target['spw']} of {vis} has no frequency in common in {frame}; image them one by one")
    binned = target["nbin"] if (target["nbin"] or -1) > 0 else 1
    width = native * binned
    # tclean's start is the middle of a channel; the pipeline leaves out one channel at either edge.
    inside = round((highest - lowest) / width - 2)
    return {
        "specmode": "cubesource" if moves else "cube",
        "start": target["start"] or f"{(lowest + 1.5 * native) / 1e9:.10f}GHz",
        "width": target["width"] or f"{width / 1e6:.7f}MHz",
        "restoringbeam": "common",
        "nchan": inside if target["nchan"] in (None, -1) else target["nchan"],
        **({"interpolation": "nearest"} if binned == 2 else {}),
    }


def with_given(call: dict[str, Any], given: dict[str, Any], known: Iterable[str], stage: str) -> dict[str, Any]:
    """Return the call with parameters that the recipe gives.

    Args:
        call: of the target.
        given: by the recipe.
        known: parameters of the task.
        stage: its name, for the message.

    Raises:
        ValueError: one of them is no parameter of the task, or the target's.
    """
    for name in given:
        if name in OF_THE_TARGET:
            raise ValueError(f"parameters={{{name!r}: ...}} of {stage} is set by the target; leave it out")
        if name not in known:
            raise ValueError(f"parameters={{{name!r}: ...}} of {stage} is no parameter of its task; see its help")
    return {**call, **given}
