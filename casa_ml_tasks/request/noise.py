"""What is known of the noise, and what is to be found with the image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from casa_ml_tasks.request.values import listed, value_in

NOISE_MODELS = ("ms", "spw", "uvdist")
BLOCK_MODELS = ("amplitude", "position")


@dataclass(frozen=True)
class Freedom:
    """What of the data model is free.

    Attributes:
        student_t: allow for outliers.
        noise: noise scales for each of these: 'ms', 'spw', 'uvdist'.
        block: terms of execution blocks: 'amplitude', 'position'.
    """

    student_t: bool = False
    noise: tuple[str, ...] = ()
    block: tuple[str, ...] = ()

    @classmethod
    def from_parameters(
        cls, *, likelihood: str = "gaussian", noisemodel: Any = (), blockmodel: Any = (), **_: Any
    ) -> Self:
        """Read the parameters of these names.

        Raises:
            ValueError: a name is unknown.
        """
        freedom = cls(likelihood == "studentt", listed(noisemodel), listed(blockmodel))
        for name, given, known in (
            ("noisemodel", freedom.noise, NOISE_MODELS),
            ("blockmodel", freedom.block, BLOCK_MODELS),
        ):
            for value in given:
                if value not in known:
                    raise ValueError(f"{name}=['{value}'] is unknown; use any of {', '.join(known)}, or []")
        return freedom

    def __bool__(self) -> bool:
        return self.student_t or bool(self.noise) or bool(self.block)

    @property
    def parameters(self) -> dict[str, str | list[str]]:
        """Names and values of the parameters that ask for it."""
        asked: dict[str, str | list[str]] = {}
        if self.noise:
            asked["noisemodel"] = list(self.noise)
        if self.block:
            asked["blockmodel"] = list(self.block)
        if self.student_t:
            asked["likelihood"] = "studentt"
        return asked


@dataclass(frozen=True)
class Noise:
    """The noise.

    Attributes:
        scale: true noise over the noise that WEIGHT claims; None where it is measured in the data.
        freedom: what of the data model is found with the image.
    """

    scale: float | None = None
    freedom: Freedom = field(default_factory=Freedom)

    @classmethod
    def from_parameters(cls, *, noisescale: Any = "auto", **others: Any) -> Self:
        """Read `noisescale` and the parameters of `Freedom`.

        Raises:
            ValueError: it is neither 'auto' nor a positive number.
        """
        scale = None if noisescale == "auto" else value_in(noisescale, "", unit_optional=True)
        if noisescale != "auto" and (scale is None or scale <= 0):
            raise ValueError(f"noisescale={noisescale!r} is no noise scale; use 'auto' or a positive number")
        return cls(scale, Freedom.from_parameters(**others))

    @property
    def is_measured(self) -> bool:
        """Whether the data tell the noise, or the user does."""
        return self.scale is None

    def scale_or(self, measured: float) -> float:
        """Return true noise over the noise that WEIGHT claims: the user's, or else the measured one."""
        return measured if self.scale is None else self.scale
