"""What resolveimage infers, and how far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from casa_ml_tasks.data.stokes import SIGNED
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.values import is_direction, listed

FIND_SOURCES, SOURCES_EVERYWHERE = UNNAMED_SOURCES = ("auto", "everywhere")
ABSORPTION, CONTINUUM_BESIDE_LINE = COMPONENTS = ("absorption", "continuum")
FEWEST_SAMPLES = 2  # that have a standard deviation
USUAL_SAMPLES = 288  # that room is asked for: the most where the task chooses how many

#: Mean and standard deviation of a parameter of the sky's prior; None where it is set from the data.
GivenPrior = tuple[float, float] | None


@dataclass(frozen=True)
class Priors:
    """What is given of the prior of the logarithm of the brightness; the rest is set from the data.

    Attributes:
        offset: its mean, ln(Jy/pixel).
        offsetstd: how far the whole field may lie from `offset`.
        fluctuations: r.m.s. fluctuation.
        slope: of the log-log power spectrum.
        flexibility: how far the power spectrum may depart from a power law.
        asperity: how rough these departures may be.

    Raises:
        ValueError: a standard deviation is not above zero, or a mean that is a size is not.
    """

    offset: float | None = None
    offsetstd: GivenPrior = None
    fluctuations: GivenPrior = None
    slope: GivenPrior = None
    flexibility: GivenPrior = None
    asperity: GivenPrior = None

    @classmethod
    def from_parameters(
        cls,
        *,
        offset: Any = "auto",
        offsetstd: Any = (),
        fluctuations: Any = (),
        slope: Any = (),
        flexibility: Any = (),
        asperity: Any = (),
        **_: Any,
    ) -> Self:
        """Read the parameters of these names."""
        if offset != "auto" and not (isinstance(offset, int | float) and math.isfinite(offset)):
            raise ValueError(f"offset={offset!r} is no logarithm of a brightness; give a number, or 'auto'")
        return cls(
            None if offset == "auto" else float(offset),
            _given("offsetstd", offsetstd, is_size=True),
            _given("fluctuations", fluctuations, is_size=True),
            _given("slope", slope, is_size=False),
            _given("flexibility", flexibility, is_size=True),
            _given("asperity", asperity, is_size=True),
        )


def _given(name: str, value: Any, is_size: bool) -> GivenPrior:
    """Return what a parameter says of a prior. is_size: whether its mean has to be above zero."""
    given = list(value)
    if not given:
        return None
    if len(given) != 2 or not all(math.isfinite(each) for each in given) or given[1] <= 0:
        raise ValueError(
            f"{name}={given} is no prior; give [mean, standard deviation], the second above zero, or [] to have it "
            "set from the data"
        )
    if is_size and given[0] <= 0:
        raise ValueError(f"{name}={given} has a mean that is no size; give one above zero")
    return given[0], given[1]


@dataclass(frozen=True)
class Inference:
    """The settings of resolveimage.

    Attributes:
        priors: that are given.
        components: what is inferred beside the emission, of COMPONENTS.
        pointsources: directions, or FIND_SOURCES, or SOURCES_EVERYWHERE.
        nsamples: at least so many samples of the posterior; -1 leaves the choice to the task.
        maxglobal: global iterations of each stage; -1 leaves the choice to the task.
        seed: of the random numbers.

    Raises:
        ValueError: a name is unknown, or a count is too small.
    """

    priors: Priors
    components: tuple[str, ...] = ()
    pointsources: tuple[str, ...] = ()
    nsamples: int = -1
    maxglobal: int = -1
    seed: int = 42

    @classmethod
    def from_parameters(
        cls,
        request: Request,
        *,
        components: Any = (),
        pointsources: Any = "",
        nsamples: int = -1,
        maxglobal: int = -1,
        seed: int = 42,
        **others: Any,
    ) -> Self:
        """Read the parameters of these names, and check that they suit what is imaged.

        Args:
            request: of the same call.
            components, pointsources, nsamples, maxglobal, seed: as the XML says.
            others: those of `Priors`, and all other parameters of the task.

        Raises:
            ValueError: for the first parameter that is wrong, or asks for what the inference cannot do.
        """
        _check_scope(request)
        inference = cls(
            Priors.from_parameters(**others), listed(components), listed(pointsources), nsamples, maxglobal, seed
        )
        inference._check_image(request, pointsources)
        return inference

    def __post_init__(self) -> None:
        for name, fewest in {"nsamples": FEWEST_SAMPLES, "maxglobal": 1}.items():
            if (given := getattr(self, name)) != -1 and given < fewest:
                raise ValueError(f"{name}={given} is too few; use at least {fewest}, or -1 to leave the choice")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} is no seed; use a whole number that is not negative")
        for each in self.components:
            if each not in COMPONENTS:
                raise ValueError(
                    f"components={list(self.components)}: '{each}' is unknown; use one of {', '.join(COMPONENTS)}"
                )
        for each in self.pointsources:
            if each not in UNNAMED_SOURCES and not is_direction(each):
                raise ValueError(
                    f"pointsources='{each}' is no direction; give directions such as 'J2000 19:58:40.9 +40.55.58', or "
                    "'auto' to have them found, or 'everywhere'"
                )
        if SOURCES_EVERYWHERE in self.pointsources and len(self.pointsources) > 1:
            raise ValueError(
                f"pointsources={list(self.pointsources)} names sources that 'everywhere' has already; give "
                "'everywhere' alone"
            )

    @property
    def most_samples(self) -> int:
        """Samples of the posterior that room is asked for."""
        return max(self.nsamples, USUAL_SAMPLES)

    @property
    def directions(self) -> tuple[str, ...]:
        """Directions of point sources that are given."""
        return tuple(each for each in self.pointsources if each not in UNNAMED_SOURCES)

    @property
    def finds_sources(self) -> bool:
        """Whether point sources are to be found."""
        return FIND_SOURCES in self.pointsources

    @property
    def sources_everywhere(self) -> bool:
        """Whether every pixel may have a point source."""
        return SOURCES_EVERYWHERE in self.pointsources

    @property
    def has_absorption(self) -> bool:
        """Whether there is a negative component beside the emission."""
        return ABSORPTION in self.components

    @property
    def has_continuum(self) -> bool:
        """Whether there is a continuum beside the line of a cube."""
        return CONTINUUM_BESIDE_LINE in self.components

    def _check_image(self, request: Request, pointsources: Any) -> None:
        """Check that what is inferred beside the emission suits what is imaged. pointsources: as it was given."""
        grid, given = request.grid, list(self.components)
        if self.has_absorption and not grid.one_image:
            raise ValueError(
                f"components={given} infers absorption in one image, not with specmode='{grid.specmode}' and "
                f"deconvolver='{grid.deconvolver}'; use specmode='mfs' without Taylor terms"
            )
        if self.has_continuum and grid.continuum:
            raise ValueError(f"components={given} infers a continuum beside a line; use specmode='cube'")
        if self.has_absorption and not {*UNNAMED_SOURCES}.isdisjoint(self.pointsources):
            raise ValueError(
                f"pointsources={pointsources!r} finds none beside components={given}; name their directions"
            )
        if self.pointsources and not grid.one_image:
            raise ValueError(
                f"pointsources={pointsources!r} serves one image, not specmode='{grid.specmode}' and "
                f"deconvolver='{grid.deconvolver}'; use pointsources=''"
            )


def _check_scope(request: Request) -> None:
    """Check that the image is total intensity of one field, with square pixels."""
    grid = request.grid
    if len(grid.planes) > 1 or grid.stokes in SIGNED:
        raise ValueError(f"stokes='{grid.stokes}' is not inferred yet; use stokes='I', or rmlclean")
    if request.outlierfile:
        raise ValueError(f"outlierfile='{request.outlierfile}' is not supported yet; use a larger imsize, or rmlclean")
    if grid.oblong:
        raise ValueError(f"cell={request.casa['cell']!r} has oblong pixels; give one size for both sides")
