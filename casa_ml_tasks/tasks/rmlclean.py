"""rmlclean: regularised maximum likelihood imaging as a CASA task."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from casatasks import casalog

from casa_ml_tasks.data.casa_image import write_image
from casa_ml_tasks.data.input_checks import check_outputs, check_parameters, check_survey
from casa_ml_tasks.data.measurement_set import selections, survey
from casa_ml_tasks.data.outlier_file import outlier_parameters
from casa_ml_tasks.data.stokes import check_stokes
from casa_ml_tasks.data.tracking import check_tracking
from casa_ml_tasks.data.workspace import Workspace, taylor_terms, unused_imagenames
from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.major.cube_channels import check_channels, image_channels
from casa_ml_tasks.tasks import (
    compiled_programs,
    cycle_choice,
    data_rounds,
    outcome,
    rml_choice,
    unfinished_run,
    unused_parameters,
    warnings_at_end,
)
from casa_ml_tasks.tasks.route import routed


def rmlclean(**parameters: Any) -> dict[str, Any]:
    """Image Measurement Sets; every parameter of xml/rmlclean.xml by keyword.

    Returns:
        tclean's dictionary (stopcode, stopDescription, iterdone, nmajordone, summarymajor, summaryminor) and
        'noise_scale', 'image_noise' and 'thermal_noise' (Jy/beam), 'cycles' (one record a major cycle),
        'residual_statistics' (of the image, and of the visibilities by uv distance), 'products', 'report', 'version',
        'commit' ('' where it is not known) of this package; and 'calibration_error' where there is any, 'data_model'
        where one was asked for, 'outlier_flux' (Jy, by imagename) where there are outlier fields.

    Raises:
        ValueError: for bad input, before anything is written.
    """
    parameters = routed(parameters)
    check_parameters(parameters)
    unused_parameters.warn_of_unused("rmlclean", parameters)
    parameters = rml_choice.as_signed(parameters)
    outliers = outlier_parameters(parameters)
    fields = [parameters, *outliers]
    if not parameters["restart"]:
        for field, name in zip(fields, unused_imagenames([field["imagename"] for field in fields]), strict=True):
            field["imagename"] = name
    for field in fields:
        check_outputs(field)
    check_stokes(selections(parameters), parameters)
    check_channels(parameters)
    check_tracking(parameters)
    data = survey(selections(parameters), progress=True, channels=image_channels(parameters))
    check_survey(data, parameters)
    casalog.post(outcome.describe_data(data), "INFO", "rmlclean")

    workspace = Workspace(parameters["imagename"], taylor_terms(parameters), [each["imagename"] for each in outliers])
    checkpoint = FileCheckpoint(workspace.checkpoint, {**parameters, "outliers": outliers}, asdict(data))
    interrupted = unfinished_run.take_up(checkpoint, workspace, "rmlclean")
    with unfinished_run.says_what_is_left(workspace, "rmlclean"):
        major = cycle_choice.major_cycle(workspace, parameters, outliers, rml_choice.fold_count(parameters))
    try:
        cycle_choice.check_data(major, parameters)
        start = interrupted or cycle_choice.first_progress(major, workspace, parameters, outliers)
        rounds = data_rounds.Rounds(major, workspace, parameters, data, start)
        folds = rml_choice.fold_reader(major, workspace, parameters)
        while rounds.unsettled:
            validation = rml_choice.cross_validation(major, folds, rounds.noise, parameters)
            minor = rml_choice.minor_cycle(major, workspace, rounds.noise, parameters, validation, outliers)
            rounds.run(minor, cycle_choice.exit_criteria(rounds.noise, parameters), checkpoint)
        progress, image_noise = rounds.progress, rounds.image_noise
        major.finish(progress.model, parameters["restoration"], parameters["pbcor"])
        if progress.state.points is not None:
            write_image(major.product("points"), progress.state.points, major.product("residual"), "Jy/pixel")
        major.predict(progress.model)
    except BaseException:
        major.close()
        unfinished_run.say_what_is_left(workspace, "rmlclean")
        raise
    finally:
        major.close()
        compiled_programs.forget_if_many()
    with unfinished_run.says_what_is_left(workspace, "rmlclean"):
        products = workspace.publish(major.imagename, "rmlclean", parameters, casalog)
    progress, outlier_flux = cycle_choice.main_field(major, workspace, progress)
    ending = rounds.ending(progress, image_noise, workspace)
    warnings_at_end.warn_of_end(progress, parameters["nmajor"])
    warnings_at_end.warn_of_negative_sky(ending, rml_choice.positive_planes(parameters), "positivity=False")
    if parameters["minorcycle"] != "clean":
        warnings_at_end.warn_of_calibration(ending)
    return outcome.report(
        "rmlclean",
        progress,
        rounds.data,
        image_noise,
        workspace,
        products,
        parameters,
        rounds.statistics,
        data_rounds.data_model(major),
        validation=validation,
        outliers=outlier_flux,
    )
