"""rmlclean: regularised maximum likelihood imaging as a CASA task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from casatasks import casalog

from casa_ml_tasks.calibration.image_noise import typical
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import write_image
from casa_ml_tasks.data.stokes import SIGNED
from casa_ml_tasks.data.workspace import Product
from casa_ml_tasks.engine.alternation import Alternation, with_all_records
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Image, MajorCycle
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation
from casa_ml_tasks.minor.rml.regularisation import Regularisation
from casa_ml_tasks.minor.rml.state import point_image
from casa_ml_tasks.networks.trained import load_image_network
from casa_ml_tasks.quantities import quantity
from casa_ml_tasks.report.validation_figure import validation_drawing
from casa_ml_tasks.request.images import check_images
from casa_ml_tasks.request.outliers import outlier_requests
from casa_ml_tasks.request.request import Request
from casa_ml_tasks.request.stopping import Stopping
from casa_ml_tasks.tasks import imaging, rml_minor_cycles
from casa_ml_tasks.tasks.arguments import Arguments
from casa_ml_tasks.tasks.family import Context
from casa_ml_tasks.tasks.gridder import with_gridder
from casa_ml_tasks.tasks.imaging import Imaged
from casa_ml_tasks.tasks.imaging_result import imaging_result, shown_plane
from casa_ml_tasks.tasks.regulariser_strengths import find_strengths, fold_count, fold_reader
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.unused_parameters import lacking_in_clean, warn_of_unused
from casa_ml_tasks.tasks.warnings_at_end import warn_of_calibration, warn_of_end, warn_of_negative_sky


@dataclass(frozen=True)
class CleanCall(imaging.ImagingCall):
    """A call of rmlclean.

    Attributes:
        regularisation: of the model; None where tclean's deconvolvers run the minor cycles.
    """

    regularisation: Regularisation | None


@dataclass(frozen=True)
class Cleaned:
    """What rmlclean has found.

    Attributes:
        imaged: by major and minor cycles.
        validation: the search for the regularisers' strengths; None where they were given.
    """

    imaged: Imaged
    validation: CrossValidation | None


class Rmlclean:
    """Regularised maximum likelihood imaging.

    Beside what every task returns there are 'noise_scale', 'image_noise' and 'thermal_noise' (Jy/beam), 'cycles' (one
    record a major cycle), 'residual_statistics' (of the image, and of the visibilities by uv distance); and
    'calibration_error' where there is any, 'data_model' where one was asked for, 'cross_validation' where it chose the
    strengths, 'outlier_flux' (Jy, by imagename) where there are outlier fields.
    """

    name = "rmlclean"
    products = (imaging.MODEL, Product("points", is_rewritten=True), *imaging.IMAGES)
    schemas = rml_minor_cycles.SCHEMAS

    def read(self, arguments: Arguments) -> CleanCall:
        """Check the parameters, and choose the gridder and regularisers for them."""
        request, channels = with_gridder(Request.from_parameters(**arguments.values))
        outliers = outlier_requests(request)
        given = None if request.cleans else Regularisation.from_parameters(request, **request.casa)
        check_images(request)
        if request.begins_with_network:
            load_image_network()  # whose weights may be damaged
        warn_of_unused(self.name, replace(arguments, values=request.casa), lacking_in_clean)
        if given is None or given == given.signed():
            return CleanCall((request, *outliers), channels, given)
        signed = given.signed()
        names, strengths = list(signed.regularizer), signed.regstrength
        casalog.post(
            f"positivity=False: regularizer={names} in place of {list(given.regularizer)}, of which one needs a "
            "positive image",
            "INFO",
            self.name,
        )
        request = request.changed(regularizer=names, regstrength="auto" if strengths is None else list(strengths))
        return CleanCall((request, *outliers), channels, signed)

    def check(self, call: CleanCall) -> Survey:
        """Check the call against disk and data."""
        return imaging.check_call(call, self.name)

    def work(self, call: CleanCall, context: Context) -> Cleaned:
        """Image in rounds, each with the noise and the data model that the last has led to."""
        with imaging.opened_major_cycle(call, context.workspace, fold_count(call.regularisation)) as major:
            return self.clean(major, call, context)

    def clean(self, major: MajorCycle, call: CleanCall, context: Context) -> Cleaned:
        """Do the same with major cycles that are open."""
        request, workspace, regularisation = call.request, context.workspace, call.regularisation
        validation: CrossValidation | None = None
        steps = imaging.begin_data_steps(major, call, context)
        rounds = Alternation(steps.in_order, steps.start)
        folds = fold_reader(major, workspace, request, regularisation)
        while not rounds.settled:
            noise = steps.errors.noise
            if folds is not None and regularisation is not None:
                validation = find_strengths(major, folds, noise, request, regularisation)
                regularisation = replace(regularisation, regstrength=tuple(validation.chosen.strengths))
            minor = rml_minor_cycles.minor_cycle(major, workspace, noise, call.fields, regularisation, steps.errors)
            criteria = _exit_criteria(noise, request.stopping)
            early = len(call.fields) == 1 and request.stopping.without_limits
            imaging.run_round(rounds, major, minor, criteria, context.checkpoint, may_end_early=early)
        progress = with_all_records(rounds.rounds)
        major.finish(progress.model, request.output.restoration, request.output.pbcor)
        points = point_image(progress.state)
        if points is not None:
            write_image(major.product("points"), points, major.product("residual"), "Jy/pixel")
        major.predict(progress.model)
        return Cleaned(imaging.imaged_by(major, steps, progress, context), validation)

    def conclude(self, call: CleanCall, context: Context, work: Cleaned) -> TaskResult:
        """Warn of what the residual tells; return what was found."""
        request, imaged, workspace = call.request, work.imaged, context.workspace
        ending = imaging.ending_of(imaged, workspace)
        positive = rml_minor_cycles.positive_planes(request, call.regularisation)
        warn_of_end(imaged.progress, request.stopping.nmajor)
        warn_of_negative_sky(ending, positive, "positivity=False")
        if not request.cleans:
            warn_of_calibration(ending)
        positivity = call.regularisation is None or call.regularisation.positivity
        signed = not positivity or request.grid.planes[0] in SIGNED
        content = shown_plane(imaged, workspace, request, may_be_negative=signed, model_is_mean=False)
        result = imaging_result(imaged, content, request)
        return _with_outliers(_with_validation(result, work.validation), imaged.outlier_flux)


def _exit_criteria(noise: Image, stopping: Stopping) -> ExitCriteria:
    """Return tclean's criteria. noise: (channel, stokes), Jy/beam."""
    return ExitCriteria(
        niter=stopping.niter,
        nmajor=stopping.nmajor,
        threshold=stopping.threshold,
        nsigma=stopping.nsigma,
        noise=typical(noise),
    )


def _with_validation(result: TaskResult, validation: CrossValidation | None) -> TaskResult:
    """Return the result with the search for the strengths, if there was one."""
    if validation is None:
        return result
    images, *others = result.sections
    strengths = ", ".join(f"{strength:.2g}" for strength in validation.chosen.strengths)
    return replace(
        result,
        numbers={**result.numbers, "cross_validation": validation.as_numbers()},
        summary={**result.summary, "strengths": f"{strengths}, by cross-validation"},
        sections=[replace(images, figures=(*images.figures, validation_drawing(validation))), *others],
    )


def _with_outliers(result: TaskResult, fluxes: Mapping[str, float]) -> TaskResult:
    """Return the result with the fluxes of the outlier fields, Jy, by imagename, if there are any."""
    if not fluxes:
        return result
    of_all = {
        name: f"{result.summary[name]}, of all fields" for name in ("r.m.s. of the residual", "flux of the model")
    }
    listed = ", ".join(f"{name}: {quantity(flux, 'Jy', 4)}" for name, flux in fluxes.items())
    return replace(
        result,
        numbers={**result.numbers, "outlier_flux": dict(fluxes)},
        summary={**result.summary, **of_all, "outlier fields": listed},
    )
