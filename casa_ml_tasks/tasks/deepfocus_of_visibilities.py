"""deepfocus from Measurement Sets: the dirty images are made, imaged and searched in one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import read_beams
from casa_ml_tasks.data.image_axes import read_axes
from casa_ml_tasks.data.measurement_set import TOTAL_INTENSITY
from casa_ml_tasks.engine.protocols import MajorCycle
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.request.gridding import SINGLE_POINTING
from casa_ml_tasks.request.images import check_images
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.values import listed
from casa_ml_tasks.sources.dirty_cube import DirtyCube
from casa_ml_tasks.tasks import imaging
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.deepfocus_result import FoundInImage, Searched, read_truth, with_sources
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.found_sources import check_size, dirty_cube, networks_of, sources_of_visibilities
from casa_ml_tasks.tasks.gridder import as_chosen, with_gridder
from casa_ml_tasks.tasks.inference_parameters import without_clean
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.rmlclean import CleanCall, Rmlclean
from casa_ml_tasks.tasks.source_catalogue import catalogue
from casa_ml_tasks.tasks.source_products import write_catalogue, write_source_images
from casa_ml_tasks.tasks.unused_parameters import lacking_in_inference, warn_of_unused

#: What CLEAN's parameters are for a minor cycle that ends when it has converged.
WITHOUT_LIMITS = {"threshold": 0.0, "nsigma": 0.0, "cycleniter": -1, "deconvolver": "hogbom"}


@dataclass(frozen=True)
class VisibilityCall(CleanCall):
    """A call with Measurement Sets.

    Attributes:
        truth: table of true sources; None where there is none.
    """

    truth: Table | None

    @classmethod
    def read(cls, arguments: Arguments, task: str) -> Self:
        """Check the parameters, and choose the gridder."""
        taken = without_clean(arguments, task)
        _refuse(taken)
        niter = 0 if taken.values["niter"] == 0 else -1
        values = {**taken.values, **WITHOUT_LIMITS, "niter": niter, "minorcycle": "deepfocus"}
        request, channels = with_gridder(Request.from_parameters(**values))
        warn_of_unused(task, as_chosen(arguments, request), _lacking)
        check_images(request)
        return cls((request,), channels, Regularisation(), read_truth(values["truth"]))

    @property
    def parameters(self) -> list[Mapping[str, object]]:
        """Every parameter, as the task takes it; it has no choice of minor cycles."""
        return [{name: value for name, value in self.request.casa.items() if name != "minorcycle"}]

    def check(self, task: str) -> Survey:
        """Check the networks, and the call against disk and data."""
        networks_of(self.request.weights)
        return imaging.check_call(self, task)

    def work(self, context: Context) -> Searched:
        """Make the dirty images, image them, and find their sources."""
        networks = networks_of(self.request.weights)
        with imaging.opened_major_cycle(self, context.workspace) as major:
            check_size(_cube(major, major.noise()), networks)
            cleaned = Rmlclean().clean(major, self, context)
            dirty = cleaned.imaged.progress.dirty
            assert dirty is not None
            cube = _cube(major, cleaned.imaged.noise.of_planes, dirty)
            found, cube = sources_of_visibilities(cube, networks, "deepfocus")
            template = major.product("residual")
            axes = read_axes(template)
            middle = int(np.flatnonzero(np.isfinite(cube.noise))[np.isfinite(cube.noise).sum() // 2])
            table = catalogue(found, axes, cube.noise, major.primary_beam()[middle, 0])
            write_source_images(major.product, template, found, cube)
        write_catalogue(context.workspace.unfinished, table)
        return Searched(FoundInImage(found, table, axes), cleaned)

    def conclude(self, context: Context, work: Searched) -> TaskResult:
        """Warn of what the residual tells; return images and sources."""
        assert work.cleaned is not None
        result = Rmlclean().conclude(self, context, work.cleaned)
        return with_sources(result, work.sources, self.truth, context.workspace)


def _cube(major: MajorCycle, noise: NDArray[np.floating], dirty: NDArray[np.floating] | None = None) -> DirtyCube:
    """Return the dirty cube; of zeros before it is made. noise: (channel, stokes), Jy/beam."""
    psf = major.psf()[:, 0]
    if dirty is None:
        dirty = np.zeros(major.shape, np.float32)
    beams = [beam for beam in read_beams(major.product("psf")) if beam is not None]
    return dirty_cube(dirty[:, 0], psf, noise[:, 0], beams[len(beams) // 2], read_axes(major.product("psf")))


def _refuse(arguments: Arguments) -> None:
    """Check that the images are of the kind that the networks know.

    Raises:
        ValueError: they are not.
    """
    values = arguments.values
    for vis in listed(values["vis"]):
        if not Path(vis).exists():
            raise ValueError(f"vis='{vis}' does not exist; give a Measurement Set")
    gridder, stokes = values["gridder"], values["stokes"]
    if gridder not in SINGLE_POINTING:
        raise ValueError(
            f"gridder='{gridder}' makes images whose PSF differs from place to place; deepfocus searches those of one "
            "pointing: use gridder='standard' with field"
        )
    if stokes not in TOTAL_INTENSITY:
        raise ValueError(f"stokes='{stokes}' is not searched for sources; use one of {', '.join(TOTAL_INTENSITY)}")
    if values["deconvolver"] == "mtmfs":
        raise ValueError("deconvolver='mtmfs' is not searched for sources; use specmode='mfs', or a cube")
    if values["outlierfile"]:
        raise ValueError(f"outlierfile='{values['outlierfile']}' is not supported; use '' and a larger imsize")


def _lacking(name: str, arguments: Arguments) -> str:
    """Return why a parameter has no effect; '' where it has one."""
    return "needs dirtyimage" if name == "psfimage" else lacking_in_inference(name, arguments)
