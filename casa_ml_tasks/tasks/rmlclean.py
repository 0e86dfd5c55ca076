"""rmlclean: regularised maximum likelihood imaging as a CASA task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from casa_ml_tasks.calibration.image_noise import typical
from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.data.casa_image import write_image
from casa_ml_tasks.data.input_checks import check_parameters, value_in
from casa_ml_tasks.data.outlier_file import outlier_parameters
from casa_ml_tasks.data.workspace import Product, taylor_terms
from casa_ml_tasks.engine.alternation import Alternation, with_all_records
from casa_ml_tasks.engine.exit_criteria import ExitCriteria
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.minor.rml.cross_validation import CrossValidation
from casa_ml_tasks.minor.rml.state import point_image
from casa_ml_tasks.quantities import quantity
from casa_ml_tasks.report.validation_figure import validation_drawing
from casa_ml_tasks.tasks import imaging, regulariser_strengths, rml_minor_cycles
from casa_ml_tasks.tasks.family import Call, Context
from casa_ml_tasks.tasks.gridder import with_gridder
from casa_ml_tasks.tasks.imaging import Imaged
from casa_ml_tasks.tasks.imaging_result import imaging_result, shown_plane
from casa_ml_tasks.tasks.result import TaskResult
from casa_ml_tasks.tasks.signed_models import positive_planes, with_signed_regularisers
from casa_ml_tasks.tasks.unused_parameters import lacking_in_clean, warn_of_unused
from casa_ml_tasks.tasks.warnings_at_end import warn_of_calibration, warn_of_end, warn_of_negative_sky


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

    def read(self, parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> Call:
        """Check the parameters, and choose the gridder and regularisers for them."""
        parameters = with_gridder(parameters)
        check_parameters(parameters)
        warn_of_unused(self.name, parameters, defaults, lacking_in_clean)
        parameters = with_signed_regularisers(parameters)
        return Call((parameters, *outlier_parameters(parameters)), taylor_terms(parameters))

    def check(self, call: Call) -> Survey:
        """Check the call against disk and data."""
        return imaging.check_call(call, self.name)

    def work(self, context: Context) -> Cleaned:
        """Image in rounds, each with the noise and the data model that the last has led to."""
        parameters, workspace = context.call.parameters, context.workspace
        with imaging.opened_major_cycle(context, regulariser_strengths.fold_count(parameters)) as major:
            steps = imaging.begin_data_steps(major, context)
            rounds = Alternation(steps.in_order, steps.start)
            folds = regulariser_strengths.fold_reader(major, workspace, parameters)
            while not rounds.settled:
                noise = steps.errors.noise
                validation = regulariser_strengths.find_strengths(major, folds, noise, parameters)
                minor = rml_minor_cycles.minor_cycle(major, workspace, noise, context.call.fields, validation)
                imaging.run_round(rounds, major, minor, _exit_criteria(noise, parameters), context.checkpoint)
            progress = with_all_records(rounds.rounds)
            major.finish(progress.model, parameters["restoration"], parameters["pbcor"])
            points = point_image(progress.state)
            if points is not None:
                write_image(major.product("points"), points, major.product("residual"), "Jy/pixel")
            major.predict(progress.model)
            return Cleaned(imaging.imaged_by(major, steps, progress, context), validation)

    def conclude(self, context: Context, work: Cleaned) -> TaskResult:
        """Warn of what the residual tells; return what was found."""
        parameters, imaged = context.call.parameters, work.imaged
        ending = imaging.ending_of(imaged, context.workspace)
        warn_of_end(imaged.progress, parameters["nmajor"])
        warn_of_negative_sky(ending, positive_planes(parameters), "positivity=False")
        if parameters["minorcycle"] != "clean":
            warn_of_calibration(ending)
        signed = not parameters["positivity"] or parameters["stokes"][:1] in ("Q", "U", "V")
        content = shown_plane(imaged, context.workspace, parameters, may_be_negative=signed, model_is_mean=False)
        result = imaging_result(imaged, content, parameters)
        return _with_outliers(_with_validation(result, work.validation), imaged.outlier_flux)


def _exit_criteria(noise: Image, parameters: Mapping[str, Any]) -> ExitCriteria:
    """Return tclean's stopping parameters. noise: (channel, stokes), Jy/beam."""
    threshold = value_in(parameters["threshold"], "Jy")
    assert threshold is not None, "check_parameters has refused it"
    return ExitCriteria(
        niter=parameters["niter"],
        nmajor=parameters["nmajor"],
        threshold=threshold,
        nsigma=parameters["nsigma"],
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
