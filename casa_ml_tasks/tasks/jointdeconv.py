"""jointdeconv: pointings, arrays and single-dish maps in one likelihood, as a CASA task."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from casa_ml_tasks.calibration.image_noise import typical
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import is_casa_image, read_image, write_image
from casa_ml_tasks.data.single_dish import SingleDishMap, read_single_dish
from casa_ml_tasks.data.workspace import Product, Workspace
from casa_ml_tasks.engine.alternation import Alternation, with_all_records
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.reprojected_mosaic import ReprojectedMosaic
from casa_ml_tasks.major.sky_coordinates import sky_coordinates
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.request.images import check_images
from casa_ml_tasks.request.projection import checked_projection
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.single_dish import SingleDishMaps
from casa_ml_tasks.tasks import imaging, joint_minor_cycles, rml_minor_cycles
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.imaging import Imaged
from casa_ml_tasks.tasks.imaging_result import imaging_result, shown_plane
from casa_ml_tasks.tasks.inference_parameters import without_clean
from casa_ml_tasks.tasks.joint_sky import cut_images, embedded, middle
from casa_ml_tasks.tasks.major_cycles import check_image
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.single_dish_data import DishData, shape_of_sky
from casa_ml_tasks.tasks.unused_parameters import lacking_in_inference, warn_of_unused
from casa_ml_tasks.tasks.warnings_at_end import warn_of_calibration, warn_of_end, warn_of_negative_sky

MOST_MAPS = 9


@dataclass(frozen=True)
class JointCall(imaging.ImagingCall):
    """A call of jointdeconv.

    Attributes:
        regularisation: of the sky.
        maps: of single dishes.
        projection: of the sky.
    """

    regularisation: Regularisation
    maps: SingleDishMaps
    projection: str


@dataclass(frozen=True)
class Joined:
    """What jointdeconv has found.

    Attributes:
        imaged: by major and minor cycles, on the image that was asked for.
        misfits: r.m.s. of each map's residual over its noise.
    """

    imaged: Imaged
    misfits: tuple[float, ...]


class Jointdeconv:
    """Joint deconvolution of mosaics and single-dish maps.

    Beside what `Rmlclean` returns there is 'single_dish': of each map, the r.m.s. of its residual over its noise.
    """

    name = "jointdeconv"
    products = (
        imaging.MODEL,
        Product("sky", is_rewritten=True),
        *imaging.IMAGES,
        *(Product(f"sd{number}.residual") for number in ("", *range(2, MOST_MAPS + 1))),
    )
    schemas = joint_minor_cycles.SCHEMAS

    def read(self, arguments: Arguments) -> JointCall:
        """Check the parameters as a joint likelihood takes them."""
        taken = without_clean(arguments, self.name)
        warn_of_unused(self.name, arguments, lacking_in_inference)
        request = Request.from_parameters(
            **{**taken.values, "gridder": "mosaic", "imager": "native", "projection": "SIN"}
        )
        regularisation = Regularisation.from_parameters(request, **request.casa).signed()
        maps = SingleDishMaps.from_parameters(**request.casa)
        check_images(request)
        return JointCall(
            (request,), None, regularisation, maps, checked_projection(taken.values.get("projection", "SIN"))
        )

    def check(self, call: JointCall) -> Survey:
        """Check the call against disk and data, and the maps against the image."""
        _maps_on_image(call)
        return imaging.check_call(call, self.name)

    def work(self, call: JointCall, context: Context) -> Joined:
        """Find the sky in rounds, each with the noise that the last has led to."""
        request, shape = call.request, _shape_of_sky(call)
        on_sky = replace(call, fields=(request.changed(imsize=list(shape[::-1])),))
        with closing(_opened(on_sky, context.workspace)) as major:
            check_image(major, on_sky.request)
            maps = _maps_on_sky(on_sky)
            start = context.interrupted or Progress(_first_sky(major, call, context.workspace))
            steps = imaging.begin_data_steps(major, on_sky, replace(context, interrupted=start))
            rounds = Alternation(steps.in_order, steps.start)
            while not rounds.settled:
                noise = steps.errors.noise
                minor = joint_minor_cycles.most_probable(major, maps, noise, call.regularisation, request.grid.shape)
                imaging.run_round(rounds, major, minor, _exit_criteria(request, noise), context.checkpoint)
            progress = with_all_records(rounds.rounds)
            major.finish(progress.model, request.output.restoration, request.output.pbcor)
            image = major.seen(progress.model)
            for extension, each in zip(_extensions(maps), maps, strict=True):
                each.write_residual(major.product(extension), image, major.product("pb"))
            imaged = imaging.imaged_by(major, steps, progress, context)
            imaged = replace(imaged, progress=replace(progress, residual=major.read_residual()))
            if shape != request.grid.shape:
                write_image(major.product("sky"), progress.model, major.product("residual"), "Jy/pixel")
                major.write_coordinates(major.product("sky"))
                cut_images(
                    (major.product(each.extension) for each in (imaging.MODEL, *imaging.IMAGES)), request.grid.shape
                )
                imaged = _cut(imaged, request.grid.shape)
        return Joined(imaged, tuple(each.misfit(image) for each in maps))

    def conclude(self, call: JointCall, context: Context, work: Joined) -> TaskResult:
        """Warn of what the residuals tell; return what was found."""
        request, imaged, workspace = call.request, work.imaged, context.workspace
        ending = imaging.ending_of(imaged, workspace)
        positive = rml_minor_cycles.positive_planes(request, call.regularisation)
        warn_of_end(imaged.progress, request.stopping.nmajor)
        warn_of_negative_sky(ending, positive, "positivity=False")
        warn_of_calibration(ending)
        signed = not call.regularisation.positivity
        content = shown_plane(imaged, workspace, request, may_be_negative=signed, model_is_mean=False)
        result = imaging_result(imaged, content, request)
        return replace(result, numbers={**result.numbers, "single_dish": list(work.misfits)})


def _opened(call: JointCall, workspace: Workspace) -> SkyMosaic:
    if call.projection == "SIN":
        return SkyMosaic(call.request, workspace.directory)
    return ReprojectedMosaic(call.request, workspace.directory, call.projection)


def _exit_criteria(request: Request, noise: Image) -> ExitCriteria:
    """Return the criteria of the end: convergence, or the number of major cycles. noise: (channel, 1), Jy/beam."""
    niter = 0 if request.stopping.dirty_only else -1
    return ExitCriteria(niter=niter, nmajor=request.stopping.nmajor, noise=typical(noise))


def _maps_on_image(call: JointCall) -> list[SingleDishMap]:
    """Return the maps on the pixels and channels of the image.

    Raises:
        ValueError: one of them does not suit the image.
    """
    if not call.maps.files:
        return []
    coordinates = sky_coordinates(call.request)
    return [read_single_dish(file, coordinates) for file in call.maps.files]


def _maps_on_sky(call: JointCall) -> list[DishData]:
    """Return the maps on the sky that is imaged."""
    if not call.maps.files:
        return []
    coordinates = sky_coordinates(call.request)
    return [DishData.read(file, coordinates) for file in call.maps.files]


def _shape_of_sky(call: JointCall) -> tuple[int, int]:
    """Return (ny, nx) of the sky: that of the image, or as far as the maps reach around it."""
    return shape_of_sky(call.request.grid.shape, _maps_on_image(call), call.request.grid.cells[0])


def _extensions(maps: Sequence[DishData]) -> list[str]:
    """Return the extensions of the residuals of maps."""
    return [f"sd{'' if number == 1 else number}.residual" for number in range(1, len(maps) + 1)]


def _first_sky(major: SkyMosaic, call: JointCall, workspace: Workspace) -> Image:
    """Return the sky to begin with: from `startmodel`, that of a finished run, or an empty one."""
    shape, startmodel = major.shape, list(call.request.output.startmodel)
    earlier = [workspace.product("sky"), workspace.product("model")]
    sources = startmodel or [str(path) for path in earlier if is_casa_image(path)][:1]
    if not sources:
        return np.zeros(shape, np.float32)
    model, image_shape = read_image(sources[0]), (*shape[:2], *call.request.grid.shape)
    if model.shape not in (shape, image_shape):
        raise ValueError(
            f"{sources[0]} has {model.shape} channels, Stokes planes, rows and columns, but the image asked for has "
            f"{image_shape}; regrid it with imregrid, or use restart=False and no startmodel"
        )
    return model if model.shape == shape else embedded(model, (shape[-2], shape[-1]))


def _cut(imaged: Imaged, shape: tuple[int, int]) -> Imaged:
    """Return what was found in the middle of the sky, (ny, nx)."""
    progress = imaged.progress
    assert progress.residual is not None
    assert progress.dirty is not None
    cut = replace(
        progress,
        model=middle(progress.model, shape),
        residual=middle(progress.residual, shape),
        dirty=middle(progress.dirty, shape),
        last_model=None,
        last_residual=None,
    )
    return replace(imaged, progress=cut)
