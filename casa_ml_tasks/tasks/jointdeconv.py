"""jointdeconv: pointings, arrays and single-dish maps in one likelihood, as a CASA task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace

from casa_ml_tasks.calibration.image_noise import typical
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import is_casa_image, read_image, write_image
from casa_ml_tasks.data.workspace import Product
from casa_ml_tasks.engine.alternation import Alternation, with_all_records
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import MajorCycle
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.major.native_mosaic import NativeMosaicMajorCycle
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.request.images import check_images
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.single_dish import SingleDishRequest
from casa_ml_tasks.tasks import imaging, joint_minor_cycles
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.imaging import Imaged
from casa_ml_tasks.tasks.imaging_result import imaging_result, shown_plane
from casa_ml_tasks.tasks.inference_parameters import without_clean
from casa_ml_tasks.tasks.joint_sky import cut_images, embedded, middle
from casa_ml_tasks.tasks.major_cycles import check_image
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.single_dish_data import SingleDishData, write_residuals
from casa_ml_tasks.tasks.unused_parameters import lacking_in_inference, warn_of_unused
from casa_ml_tasks.tasks.warnings_at_end import warn_of_calibration, warn_of_end, warn_of_negative_sky

MOST_MAPS = 9


@dataclass(frozen=True)
class JointCall(imaging.ImagingCall):
    """A call of jointdeconv.

    Attributes:
        regularisation: of the sky.
        single_dish: the maps.
    """

    regularisation: Regularisation
    single_dish: SingleDishRequest


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
        *(Product(f"sd{number}.residual", is_rewritten=True) for number in ("", *range(2, MOST_MAPS + 1))),
    )
    schemas = joint_minor_cycles.SCHEMAS

    def read(self, arguments: Arguments) -> JointCall:
        """Check the parameters as a joint likelihood takes them."""
        taken = without_clean(arguments)
        warn_of_unused(self.name, arguments, lacking_in_inference)
        request = Request.from_parameters(**{**taken.values, "gridder": "mosaic"})
        regularisation = Regularisation.from_parameters(request, **request.casa).signed()
        single_dish = SingleDishRequest.from_parameters(**request.casa)
        check_images(request)
        return JointCall((request,), None, regularisation, single_dish)

    def check(self, call: JointCall) -> Survey:
        """Check the call against disk and data."""
        call.single_dish.check(call.request)
        return imaging.check_call(call, self.name)

    def work(self, call: JointCall, context: Context) -> Joined:
        """Find the sky in rounds, each with the noise that the last has led to."""
        request, workspace = call.request, context.workspace
        with _opened(call, context) as (major, maps):
            start = context.interrupted or Progress(_first_sky(major, call, context))
            steps = imaging.begin_data_steps(major, call, replace(context, interrupted=start))
            rounds = Alternation(steps.in_order, steps.start)
            while not rounds.settled:
                noise = steps.errors.noise
                minor = joint_minor_cycles.most_probable(major, maps, noise, request, call.regularisation)
                criteria = ExitCriteria(
                    niter=0 if request.stopping.dirty_only else -1,
                    nmajor=request.stopping.nmajor,
                    noise=typical(noise),
                )
                imaging.run_round(rounds, major, minor, criteria, context.checkpoint)
            progress = with_all_records(rounds.rounds)
            major.finish(progress.model, request.output.restoration, request.output.pbcor)
            write_residuals(workspace, maps, progress.model)
            imaged = imaging.imaged_by(major, steps, progress, context)
            template = major.product("residual")
            if progress.model.shape[-2:] != request.grid.shape:
                write_image(major.product("sky"), progress.model, template, "Jy/pixel")
        return Joined(_cut(imaged, call, context), tuple(each.misfit(progress.model) for each in maps))

    def conclude(self, call: JointCall, context: Context, work: Joined) -> TaskResult:
        """Warn of what the residuals tell; return what was found."""
        request, imaged, workspace = call.request, work.imaged, context.workspace
        ending = imaging.ending_of(imaged, workspace)
        positive = joint_minor_cycles.positive_planes(request, call.regularisation)
        warn_of_end(imaged.progress, request.stopping.nmajor)
        warn_of_negative_sky(ending, positive, "positivity=False")
        warn_of_calibration(ending)
        signed = not call.regularisation.positivity
        content = shown_plane(imaged, workspace, request, may_be_negative=signed, model_is_mean=False)
        result = imaging_result(imaged, content, request)
        return replace(result, numbers={**result.numbers, "single_dish": list(work.misfits)})


@contextmanager
def _opened(call: JointCall, context: Context) -> Iterator[tuple[MajorCycle, list[SingleDishData]]]:
    """Open the mosaic and the maps on a sky as large as the maps reach."""
    shape = call.single_dish.sky_shape(call.request)
    request = call.request.changed(imsize=list(shape[::-1]))
    with closing(NativeMosaicMajorCycle(request, context.workspace.directory, sky_units=True)) as major:
        check_image(major, request)
        yield major, call.single_dish.maps_on(major)
