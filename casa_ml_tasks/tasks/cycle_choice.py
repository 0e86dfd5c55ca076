"""From the parameters of a task to the components of its loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.calibration.data_model import Freedom
from casa_ml_tasks.calibration.data_steps import DataSteps
from casa_ml_tasks.calibration.image_noise import typical
from casa_ml_tasks.calibration.residual_statistics import SecondReading, residual_statistics
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import (
    is_casa_image,
    read_beams,
    read_cell,
    read_direction,
    read_image,
    read_images,
)
from casa_ml_tasks.data.directions import tracked
from casa_ml_tasks.data.input_checks import ARCSEC, CONTINUUM, SINGLE_POINTING, cells_in_arcsec, value_in
from casa_ml_tasks.data.measurement_set import selections
from casa_ml_tasks.data.stokes import stokes_planes
from casa_ml_tasks.data.visibility_store import ImageFrame
from casa_ml_tasks.data.workspace import Workspace, taylor_terms
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.casa import CasaImages, CasaMajorCycle
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.outlier_fields import CasaFields

#: CASA's beam where it can fit none is a millionth of an arcsecond; any other is larger than this many pixels.
SMALLEST_BEAM = 1e-3


def noise_scale(parameters: Mapping[str, Any], data: Survey) -> float:
    """True noise over the noise that WEIGHT claims: the user's, or the measured one."""
    return data.noise_scale if parameters["noisescale"] == "auto" else float(parameters["noisescale"])


def exit_criteria(noise: NDArray[np.floating], parameters: Mapping[str, Any]) -> ExitCriteria:
    """tclean's stopping parameters. noise: (channel, stokes), Jy/beam."""
    threshold = value_in(parameters["threshold"], "Jy")
    assert threshold is not None, "check_parameters has refused it"
    return ExitCriteria(
        niter=parameters["niter"],
        nmajor=parameters["nmajor"],
        threshold=threshold,
        nsigma=parameters["nsigma"],
        noise=typical(noise),
    )


def major_cycle(
    workspace: Workspace, parameters: Mapping[str, Any], outliers: Sequence[Mapping[str, Any]] = (), folds: int = 0
) -> CasaMajorCycle:
    """Our own kernels for gridder='native', else CASA's imager.

    Args:
        workspace: where it works.
        parameters: of the task.
        outliers: all parameters of each outlier field.
        folds: of the visibilities for cross-validation that our own kernels keep.
    """
    if outliers:
        return CasaFields([parameters, *outliers], [workspace, *workspace.outliers])
    if parameters["gridder"] == "native":
        return NativeMajorCycle(parameters, workspace.directory, folds=folds)
    return CasaMajorCycle(parameters, workspace.directory)


def data_steps(
    major: CasaMajorCycle, workspace: Workspace, parameters: Mapping[str, Any], data: Survey, start: Progress
) -> DataSteps:
    """Return what is fitted to the visibilities besides the image.

    Args:
        major: makes the images.
        workspace: where it works.
        parameters: of the task.
        data: the survey.
        start: what a killed run has left, or a first model.
    """
    visibilities = major.visibilities
    reading = None if visibilities is not None else second_reading(major, workspace, parameters, data)
    return DataSteps(
        major,
        noise_scale(parameters, data),
        Freedom.from_parameters(parameters),
        parameters.get("minorcycle") != "clean" and parameters["noisescale"] == "auto",
        partial(residual_statistics, visibilities, reading),
        start,
    )


def second_reading(
    major: CasaImages, workspace: Workspace, parameters: Mapping[str, Any], data: Survey
) -> SecondReading | None:
    """Return how to read the visibilities again; None where the model is more than one image of total intensity."""
    oblong = len(set(cells_in_arcsec(parameters["cell"]))) > 1
    if oblong or parameters["gridder"] not in SINGLE_POINTING or parameters["specmode"] not in CONTINUUM:
        return None
    if workspace.outliers or taylor_terms(parameters) or stokes_planes(parameters["stokes"])[0] != "I":
        return None
    image = major.product("psf")
    frame = ImageFrame(*read_direction(image), tracks=tracked(parameters["phasecenter"]))
    return SecondReading(selections(parameters), frame, read_cell(image) * ARCSEC, data.visibilities)


