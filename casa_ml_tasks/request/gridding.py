"""How visibilities are gridded, and by which program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

#: CASA's gridder of mosaics, and its aliases.
MOSAIC = ("mosaic", "mosaicft", "ftmosaic")
#: Gridders of a single pointing (and their aliases): the primary beam stays in the image.
SINGLE_POINTING = ("native", "standard", "ft", "gridft", "wproject", "wprojectft", "widefield")


@dataclass(frozen=True)
class Gridding:
    """tclean's gridders and ours.

    Attributes:
        gridder: 'native' for our own kernels and one pointing, else one of CASA's imager.
        imager: 'auto' takes our own kernels where they serve, 'casa' leaves the choice to `gridder`, and 'native' is
            what the task has made of 'auto' where our own kernels make a mosaic.
        wprojplanes: planes of CASA's w-projection; -1 leaves the choice to CASA.
        mosweight: whether every field of a mosaic has a weight density of its own.
        usepointing: whether a mosaic has its directions from the POINTING table.
        pblimit: primary beam below which there is no image; negative to keep the pixels.
        normtype: how a mosaic is normalised.
        facets: on a side; 1.
        smearing: largest loss of amplitude by averaging before imaging, anywhere in the image; 0 averages nothing.
        device: where our own kernels compute, 'cpu' or 'gpu'.

    Raises:
        ValueError: there are facets.
    """

    gridder: str = "standard"
    imager: str = "auto"
    wprojplanes: int = 1
    mosweight: bool = True
    usepointing: bool = False
    pblimit: float = 0.2
    normtype: str = "flatnoise"
    facets: int = 1
    smearing: float = 0.0
    device: str = "cpu"

    @classmethod
    def from_parameters(
        cls,
        *,
        gridder: str = "standard",
        imager: str = "auto",
        wprojplanes: int = 1,
        mosweight: bool = True,
        usepointing: bool = False,
        pblimit: float = 0.2,
        normtype: str = "flatnoise",
        facets: int = 1,
        smearing: float = 0.0,
        device: str = "cpu",
        **_: Any,
    ) -> Self:
        """Read the parameters of these names."""
        return cls(gridder, imager, wprojplanes, mosweight, usepointing, pblimit, normtype, facets, smearing, device)

    def __post_init__(self) -> None:
        if self.facets > 1:
            raise ValueError(f"facets={self.facets} is not supported yet; use facets=1 and gridder='wproject'")

    @property
    def native(self) -> bool:
        """Whether our own kernels run the major cycles."""
        return self.gridder == "native" or self.imager == "native"

    @property
    def single_pointing(self) -> bool:
        """Whether the primary beam stays in the image; else it is a mosaic."""
        return self.gridder in SINGLE_POINTING
