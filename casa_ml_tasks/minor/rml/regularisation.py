"""Which regularisers rmlclean adds to the likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from casa_ml_tasks.data.measurement_set import TOTAL_INTENSITY
from casa_ml_tasks.data.stokes import SIGNED
from casa_ml_tasks.minor.rml.regularisers import registry
from casa_ml_tasks.request.images import check_image
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.values import as_list, listed

FOLDED_GRIDDERS = ("standard", "ft", "gridft", "native")  # whose visibilities can be split for cross-validation


@dataclass(frozen=True)
class Regularisation:
    """The settings of rmlclean's own minor cycle.

    Attributes:
        regularizer: names of regularisers.
        regstrength: a factor for each, in units of what follows from the noise; None where cross-validation finds them.
        positivity: whether the model is kept from being negative, but in the planes of Stokes Q, U and V.
        priorimage: image that the entropy prefers to all others; '' for an empty sky.

    Raises:
        ValueError: a name is unknown, a user's regulariser is no function that can be minimised, or the strengths are
            not one number each.
    """

    regularizer: tuple[str, ...] = ("l1", "log_smoothness")
    regstrength: tuple[float, ...] | None = (1.0, 1.0)
    positivity: bool = True
    priorimage: str = ""

    @classmethod
    def from_parameters(
        cls,
        request: Request,
        *,
        regularizer: Any = ("l1", "log_smoothness"),
        regstrength: Any = (),
        positivity: bool = True,
        priorimage: Any = "",
        **_: Any,
    ) -> Self:
        """Read the parameters of these names, and check that they suit what is imaged.

        Args:
            request: of the same call, with the gridder that the task has chosen.
            regularizer, regstrength, positivity, priorimage: as the XML says.

        Raises:
            ValueError: for the first parameter that is wrong.
        """
        names = listed(regularizer)
        if isinstance(regstrength, str) and regstrength != "auto":
            raise ValueError(f"regstrength='{regstrength}' is unknown; use 'auto', or one number for each regularizer")
        strengths = None if isinstance(regstrength, str) else tuple(as_list(regstrength)) or (1.0,) * len(names)
        regularisation = cls(names, strengths, positivity, "".join(listed(priorimage)))
        regularisation._check_image(request)
        return regularisation

    def __post_init__(self) -> None:
        for name in self.regularizer:
            registry.resolve(name)
            if name not in registry.KNOWN:
                registry.check_user_function(name)
            if name in registry.NEED_POSITIVITY - registry.SIGNED_TWIN.keys() and not self.positivity:
                raise ValueError(
                    f"regularizer='{name}' takes the logarithm of the image; use it with positivity=True, or leave it "
                    "out"
                )
        self._check_strengths()
        if self.priorimage and "entropy" not in self.regularizer:
            raise ValueError(
                f"priorimage='{self.priorimage}' serves regularizer='entropy' only; add it, or leave priorimage=''"
            )

    @property
    def is_validated(self) -> bool:
        """Whether cross-validation finds the strengths."""
        return self.regstrength is None

    def signed(self) -> Self:
        """Return regularisers that know negative brightness where positivity=False.

        Nothing in a call tells a default from a regulariser that was named.
        """
        if self.positivity:
            return self
        each = (1.0,) * len(self.regularizer) if self.regstrength is None else self.regstrength
        pairs = registry.of_signed_images(list(zip(self.regularizer, each, strict=True)))
        strengths = None if self.regstrength is None else tuple(strength for _, strength in pairs)
        return replace(self, regularizer=tuple(name for name, _ in pairs), regstrength=strengths)

    def _check_strengths(self) -> None:
        """Check that there is one number each, none negative."""
        names, strengths = list(self.regularizer), self.regstrength
        if strengths is None:
            if not names:
                raise ValueError("regstrength='auto' has no regularizer to choose the strength of; name some")
            return
        if len(strengths) != len(names):
            raise ValueError(
                f"regstrength={list(strengths)} has {len(strengths)} values for regularizer={names}; give one each, or "
                "[] for 1"
            )
        if not all(math.isfinite(strength) and strength >= 0 for strength in strengths):
            raise ValueError(
                f"regstrength={list(strengths)} is not a list of factors; give numbers that are not negative"
            )

    def _check_image(self, request: Request) -> None:
        """Check that the regularisers suit what is imaged."""
        grid, names = request.grid, list(self.regularizer)
        if request.begins_with_network and not self.positivity:
            raise ValueError(
                "positivity=False does not go with minorcycle='deepfocus', whose network knows skies that are not "
                "negative; use minorcycle='rml'"
            )
        for name in names:
            if name in registry.NEED_CHANNELS and grid.continuum:
                raise ValueError(
                    f"regularizer='{name}' compares channels, and specmode='{grid.specmode}' has one; use it with "
                    "specmode='cube'"
                )
        self._check_components(request)
        signed = not self.positivity or not SIGNED.isdisjoint(grid.stokes)
        of_signed = {name for name, _ in registry.of_signed_images([(name, 1.0) for name in names])}
        if signed and names and of_signed <= set(registry.REGULARISERS) - registry.BOUND_THE_MAGNITUDE:
            raise ValueError(
                f"regularizer={names} lets an image that may be negative grow without bound where no baseline has "
                f"looked; add one of {', '.join(sorted(registry.BOUND_THE_MAGNITUDE))}"
            )
        if self.is_validated:
            _check_validation(request)
        if self.priorimage:
            check_image("priorimage", self.priorimage, grid.shape)

    def _check_components(self, request: Request) -> None:
        """Check that a sky of several components is what a minor cycle can find."""
        names = list(self.regularizer)
        if registry.COMPONENTS.keys().isdisjoint(names):
            return
        if set(names) <= registry.COMPONENTS.keys():
            raise ValueError(
                f"regularizer={names} says nothing of extended emission; add one for it, such as 'log_smoothness'"
            )
        others = {
            "outlierfile": request.outlierfile,
            "startmodel": "".join(request.output.startmodel),
            "minorcycle": request.minorcycle if request.begins_with_network else "",
        }
        for name, given in others.items():
            if given:
                raise ValueError(f"{name}={given!r} does not serve regularizer={names}; leave out 'points'")
        if request.grid.taylor_terms:
            raise ValueError(f"regularizer={names} has no Taylor terms; leave out 'points', or deconvolver='mtmfs'")


def _check_validation(request: Request) -> None:
    """Check that the visibilities can be split for cross-validation."""
    grid, gridding = request.grid, request.gridding
    if grid.stokes not in TOTAL_INTENSITY or grid.taylor_terms:
        raise ValueError(
            "regstrength='auto' serves images of total intensity without Taylor terms, not "
            f"stokes='{grid.stokes}' with deconvolver='{grid.deconvolver}'; use regstrength=[]"
        )
    if gridding.gridder not in FOLDED_GRIDDERS or not grid.continuum:
        raise ValueError(
            f"regstrength='auto' serves continuum images of one pointing, not specmode='{grid.specmode}' "
            f"with gridder='{gridding.gridder}'; use regstrength=[]"
        )
    if request.outlierfile:
        raise ValueError(
            f"regstrength='auto' takes outliers for structure; use [] with outlierfile='{request.outlierfile}'"
        )
