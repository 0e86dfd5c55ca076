"""rmlclean: regularised maximum likelihood imaging as a CASA task."""

from __future__ import annotations

from typing import Any

from casatasks import casalog

from casa_ml_tasks.data.input_checks import check_outputs, check_parameters, check_survey
from casa_ml_tasks.data.measurement_set import selections, survey
from casa_ml_tasks.data.workspace import Workspace, unused_imagename
from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.engine.solver import solve
from casa_ml_tasks.tasks import cycle_choice, outcome


def rmlclean(**parameters: Any) -> dict[str, Any]:
    """Image Measurement Sets; every parameter of xml/rmlclean.xml by keyword.

    Returns:
        tclean's dictionary (stopcode, stopDescription, iterdone, nmajordone, summarymajor, summaryminor) and
        'noise_scale', 'image_noise' (Jy/beam), 'cycles' (one record a major cycle), 'residual_statistics' (of the
        image, and of the visibilities by uv distance), 'products', 'report'.

    Raises:
        ValueError: for bad input, before anything is written.
    """
    check_parameters(parameters)
    if not parameters["restart"]:
        parameters["imagename"] = unused_imagename(parameters["imagename"])
    check_outputs(parameters)
    data = survey(selections(parameters), progress=True)
    check_survey(data, parameters)
    casalog.post(outcome.describe_data(data), "INFO", "rmlclean")

    workspace = Workspace(parameters["imagename"])
    checkpoint = FileCheckpoint(workspace.checkpoint, parameters)
    interrupted = checkpoint.load()
    workspace.begin(resume=interrupted is not None)
    major = cycle_choice.major_cycle(workspace, parameters)
    try:
        noise = major.noise() * cycle_choice.noise_scale(parameters, data)
        start = interrupted or cycle_choice.first_progress(major, workspace, parameters)
        validation = cycle_choice.cross_validation(major, workspace, noise, parameters)
        minor = cycle_choice.minor_cycle(major, workspace, noise, parameters, validation)
        criteria = cycle_choice.exit_criteria(noise, parameters)
        progress = solve(major, minor, criteria, start, checkpoint, outcome.log_cycle)
        major.finish(progress.model, parameters["restoration"], parameters["pbcor"])
        major.predict(progress.model)
    finally:
        major.close()
    products = workspace.publish(major.imagename, "rmlclean", parameters, casalog)
    statistics = outcome.residual_statistics(major, progress.model, data, workspace, parameters)
    return outcome.report(progress, data, noise, workspace, products, parameters, statistics, validation)
