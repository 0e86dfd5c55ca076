"""jointdeconv: pointings, arrays and single-dish maps in one likelihood, as a CASA task."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from casatasks import casalog

from casa_ml_tasks.calibration.data_steps import DataSteps
from casa_ml_tasks.calibration.flux_scale import FluxScales
from casa_ml_tasks.calibration.flux_scale_step import FluxScaleStep
from casa_ml_tasks.calibration.image_noise import typical
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import is_casa_image, read_image, write_image
from casa_ml_tasks.data.single_dish import SingleDishMap, read_single_dish
from casa_ml_tasks.data.workspace import Product, Workspace
from casa_ml_tasks.engine.alternation import Alternation, DataStep, with_all_records
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Image, MinorCycle
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.reprojected_mosaic import ReprojectedMosaic
from casa_ml_tasks.major.pointings import check_beams
from casa_ml_tasks.major.sky_coordinates import sky_coordinates
from casa_ml_tasks.major.sky_mosaic import SkyMosaic
from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.report.joint_content import JointContent
from casa_ml_tasks.report.joint_section import joint_sections
from casa_ml_tasks.request.images import check_images
from casa_ml_tasks.request.inference import Inference
from casa_ml_tasks.request.projection import checked_projection
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.single_dish import SingleDishMaps
from casa_ml_tasks.tasks import imaging, joint_minor_cycles, rml_minor_cycles
from casa_ml_tasks.tasks import joint_resolve_minor_cycle as inference_cycle
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.imaging import Imaged
from casa_ml_tasks.tasks.imaging_result import imaging_result, shown_plane
from casa_ml_tasks.tasks.inference_warnings import judged
from casa_ml_tasks.tasks.joint_flux_scales import JointFluxScales
from casa_ml_tasks.tasks.joint_parameters import as_joint
from casa_ml_tasks.tasks.joint_report import joint_content
from casa_ml_tasks.tasks.joint_sky import cut_images, embedded, middle
from casa_ml_tasks.tasks.major_cycles import check_image
from casa_ml_tasks.tasks.posterior_products import write_posterior_products
from casa_ml_tasks.tasks.posterior_result import with_posterior
from casa_ml_tasks.tasks.resolve_minor_cycle import has_begun
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.single_dish_data import DishData, shape_of_sky
from casa_ml_tasks.tasks.unused_parameters import lacking_in_joint, warn_of_unused
from casa_ml_tasks.tasks.warnings_at_end import warn_of_calibration, warn_of_end, warn_of_negative_sky

MOST_MAPS = 9
#: What has the pixels of the image that was asked for.
ON_IMAGE = (
    imaging.MODEL,
    *(Product(extension, is_rewritten=True) for extension in ("uncertainty", "samples")),
    *imaging.IMAGES,
)


@dataclass(frozen=True)
class JointCall(imaging.ImagingCall):
    """A call of jointdeconv.

    Attributes:
        regularisation: of the sky.
        maps: of single dishes.
        inference: of the posterior; None where the most probable sky is asked for.
        projection: of the sky.
    """

    regularisation: Regularisation
    maps: SingleDishMaps
    inference: Inference | None
    projection: str

    @property
    def fits_fluxes(self) -> bool:
        """Whether the data are divided by the flux scales that are found."""
        return bool(self.request.casa["fluxscale"] == "fit")


@dataclass(frozen=True)
class Joined:
    """What jointdeconv has found.

    Attributes:
        imaged: by major and minor cycles, on the image that was asked for.
        misfits: r.m.s. of each map's residual over its noise.
        sets: what the report shows of the data sets.
        posterior: of that image; None where the most probable sky was asked for.
    """

    imaged: Imaged
    misfits: tuple[float, ...]
    sets: JointContent
    posterior: Posterior | None


class Jointdeconv:
    """Joint deconvolution of mosaics and single-dish maps.

    Beside what `Rmlclean` returns there are 'single_dish', of each map the r.m.s. of its residual over its noise, and
    'flux_scale', of each data set its scale relative to the first Measurement Set.
    """

    name = "jointdeconv"
    products = (
        *ON_IMAGE,
        Product("sky", is_rewritten=True),
        Product("powerspectrum", is_image=False),
        *(Product(f"sd{number}.residual") for number in ("", *range(2, MOST_MAPS + 1))),
    )
    schemas = (*joint_minor_cycles.SCHEMAS, *inference_cycle.SCHEMAS)

    def read(self, arguments: Arguments) -> JointCall:
        """Check the parameters as a joint likelihood takes them."""
        taken = as_joint(arguments, self.name)
        warn_of_unused(self.name, arguments, lacking_in_joint)
        projection = checked_projection(taken.values.get("projection", "SIN"))
        request = Request.from_parameters(**{**taken.values, "projection": "SIN"})
        regularisation = Regularisation.from_parameters(request, **request.casa).signed()
        maps = SingleDishMaps.from_parameters(**request.casa)
        check_images(request)
        asked = request.casa["inference"] == "posterior"
        inference = Inference.from_parameters(request, **request.casa) if asked else None
        if inference is not None and projection != "SIN":
            raise ValueError(
                f"projection='{projection}' has no inference='posterior' yet; use projection='SIN', or inference='map'"
            )
        return JointCall((request,), None, regularisation, maps, inference, projection)

    def check(self, call: JointCall) -> Survey:
        """Check the call against disk and data, and the maps against the image."""
        for vis in call.request.selection.vis:
            _check_beams(vis)
        _maps_on_image(call)
        return imaging.check_call(call, self.name, call.inference.most_samples if call.inference else 0)

    def work(self, call: JointCall, context: Context) -> Joined:
        """Find the sky, as far as the maps reach, and write what lies in the image that was asked for."""
        shape = _shape_of_sky(call)
        on_sky = replace(call, fields=(call.request.changed(imsize=list(shape[::-1])),))
        with closing(_opened(on_sky, context.workspace)) as major:
            check_image(major, on_sky.request)
            solution = _solution(major, call, on_sky, context)
            return _written(major, solution, call, context)

    def conclude(self, call: JointCall, context: Context, work: Joined) -> TaskResult:
        """Warn of what the residuals tell; return what was found."""
        request, imaged, workspace = call.request, work.imaged, context.workspace
        ending = imaging.ending_of(imaged, workspace)
        positive = rml_minor_cycles.positive_planes(request, call.regularisation)
        warn_of_end(imaged.progress, request.stopping.nmajor)
        warn_of_negative_sky(ending, positive, "positivity=False")
        warn_of_calibration(ending)
        signed = not call.regularisation.positivity
        content = shown_plane(
            imaged, workspace, request, may_be_negative=signed, model_is_mean=work.posterior is not None
        )
        result = imaging_result(imaged, content, request)
        scales = work.sets.scales
        for sentence in scales.warnings(call.fits_fluxes) if imaged.progress.model.any() else []:
            casalog.post(f"data sets are compared: {sentence}", "WARN", self.name)
        numbers = {**result.numbers, "single_dish": list(work.misfits), "flux_scale": scales.as_numbers()}
        images, *others = result.sections
        result = replace(result, numbers=numbers, sections=[images, *joint_sections(work.sets), *others])
        if work.posterior is None:
            return result
        return with_posterior(result, content, work.posterior, imaged.brightest_channel)


@dataclass(frozen=True)
class _Solution:
    """The sky of all data, before it is written.

    Attributes:
        progress: how the last round ended, with the records of all rounds.
        steps: what was fitted to the visibilities.
        sets: the data sets, as they were imaged.
        scales: of the data sets.
        posterior: of the sky; None where the most probable sky was asked for.
    """

    progress: Progress
    steps: DataSteps
    sets: JointFluxScales
    scales: FluxScales
    posterior: Posterior | None


def _solution(major: SkyMosaic, call: JointCall, on_sky: JointCall, context: Context) -> _Solution:
    """Find the most probable sky in rounds, each with the noise and flux scales that the last has led to.

    The posterior, where it is asked for, is that of the data of the last round.
    """
    start = context.interrupted or Progress(_first_sky(major, call, context.workspace))

    def most_probable(maps: Sequence[DishData]) -> MinorCycle:
        shape = call.request.grid.shape
        return joint_minor_cycles.most_probable(major, maps, steps.errors.noise, call.regularisation, shape)

    def solve(rounds: Alternation, minor: MinorCycle) -> None:
        imaging.run_round(rounds, major, minor, _exit_criteria(call.request, steps.errors.noise), context.checkpoint)

    sets = JointFluxScales(
        major, _maps_on_sky(on_sky), most_probable, call.request.noise.scale_or(context.data.noise_scale)
    )
    fluxes = FluxScaleStep(sets.names, sets.compare, sets.divide, (start.calibration or {}).get("flux_scale"))
    steps = imaging.begin_data_steps(major, on_sky, replace(context, interrupted=start))
    corrections: list[DataStep] = [fluxes] if call.fits_fluxes else []
    rounds = Alternation([*corrections, *steps.in_order], steps.start)
    infers = call.inference is not None and not call.request.stopping.dirty_only
    while not rounds.settled and not (infers and has_begun(rounds.start.state)):
        solve(rounds, most_probable(sets.divided_maps))
    if call.inference is None or not infers:
        progress, posterior = with_all_records(rounds.rounds), None
    else:
        inferred = Alternation([], rounds.start)
        minor = inference_cycle.joint_resolve_minor_cycle(major, sets.divided_maps, steps.errors.noise, call.inference)
        solve(inferred, minor)
        posterior = minor.posterior(inferred.rounds[-1].state)
        progress = judged(with_all_records([*rounds.rounds, *inferred.rounds]), posterior)
    scales = fluxes.scales or sets.compare(progress.model).after(sets.factors)
    return _Solution(progress, steps, sets, scales, posterior)


def _written(major: SkyMosaic, solution: _Solution, call: JointCall, context: Context) -> Joined:
    """Write all products, and return what was found in the image that was asked for."""
    request, progress, maps = call.request, solution.progress, solution.sets.divided_maps
    content = joint_content(major, solution.sets, solution.scales, progress.model, call.fits_fluxes)
    image = major.seen(progress.model)
    major.finish(progress.model, request.output.restoration, request.output.pbcor)
    write_posterior_products(major, solution.posterior, solution.steps.data_model)
    for extension, each in zip(_extensions(maps), maps, strict=True):
        each.write_residual(major.product(extension), image, major.product("pb"))
    imaged = imaging.imaged_by(major, solution.steps, progress, context)
    imaged = replace(imaged, progress=replace(progress, residual=major.read_residual()))
    posterior = solution.posterior
    if progress.model.shape[-2:] != request.grid.shape:
        write_image(major.product("sky"), progress.model, major.product("residual"), "Jy/pixel")
        major.write_coordinates(major.product("sky"))
        cut_images((major.product(each.extension) for each in ON_IMAGE), request.grid.shape)
        imaged = _cut(imaged, request.grid.shape)
        if posterior is not None:
            posterior = replace(posterior, samples=middle(posterior.samples, request.grid.shape))
    major.predict(progress.model)
    return Joined(imaged, tuple(each.misfit(image) for each in maps), content, posterior)


def _opened(call: JointCall, workspace: Workspace) -> SkyMosaic:
    if call.projection == "SIN":
        return SkyMosaic(call.request, workspace.directory, origins=True)
    return ReprojectedMosaic(call.request, workspace.directory, call.projection)


def _exit_criteria(request: Request, noise: Image) -> ExitCriteria:
    """Return the criteria of the end: convergence, or the number of major cycles. noise: (channel, 1), Jy/beam."""
    niter = 0 if request.stopping.dirty_only else -1
    return ExitCriteria(niter=niter, nmajor=request.stopping.nmajor, noise=typical(noise))


def _check_beams(vis: str) -> None:
    """Check that the primary beams of all antennas are known.

    Raises:
        ValueError: that of one is not.
    """
    try:
        check_beams(vis)
    except ValueError as error:
        raise ValueError(
            f"vis='{vis}': {error}; correct TELESCOPE_NAME or DISH_DIAMETER, or use rmlclean with gridder='mosaic' and "
            "a vptable of the beam"
        ) from error


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
