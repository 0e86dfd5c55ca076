"""rmlclean: regularised maximum likelihood imaging as a CASA task."""

from __future__ import annotations

from typing import Any

import numpy as np
from casatasks import casalog

from casa_ml_tasks.data.casa_image import write_image
from casa_ml_tasks.data.input_checks import check_outputs, check_parameters, check_survey
from casa_ml_tasks.data.measurement_set import selections, survey
from casa_ml_tasks.data.outlier_file import outlier_parameters
from casa_ml_tasks.data.stokes import check_stokes
from casa_ml_tasks.data.workspace import Workspace, taylor_terms, unused_imagenames
from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.engine.solver import Progress, solve
from casa_ml_tasks.tasks import cycle_choice, data_rounds, outcome


def rmlclean(**parameters: Any) -> dict[str, Any]:
    """Image Measurement Sets; every parameter of xml/rmlclean.xml by keyword.

    Returns:
        tclean's dictionary (stopcode, stopDescription, iterdone, nmajordone, summarymajor, summaryminor) and
        'noise_scale', 'image_noise' (Jy/beam), 'cycles' (one record a major cycle), 'residual_statistics' (of the
        image, and of the visibilities by uv distance), 'products', 'report'; and 'data_model' where one was asked for,
        'outlier_flux' (Jy, by imagename) where there are outlier fields.

    Raises:
        ValueError: for bad input, before anything is written.
    """
    check_parameters(parameters)
    outliers = outlier_parameters(parameters)
    fields = [parameters, *outliers]
    if not parameters["restart"]:
        for field, name in zip(fields, unused_imagenames([field["imagename"] for field in fields]), strict=True):
            field["imagename"] = name
    for field in fields:
        check_outputs(field)
    check_stokes(selections(parameters), parameters)
    data = survey(selections(parameters), progress=True)
    check_survey(data, parameters)
    casalog.post(outcome.describe_data(data), "INFO", "rmlclean")

    workspace = Workspace(parameters["imagename"], taylor_terms(parameters), [each["imagename"] for each in outliers])
    checkpoint = FileCheckpoint(workspace.checkpoint, {**parameters, "outliers": outliers})
    interrupted = checkpoint.load()
    workspace.begin(resume=interrupted is not None)
    major = cycle_choice.major_cycle(workspace, parameters, outliers)
    try:
        start = interrupted or cycle_choice.first_progress(major, workspace, parameters)
        start = data_rounds.begin(major, start, cycle_choice.noise_scale(parameters, data))
        folds = cycle_choice.fold_reader(major, workspace, parameters)
        rounds: list[Progress] = []
        unsettled = True
        while unsettled:
            noise_scale = cycle_choice.noise_scale(parameters, data)
            noise = major.noise() * noise_scale
            validation = cycle_choice.cross_validation(major, folds, noise, parameters)
            minor = cycle_choice.minor_cycle(major, workspace, noise, parameters, validation)
            criteria = data_rounds.left(cycle_choice.exit_criteria(noise, parameters), rounds)
            start = data_rounds.again(rounds[-1]) if rounds else start
            intensity = np.s_[: len(noise), :1]
            rounds.append(solve(major, minor, criteria, start, checkpoint, outcome.log_cycle, intensity))
            statistics = outcome.residual_statistics(major, rounds[-1].model, data, workspace, parameters)
            heard = data_rounds.with_noise_of_residual(data, statistics, noise, parameters, rounds)
            unsettled = heard is not data or data_rounds.refit(major, rounds[-1], noise_scale)
            data = heard
        progress = data_rounds.joined(rounds)
        major.finish(progress.model, parameters["restoration"], parameters["pbcor"])
        if progress.state.points is not None:
            write_image(major.product("points"), progress.state.points, major.product("residual"), "Jy/pixel")
        major.predict(progress.model)
    finally:
        major.close()
    products = workspace.publish(major.imagename, "rmlclean", parameters, casalog)
    progress, outlier_flux = cycle_choice.main_field(major, workspace, progress)
    model = data_rounds.data_model(major)
    return outcome.report(
        progress, data, noise, workspace, products, parameters, statistics, validation, model, outlier_flux
    )
