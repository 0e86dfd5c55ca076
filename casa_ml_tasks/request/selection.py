"""Which visibilities of which Measurement Sets are imaged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

from casa_ml_tasks.data.data_column import data_column
from casa_ml_tasks.data.measurement_set import MSSELECT, TOTAL_INTENSITY, Selection
from casa_ml_tasks.request.values import as_list, listed


@dataclass(frozen=True)
class DataSelection:
    """tclean's data selection, which acts whatever `selectdata` says.

    Attributes:
        vis: paths of the Measurement Sets.
        field, spw, timerange, uvrange, antenna, scan, observation, intent: a string for each of them, or one for all.
        datacolumn: 'data', or 'corrected', which falls back to 'data'.
        stokes: what a sample is made of: I, pseudoI or a hand such as XX.
        imager: which program images the samples; CASA's drops more of them (see `data.measurement_set`).

    Raises:
        ValueError: `vis` is empty, or a list of strings is not as long as `vis`.
    """

    vis: tuple[str, ...]
    field: tuple[str, ...] = ("",)
    spw: tuple[str, ...] = ("",)
    timerange: tuple[str, ...] = ("",)
    uvrange: tuple[str, ...] = ("",)
    antenna: tuple[str, ...] = ("",)
    scan: tuple[str, ...] = ("",)
    observation: tuple[str, ...] = ("",)
    intent: tuple[str, ...] = ("",)
    datacolumn: str = "corrected"
    stokes: str = "I"
    imager: Literal["native", "casa"] = "native"

    @classmethod
    def from_parameters(
        cls,
        *,
        vis: Any,
        datacolumn: str = "corrected",
        stokes: str = "I",
        gridder: str = "native",
        imager: str = "auto",
        **others: Any,
    ) -> Self:
        """Read the parameters of these names; any gridder but 'native' is CASA's. others: of the same task."""
        if not listed(vis):
            raise ValueError(f"vis={vis!r} names no Measurement Set; give its path, or a list of paths")
        return cls(
            vis=tuple(str(each) for each in as_list(vis)),
            datacolumn=datacolumn,
            stokes=stokes if stokes in TOTAL_INTENSITY else "I",
            imager="native" if "native" in (gridder, imager) else "casa",
            **{name: tuple(str(each) for each in as_list(others.get(name, ""))) for name in MSSELECT},
        )

    def __post_init__(self) -> None:
        for name in MSSELECT:
            if len(values := getattr(self, name)) not in (1, len(self.vis)):
                raise ValueError(
                    f"{name}={list(values)} has {len(values)} values for {len(self.vis)} Measurement Sets; give 1 or "
                    f"{len(self.vis)}"
                )

    @cached_property
    def selections(self) -> tuple[Selection, ...]:
        """The Selection of each Measurement Set, which is opened the first time that this is asked for.

        Raises:
            ValueError: something in `vis` is no readable Measurement Set, or a column is missing.
        """
        columns = [data_column(path, self.datacolumn) for path in self.vis]
        return tuple(
            Selection(
                vis=path,
                datacolumn=column,
                fallback=column != self.datacolumn,
                stokes=self.stokes,
                imager=self.imager,
                fields=None,
                rows=None,
                **{name: self._of(name, number) for name in MSSELECT},
            )
            for number, (path, column) in enumerate(zip(self.vis, columns, strict=True))
        )

    def _of(self, name: str, number: int) -> str:
        """The string of a selection parameter for one of the Measurement Sets."""
        values = getattr(self, name)
        return values[number] if len(values) == len(self.vis) else values[0]