def first_progress(major: CasaImages, workspace: Workspace, parameters: Mapping[str, Any]) -> Progress:
    """Where a run that resumes nothing begins: from startmodel, the model of a finished run, or an empty sky."""
    if isinstance(major, CasaFields):
        starts = [first_progress(field, field.workspace, field.parameters) for field in major.fields]
        return Progress(major.layout.pack([start.model for start in starts]))
    startmodel = [each for each in np.atleast_1d(parameters["startmodel"]).tolist() if each]
    earlier = [str(workspace.product("model", term)) for term in range(workspace.terms or 1)]
    if startmodel:
        return Progress(_model(startmodel, f"startmodel={startmodel}", "regrid it with imregrid", major.shape))
    if not is_casa_image(earlier[0]):
        return Progress(np.zeros(major.shape, np.float32))
    source = f"imagename='{workspace.imagename}': {' and '.join(earlier)} of an earlier run"
    model = _model(earlier, source, "choose another imagename or remove the old products", major.shape)
    casalog.post(f"the model begins with {' and '.join(earlier)}; restart=False begins with an empty sky", "INFO")
    return Progress(model)


def _model(paths: Sequence[str], source: str, remedy: str, shape: tuple[int, ...]) -> Image:
    """Read a first model. source, remedy: of the sentence that refuses another shape."""
    model = read_images(paths)
    if model.shape != shape:
        raise ValueError(
            f"{source} has {model.shape} channels or terms, Stokes planes, rows and columns, but the image asked for "
            f"has {shape}; {remedy}"
        )
    return model


def check_data(major: CasaMajorCycle, parameters: Mapping[str, Any]) -> None:
    """Check that the visibilities make an image, once their weights and the PSF are known.

    Raises:
        ValueError: the weights of every plane sum to zero, or no plane has a PSF that a CLEAN beam can be fitted to.
    """
    for field in major.fields if isinstance(major, CasaFields) else [major]:
        sums = read_image(field.product("sumwt"))
        if not (np.isfinite(sums) & (sums > 0)).any():
            raise ValueError(
                f"vis={parameters['vis']!r}: the weights of all visibilities that can be gridded sum to zero, so there "
                "is no image; check flags, weights, stokes and cell, or use gridder='native'"
            )
        cell = read_cell(field.product("psf"))
        beams = [beam for beam in read_beams(field.product("psf")) if beam is not None]
        if parameters["niter"] != 0 and not any(beam.major > SMALLEST_BEAM * cell for beam in beams):
            raise ValueError(
                f"vis={parameters['vis']!r}: the visibilities selected are too few for a CLEAN beam, because their PSF "
                "is a plain wave; select more of them, or make the dirty image with niter=0"
            )


def main_field(major: CasaMajorCycle, workspace: Workspace, progress: Progress) -> tuple[Progress, dict[str, float]]:
    """The images of the main field, and the flux of each outlier by its imagename, first Stokes plane, Jy."""
    if not isinstance(major, CasaFields):
        return progress, {}
    models = major.layout.unpack(progress.model)[1:]
    fluxes = {
        str(each.imagename): float(model[:, 0].sum(dtype=float))
        for each, model in zip(workspace.outliers, models, strict=True)
    }
    return major.main_field(progress), fluxes


def beam_areas(images: CasaImages | Workspace) -> NDArray[np.floating]:
    """Solid angles of the CLEAN beams, (channel,), pixels; their median for channels without one."""
    cell = read_cell(images.product("psf"))
    beams = read_beams(images.product("psf"))
    areas = np.array([np.nan if beam is None else beam.area(cell) for beam in beams])
    if np.isnan(areas).all():
        raise ValueError("the PSF has no beam: too few visibilities are selected to image them")
    return np.where(np.isnan(areas), np.nanmedian(areas), areas)
