"""From the parameters of a task to the components of its loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import is_casa_image, read_beams, read_cell, read_image, read_images
from casa_ml_tasks.data.input_checks import value_in
from casa_ml_tasks.data.measurement_set import Survey
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Field, Image, MajorCycle
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.major.native import NativeMajorCycle

#: CASA's beam where it can fit none is a millionth of an arcsecond; any other is larger than this many pixels.
SMALLEST_BEAM = 1e-3


def noise_scale(parameters: Mapping[str, Any], data: Survey) -> float:
    """True noise over the noise that WEIGHT claims: the user's, or the measured one."""
    return data.noise_scale if parameters["noisescale"] == "auto" else float(parameters["noisescale"])


def typical(noise: NDArray[np.floating]) -> float:
    """The median over the planes with data, whose noise is finite."""
    return float(np.median(noise[np.isfinite(noise)]))


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
) -> MajorCycle:
    """Our own kernels for gridder='native', else CASA's imager.

    Args:
        workspace: where it works.
        parameters: of the task.
        outliers: all parameters of each outlier field.
        folds: of the visibilities for cross-validation that our own kernels keep.
    """
    if outliers:
        directories = [each.directory for each in workspace.outliers]
        return CasaMajorCycle(parameters, workspace.directory, list(zip(outliers, directories, strict=True)))
    if parameters["gridder"] == "native":
        return NativeMajorCycle(parameters, workspace.directory, folds=folds)
    return CasaMajorCycle(parameters, workspace.directory)


def first_progress(
    major: MajorCycle, workspace: Workspace, parameters: Mapping[str, Any], outliers: Sequence[Mapping[str, Any]] = ()
) -> Progress:
    """Where a run that resumes nothing begins: from startmodel, the model of a finished run, or an empty sky."""
    fields = zip(major.fields, [workspace, *workspace.outliers], [parameters, *outliers], strict=True)
    return Progress(major.layout.pack([_first_model(*each) for each in fields]))


def _first_model(field: Field, workspace: Workspace, parameters: Mapping[str, Any]) -> Image:
    startmodel = [each for each in np.atleast_1d(parameters["startmodel"]).tolist() if each]
    earlier = [str(workspace.product("model", term)) for term in range(workspace.terms or 1)]
    if startmodel:
        return _model(startmodel, f"startmodel={startmodel}", "regrid it with imregrid", field.shape)
    if not is_casa_image(earlier[0]):
        return np.zeros(field.shape, np.float32)
    source = f"imagename='{workspace.imagename}': {' and '.join(earlier)} of an earlier run"
    model = _model(earlier, source, "choose another imagename or remove the old products", field.shape)
    casalog.post(f"the model begins with {' and '.join(earlier)}; restart=False begins with an empty sky", "INFO")
    return model


def _model(paths: Sequence[str], source: str, remedy: str, shape: tuple[int, ...]) -> Image:
    """Read a first model. source, remedy: of the sentence that refuses another shape."""
    model = read_images(paths)
    if model.shape != shape:
        raise ValueError(
            f"{source} has {model.shape} channels or terms, Stokes planes, rows and columns, but the image asked for "
            f"has {shape}; {remedy}"
        )
    return model


def check_data(major: MajorCycle, parameters: Mapping[str, Any]) -> None:
    """Check that the visibilities make an image, once their weights and the PSF are known.

    Raises:
        ValueError: the weights of every plane sum to zero, or no plane has a PSF that a CLEAN beam can be fitted to.
    """
    for field in major.fields:
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


def main_field(major: MajorCycle, workspace: Workspace, progress: Progress) -> tuple[Progress, dict[str, float]]:
    """The images of the main field, and the flux of each outlier by its imagename, first Stokes plane, Jy.

    The records stay those of all fields.
    """
    main, *models = major.layout.unpack(progress.model)
    residual, dirty = (
        None if packed is None else major.layout.unpack(packed)[0] for packed in (progress.residual, progress.dirty)
    )
    fluxes = {
        str(each.imagename): float(model[:, 0].sum(dtype=float))
        for each, model in zip(workspace.outliers, models, strict=True)
    }
    of_main = replace(progress, model=main, residual=residual, dirty=dirty, last_model=None, last_residual=None)
    return of_main, fluxes


def beam_areas(images: Field | Workspace) -> NDArray[np.floating]:
    """Solid angles of the CLEAN beams, (channel,), pixels; their median for channels without one."""
    cell = read_cell(images.product("psf"))
    beams = read_beams(images.product("psf"))
    areas = np.array([np.nan if beam is None else beam.area(cell) for beam in beams])
    if np.isnan(areas).all():
        raise ValueError("the PSF has no beam: too few visibilities are selected to image them")
    return np.where(np.isnan(areas), np.nanmedian(areas), areas)
