"""All that a call of an imaging task asks for, read once.

A task makes the Request of its parameters at the door: `Request.from_parameters(**parameters)`. Every setting has
checked itself then, and the Request has checked that they go together. Below the door the dictionary of the
parameters, `Request.casa`, is for CASA's imager (`major.imager`), the history of the images, the report's table, and
sentences that quote a parameter as it was given.

Whoever decides that a parameter should have another value than the user has given (our own kernels in place of
CASA's gridder, regularisers that know negative brightness, an unused imagename) asks for another Request with
`changed`, which reads and checks everything anew: settings and dictionary cannot disagree.

Settings of one task alone, such as its regularisers or its priors, stand with their family and are made of the same
parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from casa_ml_tasks.data.measurement_set import TOTAL_INTENSITY
from casa_ml_tasks.data.stokes import SIGNED
from casa_ml_tasks.request.distribution import Distribution
from casa_ml_tasks.request.grid import CONTINUUM, ImageGrid
from casa_ml_tasks.request.gridding import MOSAIC, Gridding
from casa_ml_tasks.request.masking import Masking
from casa_ml_tasks.request.noise import Noise
from casa_ml_tasks.request.output import Output
from casa_ml_tasks.request.selection import DataSelection
from casa_ml_tasks.request.stopping import Stopping
from casa_ml_tasks.request.weighting import Weighting

NATIVE_SPECMODES = (*CONTINUUM, "cubedata")


@dataclass(frozen=True)
class Request:
    """What is imaged, and how.

    Attributes:
        selection, grid, gridding, weighting, noise, stopping, masking, output, distribution: the settings.
        minorcycle: whose minor cycles run, 'rml', 'clean' or 'deepfocus'; 'rml' where the task has no choice.
        weights: folder of trained networks; '' is those of the package.
        outlierfile: path of a list of other fields (see `request.outliers`); '' for none.
        casa: every parameter of the task by its name.

    Raises:
        ValueError: the settings do not go together.
    """

    selection: DataSelection
    grid: ImageGrid
    gridding: Gridding
    weighting: Weighting
    noise: Noise
    stopping: Stopping
    masking: Masking
    output: Output
    distribution: Distribution
    minorcycle: str = "rml"
    weights: str = ""
    outlierfile: str = ""
    casa: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_parameters(cls, **parameters: Any) -> Self:
        """Read the parameters of a task. No Measurement Set is opened and nothing is written.

        Raises:
            ValueError: for the first parameter that is wrong.
        """
        if interactive := parameters.get("interactive", False):
            raise ValueError(f"interactive={interactive} is not supported; use interactive=False and a mask")
        return cls(
            DataSelection.from_parameters(**parameters),
            ImageGrid.from_parameters(**parameters),
            Gridding.from_parameters(**parameters),
            Weighting.from_parameters(**parameters),
            Noise.from_parameters(**parameters),
            Stopping.from_parameters(**parameters),
            Masking.from_parameters(**parameters),
            Output.from_parameters(**parameters),
            Distribution.from_parameters(**parameters),
            minorcycle=parameters.get("minorcycle", "rml"),
            weights=parameters.get("weights", ""),
            outlierfile=parameters.get("outlierfile", ""),
            casa=parameters,
        )

    def changed(self, **parameters: Any) -> Request:
        """Return the Request of the same call with other values of these parameters.

        Raises:
            ValueError: for the first that is wrong.
        """
        return type(self).from_parameters(**{**self.casa, **parameters})

    @property
    def cleans(self) -> bool:
        """Whether tclean's deconvolvers run the minor cycles."""
        return self.minorcycle == "clean"

    @property
    def begins_with_network(self) -> bool:
        """Whether a network takes the first steps of the minor cycles."""
        return self.minorcycle == "deepfocus"

    @property
    def kernels_may_serve(self) -> bool:
        """Whether our own kernels can make this image, unless its channels have to be interpolated."""
        return (
            (self.gridding.single_pointing or self._kernels_may_serve_mosaic)
            and self.grid.specmode in NATIVE_SPECMODES
            and self.grid.stokes in TOTAL_INTENSITY
            and self.grid.projection == "SIN"
            and not self.grid.taylor_terms
            and not self.grid.oblong
            and not self.outlierfile
        )

    @property
    def runs_on_workers(self) -> bool:
        """Whether workers read and grid the visibilities."""
        return self.distribution.parallel and not self.distribution.problem and self.gridding.native

    @property
    def _kernels_may_serve_mosaic(self) -> bool:
        """Whether nothing of a mosaic is asked for that CASA's gridders alone do."""
        return (
            self.gridding.gridder in MOSAIC
            and self.gridding.normtype == "flatnoise"
            and self.gridding.pblimit > 0
            and self.output.savemodel != "virtual"
            and not self.casa.get("conjbeams")
            and not self.casa.get("vptable")
        )

    def __post_init__(self) -> None:
        for check in (
            self._check_native,
            self._check_mosaic,
            self._check_taylor_terms,
            self._check_data_model,
            self._check_kernels,
            self._check_weighting,
            self._check_distribution,
            self._check_network,
        ):
            check()

    def _check_native(self) -> None:
        """Check that our own kernels can do what they are asked for."""
        if not self.gridding.native:
            return
        grid = self.grid
        if grid.specmode not in NATIVE_SPECMODES:
            raise ValueError(
                f"specmode='{grid.specmode}' needs frequencies regridded, which gridder='native' does not do; "
                "use gridder='standard', or specmode='cubedata'"
            )
        if grid.oblong:
            cell = self.casa.get("cell", [f"{each}arcsec" for each in grid.cells])
            raise ValueError(f"cell={cell!r} has oblong pixels; use gridder='standard' for them")
        if grid.stokes not in TOTAL_INTENSITY:
            raise ValueError(
                f"stokes='{grid.stokes}' needs gridder='standard', because gridder='native' images one of "
                f"{', '.join(TOTAL_INTENSITY)}"
            )
        if grid.taylor_terms:
            raise ValueError(
                "deconvolver='mtmfs' needs gridder='standard', because gridder='native' has no Taylor terms"
            )

    def _check_mosaic(self) -> None:
        """Check that our minor cycles can do what a mosaic is asked for; CLEAN can."""
        if self.gridding.single_pointing or self.cleans:
            return
        grid, gridding = self.grid, self.gridding
        if gridding.normtype != "flatnoise":
            raise ValueError(f"normtype='{gridding.normtype}' is not imaged yet; use normtype='flatnoise'")
        if len(grid.planes) > 1 or grid.taylor_terms:
            raise ValueError(
                f"gridder='{gridding.gridder}' with stokes='{grid.stokes}' and deconvolver='{grid.deconvolver}' "
                "is not imaged yet: mosaics have one Stokes plane and no Taylor terms; use one plane at a time, or "
                "rmlclean with minorcycle='clean'"
            )

    def _check_taylor_terms(self) -> None:
        if not self.grid.taylor_terms:
            return
        if self.outlierfile:
            raise ValueError(
                f"outlierfile='{self.outlierfile}' serves images without Taylor terms, not deconvolver='mtmfs'; "
                "use another deconvolver"
            )
        startmodel = list(self.output.startmodel)
        if startmodel and len(startmodel) != self.grid.nterms:
            raise ValueError(
                f"startmodel={startmodel} has {len(startmodel)} images for nterms={self.grid.nterms}; give one a term"
            )

    def _check_data_model(self) -> None:
        """Check that a data model has our own kernels and one continuum image that is not made by CLEAN."""
        for name, wish in self.noise.freedom.parameters.items():
            self._check_needs(name, wish, "gridder", "specmode", "minorcycle")

    def _check_kernels(self) -> None:
        """Check that what our own kernels alone can do is asked of them."""
        gridding = self.gridding
        if gridding.device != "cpu":
            self._check_needs("device", gridding.device, "gridder")
        if gridding.smearing:
            self._check_needs("smearing", gridding.smearing, "gridder", "specmode")
            for name, wish in self.noise.freedom.parameters.items():
                raise ValueError(
                    f"smearing={gridding.smearing} averages what {name}={wish!r} tells apart; use smearing=0"
                )

    def _check_needs(self, name: str, wish: Any, *others: str) -> None:
        """Check that other parameters are what one needs; the task may choose our own kernels yet."""
        may_be_native = self.gridding.native or (self.gridding.imager == "auto" and self.kernels_may_serve)
        may_be_native &= self.gridding.single_pointing
        needed = {
            "gridder": ("native", self.gridding.gridder, may_be_native),
            "specmode": ("mfs", self.grid.specmode, self.grid.continuum),
            "minorcycle": ("rml", "clean", not self.cleans),
        }
        for other in others:
            remedy, given, fits = needed[other]
            if not fits:
                raise ValueError(
                    f"{name}={wish!r} needs {other}='{remedy}', and {other}='{given}' is given; change either"
                )

    def _check_distribution(self) -> None:
        """Check that nothing is asked of workers that needs all visibilities in one process."""
        if not self.runs_on_workers:
            return
        for name, wish in self.noise.freedom.parameters.items():
            raise ValueError(
                f"{name}={wish!r} corrects visibilities one by one, which are on many workers; use parallel=False"
            )
        if self.gridding.device == "gpu":
            raise ValueError("device='gpu' grids in this process, without workers; use device='cpu', or parallel=False")

    def _check_network(self) -> None:
        """Check that the image is of the kind that the network for images knows."""
        if not self.begins_with_network:
            return
        grid, gridding = self.grid, self.gridding
        unknown = {
            f"gridder='{gridding.gridder}'": not gridding.single_pointing,
            f"deconvolver='{grid.deconvolver}'": bool(grid.taylor_terms),
            f"outlierfile='{self.outlierfile}'": bool(self.outlierfile),
            f"stokes='{grid.stokes}'": SIGNED.issuperset(grid.planes),
        }
        for given, is_unknown in unknown.items():
            if is_unknown:
                raise ValueError(
                    f"{given} does not go with minorcycle='deepfocus', whose network knows the total intensity of one "
                    "pointing without Taylor terms; use minorcycle='rml'"
                )

    def _check_weighting(self) -> None:
        """Check what 'briggsbwtaper' cannot do in tclean either."""
        weighting, grid = self.weighting, self.grid
        if weighting.scheme != "briggsbwtaper":
            return
        needed: dict[str, tuple[Any, Any, bool]] = {
            "specmode": ("cube", grid.specmode, not grid.continuum),
            "nchan": (-1, grid.nchan, grid.nchan != 1),
            "perchanweightdensity": (True, weighting.per_channel, weighting.per_channel),
            "npixels": (0, weighting.npixels, weighting.npixels == 0),
        }
        for name, (remedy, given, fits) in needed.items():
            if not fits:
                raise ValueError(
                    f"weighting='briggsbwtaper' does not go with {name}={given!r}; use {name}={remedy!r}, or "
                    "weighting='briggs'"
                )
