"""Where emission may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from casa_ml_tasks.request.values import listed

MASKING = ("user", "pb", "auto-multithresh")


@dataclass(frozen=True)
class Masking:
    """tclean's masks.

    Attributes:
        usemask: one of MASKING.
        mask: images, region files or region strings; none is everywhere.
        pbmask: primary beam above which there is a mask.
    """

    usemask: str = "user"
    mask: tuple[str, ...] = ()
    pbmask: float = 0.0

    @classmethod
    def from_parameters(cls, *, usemask: str = "user", mask: Any = "", pbmask: float = 0.0, **_: Any) -> Self:
        """Read the parameters of these names."""
        return cls(usemask, listed(mask), pbmask)

    @property
    def is_given(self) -> bool:
        """Whether there is a mask at all."""
        return bool(self.mask) or self.usemask != "user"

    @property
    def follows_residual(self) -> bool:
        """Whether the mask is made anew from every residual."""
        return self.usemask == "auto-multithresh"
