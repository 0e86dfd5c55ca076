"""Major cycles: which one a call needs, and whether it makes an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.casa_image import read_beams, read_cell, read_image
from casa_ml_tasks.data.workspace import Workspace
from casa_ml_tasks.engine.protocols import Field, MajorCycle
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.casa import CasaMajorCycle
from casa_ml_tasks.major.native import NativeMajorCycle
from casa_ml_tasks.major.native_mosaic import NativeMosaic
from casa_ml_tasks.request.request import Request

#: CASA's beam where it can fit none is a millionth of an arcsecond; any other is larger than this many pixels.
SMALLEST_BEAM = 1e-3


@contextmanager
def opened(
    workspace: Workspace, request: Request, outliers: Sequence[Request] = (), folds: int = 0
) -> Iterator[MajorCycle]:
    """Open the major cycle of a call, on workers where it asks for them, and let go of every file in the end.

    Args:
        workspace, request, outliers, folds: as those of `major_cycle`.
    """
    if not request.runs_on_workers:
        with closing(major_cycle(workspace, request, outliers, folds)) as major:
            yield major
        return
    from casa_ml_tasks.parallel.clusters import opened_workers  # dask is optional
    from casa_ml_tasks.parallel.mosaic import major_cycle_on_workers

    with (
        opened_workers(request.distribution.cluster) as client,
        closing(major_cycle_on_workers(request, workspace.directory, client, folds)) as major,
    ):
        yield major


def major_cycle(workspace: Workspace, request: Request, outliers: Sequence[Request] = (), folds: int = 0) -> MajorCycle:
    """Return a major cycle by our own kernels where the request says so, else by CASA's imager.

    Args:
        workspace: where it works.
        request: of the main field.
        outliers: the requests of the outlier fields.
        folds: of the visibilities for cross-validation that our own kernels keep.
    """
    if outliers:
        directories = [each.directory for each in workspace.outliers]
        fields = list(zip(outliers, directories, strict=True))
        return CasaMajorCycle(request, workspace.directory, fields)
    if request.gridding.native and not request.gridding.single_pointing:
        return NativeMosaic(request, workspace.directory)
    if request.gridding.native:
        return NativeMajorCycle(request, workspace.directory, folds=folds)
    return CasaMajorCycle(request, workspace.directory)


def check_image(major: MajorCycle, request: Request) -> None:
    """Check that the visibilities make an image, once their weights and the PSF are known.

    Raises:
        ValueError: the weights of every plane sum to zero, or no plane has a PSF that a CLEAN beam can be fitted to.
    """
    vis = request.casa["vis"]
    for field in major.fields:
        sums = read_image(field.product("sumwt"))
        if not (np.isfinite(sums) & (sums > 0)).any():
            raise ValueError(
                f"vis={vis!r}: the weights of all visibilities that can be gridded sum to zero, so there "
                "is no image; check flags, weights, stokes and cell, or use gridder='native'"
            )
        cell = read_cell(field.product("psf"))
        beams = [beam for beam in read_beams(field.product("psf")) if beam is not None]
        if not request.stopping.dirty_only and not any(beam.major > SMALLEST_BEAM * cell for beam in beams):
            raise ValueError(
                f"vis={vis!r}: the visibilities selected are too few for a CLEAN beam, because their PSF "
                "is a plain wave; select more of them, or make the dirty image with niter=0"
            )


def main_field(major: MajorCycle, workspace: Workspace, progress: Progress) -> tuple[Progress, dict[str, float]]:
    """Return the images of the main field, and the flux of each outlier by its imagename, first Stokes plane, Jy.

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
    """Return the solid angles of the CLEAN beams, (channel,), pixels; their median for channels without one."""
    cell = read_cell(images.product("psf"))
    beams = read_beams(images.product("psf"))
    areas = np.array([np.nan if beam is None else beam.area(cell) for beam in beams])
    if np.isnan(areas).all():
        raise ValueError("the PSF has no beam: too few visibilities are selected to image them")
    return np.where(np.isnan(areas), np.nanmedian(areas), areas)
