"""What a run begins with and what it writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Self

from casa_ml_tasks.request.values import listed

SAVEMODEL = ("none", "virtual", "modelcolumn")


@dataclass(frozen=True)
class Output:
    """tclean's parameters of the products.

    Attributes:
        imagename: what the names of all products begin with.
        startmodel: images in Jy/pixel, one, or one for each Taylor term; none is an empty sky.
        restart: whether to go on from products that exist; else the run takes an unused name.
        savemodel: how the model is saved in the Measurement Sets: one of SAVEMODEL.
        restoration: whether the restored image is made.
        pbcor: whether it is made over the primary beam too.

    Raises:
        ValueError: there is no name, or `savemodel` is unknown.
    """

    imagename: str
    startmodel: tuple[str, ...] = ()
    restart: bool = True
    savemodel: str = "none"
    restoration: bool = True
    pbcor: bool = False

    @classmethod
    def from_parameters(
        cls,
        *,
        imagename: Any,
        startmodel: Any = "",
        restart: bool = True,
        savemodel: str = "none",
        restoration: bool = True,
        pbcor: bool = False,
        **_: Any,
    ) -> Self:
        """Read the parameters of these names."""
        return cls(imagename, listed(startmodel), restart, savemodel, restoration, pbcor)

    def __post_init__(self) -> None:
        name = self.imagename
        if not isinstance(name, str) or not name.strip() or name.endswith(os.sep):
            raise ValueError(f"imagename={name!r} names no image; give the name that all products begin with")
        if self.savemodel not in SAVEMODEL:
            raise ValueError(f"savemodel='{self.savemodel}' is unknown; use one of {', '.join(SAVEMODEL)}")
