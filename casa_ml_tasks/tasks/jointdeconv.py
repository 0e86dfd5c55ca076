"""jointdeconv: pointings, arrays and single-dish maps in one likelihood, as a CASA task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

from casatasks import casalog

from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.projections import HEALPIX
from casa_ml_tasks.data.skies import TABLE
from casa_ml_tasks.data.workspace import Product, Workspace
from casa_ml_tasks.major.reprojected_mosaic import ReprojectedMosaic
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
from casa_ml_tasks.tasks.joint_call import JointCall
from casa_ml_tasks.tasks.joint_parameters import as_joint
from casa_ml_tasks.tasks.joint_report import joint_content
from casa_ml_tasks.tasks.joint_sky import cut_images, middle
from casa_ml_tasks.tasks.joint_solution import JointSolution, solution_of
from casa_ml_tasks.tasks.major_cycles import check_image
from casa_ml_tasks.tasks.posterior_products import write_posterior_products
from casa_ml_tasks.tasks.posterior_result import with_posterior
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.single_dish_data import DishData
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
        Product(f"sky{TABLE}", is_image=False),
        Product("powerspectrum", is_image=False),
        *(Product(f"sd{number}.residual") for number in ("", *range(2, MOST_MAPS + 1))),
    )
    schemas = (*joint_minor_cycles.SCHEMAS, *inference_cycle.SCHEMAS)

    def read(self, arguments: Arguments) -> JointCall:
        """Check the parameters as a joint likelihood takes them."""
        taken = as_joint(arguments, self.name)
        warn_of_unused(self.name, arguments, lacking_in_joint)
        projection = checked_projection(taken.values["projection"], (HEALPIX,))
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
        call.check_beams()
        call.check_projection()
        call.maps_on_image()
        return imaging.check_call(call, self.name, call.inference.most_samples if call.inference else 0)

    def work(self, call: JointCall, context: Context) -> Joined:
        """Find the sky, as far as the maps reach, and write what lies in the image that was asked for."""
        shape = call.shape_of_sky()
        on_sky = replace(call, fields=(call.request.changed(imsize=list(shape[::-1])),))
        with _opened(on_sky, context.workspace) as major:
            check_image(major, on_sky.request)
            solution = solution_of(major, call, on_sky, context)
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


def _written(major: SkyMosaic, solution: JointSolution, call: JointCall, context: Context) -> Joined:
    """Write all products, and return what was found in the image that was asked for."""
    request, progress, maps = call.request, solution.progress, solution.sets.divided_maps
    content = joint_content(major, solution.sets, solution.scales, progress.model, call.fits_fluxes)
    image = major.seen(progress.model)
    major.finish(progress.model, request.output.restoration, request.output.pbcor)
    write_posterior_products(major, solution.posterior, solution.steps.data_model)
    for extension, each in zip(_extensions(maps), maps, strict=True):
        each.write_residual(major.product(extension), image, major.product("pb"))
    imaged = imaging.imaged_by(major, solution.steps, progress, context)
    assert progress.dirty is not None
    is_healpix = call.projection == HEALPIX
    in_sin = replace(
        progress,
        model=image if is_healpix else progress.model,
        residual=major.read_residual(),
        dirty=major.dirty_image(progress.dirty),
    )
    imaged, posterior = replace(imaged, progress=in_sin), solution.posterior
    if is_healpix or major.shape[-2:] != request.grid.shape:
        major.write_sky(progress.model)
    if major.shape[-2:] != request.grid.shape:
        cut_images((major.product(each.extension) for each in ON_IMAGE), request.grid.shape)
        imaged = _cut(imaged, request.grid.shape)
        if posterior is not None:
            posterior = replace(posterior, samples=middle(posterior.samples, request.grid.shape))
    major.predict(progress.model)
    return Joined(imaged, tuple(each.misfit(image) for each in maps), content, posterior)


def _extensions(maps: Sequence[DishData]) -> list[str]:
    """Return the extensions of the residuals of maps."""
    return [f"sd{'' if number == 1 else number}.residual" for number in range(1, len(maps) + 1)]


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


@contextmanager
def _opened(call: JointCall, workspace: Workspace) -> Iterator[SkyMosaic]:
    """Open the mosaic, on workers where the call asks for them, with a sky in the projection that was asked for."""
    request, directory, projection = call.request, workspace.directory, call.projection
    with ExitStack() as stack:
        if request.runs_on_workers:
            from casa_ml_tasks.parallel.clusters import opened_workers  # dask is optional
            from casa_ml_tasks.parallel.sky_mosaic import ParallelReprojectedMosaic, ParallelSkyMosaic

            client = stack.enter_context(opened_workers(request.distribution.cluster))
            major: SkyMosaic = (
                ParallelSkyMosaic(request, directory, client)
                if projection == "SIN"
                else ParallelReprojectedMosaic(request, directory, projection, client)
            )
        elif projection == "SIN":
            major = SkyMosaic(request, directory, origins=True)
        else:
            major = ReprojectedMosaic(request, directory, projection)
        yield stack.enter_context(closing(major))
