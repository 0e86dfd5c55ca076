"""The pixels, Stokes planes, and channels or Taylor terms of an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from scipy.constants import arcsecond

from casa_ml_tasks.data.directions import tracked
from casa_ml_tasks.data.stokes import stokes_planes
from casa_ml_tasks.request.projection import checked_projection
from casa_ml_tasks.request.values import as_list, value_in

SMALLEST_IMSIZE = 8  # pixels
CONTINUUM = ("mfs", "cont")  # specmodes with one image channel
SPECMODES = (*CONTINUUM, "cube", "cubedata", "cubesource")


@dataclass(frozen=True)
class ImageGrid:
    """tclean's image definition.

    Attributes:
        shape: (ny, nx), pixels.
        cells: length of a pixel along x and y, arcsec.
        phasecenter: a direction, a field, or an object that the image follows.
        stokes: tclean's name of all Stokes planes together.
        projection: of the sphere to the plane, such as SIN.
        specmode: one of SPECMODES.
        nchan: channels that are asked for; -1 for as many as the data have.
        interpolation: between channels of the data.
        deconvolver: 'mtmfs' asks for Taylor terms.
        nterms: how many, which means nothing without 'mtmfs', as in tclean.

    Raises:
        ValueError: there is no such image.
    """

    shape: tuple[int, int]
    cells: tuple[float, float]
    phasecenter: str | int = ""
    stokes: str = "I"
    projection: str = "SIN"
    specmode: str = "mfs"
    nchan: int = -1
    interpolation: str = "linear"
    deconvolver: str = "hogbom"
    nterms: int = 2

    @classmethod
    def from_parameters(
        cls,
        *,
        imsize: Any,
        cell: Any,
        phasecenter: str | int = "",
        stokes: str = "I",
        projection: str = "SIN",
        specmode: str = "mfs",
        nchan: int = -1,
        interpolation: str = "linear",
        deconvolver: str = "hogbom",
        nterms: int = 2,
        **_: Any,
    ) -> Self:
        """Read the parameters of these names."""
        nx, ny = image_size(imsize)
        sizes = cells_in_arcsec(cell)
        return cls(
            shape=(ny, nx),
            cells=(sizes[0], sizes[-1]),
            phasecenter=phasecenter,
            stokes=stokes,
            projection=projection,
            specmode=specmode,
            nchan=nchan,
            interpolation=interpolation,
            deconvolver=deconvolver,
            nterms=nterms,
        )

    def __post_init__(self) -> None:
        checked_projection(self.projection)
        if self.specmode not in SPECMODES:
            raise ValueError(f"specmode='{self.specmode}' is not imaged yet; use one of {', '.join(SPECMODES)}")
        if self.deconvolver != "mtmfs":
            return
        if self.nterms < 1:
            raise ValueError(f"nterms={self.nterms} is no number of Taylor terms; use 2, or 1 for a flat spectrum")
        if not self.continuum:
            raise ValueError(
                f"deconvolver='mtmfs' makes one continuum image, not specmode='{self.specmode}'; use another "
                "deconvolver, or specmode='mfs'"
            )

    @property
    def continuum(self) -> bool:
        """Whether there is one channel for all frequencies, with or without Taylor terms."""
        return self.specmode in CONTINUUM

    @property
    def taylor_terms(self) -> int:
        """How many Taylor terms of the spectrum have their own images; 0 where images are of channels."""
        return self.nterms if self.deconvolver == "mtmfs" else 0

    @property
    def one_image(self) -> bool:
        """Whether there is one channel and no Taylor term."""
        return self.continuum and not self.taylor_terms

    @property
    def channels(self) -> int | None:
        """How many channels are asked for; None where the data decide."""
        if self.continuum:
            return 1
        return self.nchan if self.nchan > 0 else None

    @property
    def planes(self) -> tuple[str, ...]:
        """The names of the Stokes planes, in their order."""
        return stokes_planes(self.stokes)

    @property
    def oblong(self) -> bool:
        """Whether pixels are longer than wide, or wider than long."""
        return self.cells[0] != self.cells[1]

    @property
    def cell(self) -> float:
        """The length of a pixel along x, radians."""
        return self.cells[0] * arcsecond

    @property
    def tracks(self) -> str:
        """The object that the image follows; '' for none."""
        return tracked(self.phasecenter)


def image_size(imsize: Any) -> tuple[int, int]:
    """Return (nx, ny) of tclean's `imsize`: one number, or a list of one or two.

    Raises:
        ValueError: they are not whole numbers of at least SMALLEST_IMSIZE.
    """
    sizes = [each.item() if hasattr(each, "item") else each for each in as_list(imsize)]
    if len(sizes) not in (1, 2) or not all(isinstance(n, int) and n >= SMALLEST_IMSIZE for n in sizes):
        raise ValueError(
            f"imsize={imsize} is no image size; give one or two whole numbers of at least {SMALLEST_IMSIZE} pixels"
        )
    return sizes[0], sizes[-1]


def cells_in_arcsec(cell: Any) -> list[float]:
    """Return tclean's `cell` (a quantity or a number in arcsec, or a list of one or two) in arcsec.

    Raises:
        ValueError: it is empty, no angle or not positive.
    """
    remedy = "give the pixel size, for example cell='0.1arcsec', about a third of the beam"
    cells = as_list(cell)
    if len(cells) not in (1, 2) or any(each == "" for each in cells):
        raise ValueError(f"cell={cell!r} names no pixel size; {remedy}")
    sizes = [value_in(each, "arcsec", unit_optional=True) for each in cells]
    if not all(size is not None and size > 0 for size in sizes):
        raise ValueError(f"cell={cell!r} is not a positive angle; {remedy}")
    return [size for size in sizes if size is not None]


def cell_with_unit(cell: Any) -> list[Any]:
    """Return tclean's `cell` with 'arcsec' behind a string of digits, which CASA's imager would take for radians."""
    cells = as_list(cell)
    bare = [isinstance(each, str) and value_in(each, "", unit_optional=True) is not None for each in cells]
    return [f"{each}arcsec" if unitless else each for each, unitless in zip(cells, bare, strict=True)]
