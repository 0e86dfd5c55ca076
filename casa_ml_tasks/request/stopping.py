"""When the loop of major and minor cycles ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from casa_ml_tasks.request.values import value_in


@dataclass(frozen=True)
class Stopping:
    """tclean's iteration control.

    Attributes:
        niter: minor iterations, all cycles together; 0 for the dirty image; negative: no limit.
        nmajor: cycles of minor and major together; negative: no limit.
        threshold: peak residual, Jy/beam; 0: not used.
        nsigma: peak residual in units of the noise; 0: not used.
        cycleniter: iterations of one minor cycle; negative: no limit.
    """

    niter: int = -1
    nmajor: int = -1
    threshold: float = 0.0
    nsigma: float = 0.0
    cycleniter: int = -1

    @classmethod
    def from_parameters(
        cls,
        *,
        niter: int = -1,
        nmajor: int = -1,
        threshold: Any = 0.0,
        nsigma: float = 0.0,
        cycleniter: int = -1,
        **_: Any,
    ) -> Self:
        """Read the parameters of these names.

        Raises:
            ValueError: the threshold is no flux density.
        """
        if (peak := value_in(threshold, "Jy")) is None:
            raise ValueError(
                f"threshold={threshold!r} is no flux density; give a number in Jy, or a quantity such as '0.1mJy'"
            )
        return cls(niter, nmajor, peak, nsigma, cycleniter)

    @property
    def dirty_only(self) -> bool:
        """Whether the dirty image is all that is wanted."""
        return self.niter == 0

    @property
    def without_limits(self) -> bool:
        """Whether no number of iterations or major cycles ends the run before it has converged."""
        return self.niter < 0 and self.cycleniter < 0 and self.nmajor < 0
