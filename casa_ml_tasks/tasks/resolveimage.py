"""resolveimage: Bayesian imaging as a CASA task."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from casatasks import casalog

from casa_ml_tasks.calibration.survey import check_survey, survey
from casa_ml_tasks.data.casa_image import read_cell
from casa_ml_tasks.data.inference_checks import check_parameters, most_samples
from casa_ml_tasks.data.input_checks import check_outputs
from casa_ml_tasks.data.measurement_set import selections
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
    posterior_products,
    resolve_choice,
    unfinished_run,
    warnings_at_end,
)


def resolveimage(**parameters: Any) -> dict[str, Any]:
    """Infer the sky from Measurement Sets; every parameter of xml/resolveimage.xml by keyword.

    Returns:
        What `rmlclean` returns, 'seed', and 'posterior': flux with its uncertainty (channel, stokes, Jy), samples,
        converged, problem (what has not, or ''), and one record a global iteration; without it where `niter=0` asks
        for the dirty image alone.

    Raises:
        ValueError: for bad input, before anything is written.
    """
    parameters = resolve_choice.as_inferred(parameters)
    check_parameters(parameters)
    if not parameters["restart"]:
        (parameters["imagename"],) = unused_imagenames([parameters["imagename"]])
    check_outputs(parameters, samples=most_samples(parameters))
    check_stokes(selections(parameters), parameters)
    check_channels(parameters)
    check_tracking(parameters)
    data = survey(selections(parameters), progress=True, channels=image_channels(parameters))
    check_survey(data, parameters)
    casalog.post(outcome.describe_data(data), "INFO", "resolveimage")

    workspace = Workspace(parameters["imagename"], taylor_terms(parameters))
    checkpoint = FileCheckpoint(workspace.checkpoint, parameters, asdict(data), resolve_choice.SCHEMAS)
    interrupted = unfinished_run.take_up(checkpoint, workspace, "resolveimage")
    with unfinished_run.says_what_is_left(workspace, "resolveimage"):
        major = cycle_choice.major_cycle(workspace, parameters)
    try:
        cycle_choice.check_data(major, parameters)
        resolve_choice.check_memory(major.shape, parameters)
        start = interrupted or cycle_choice.first_progress(major, workspace, parameters)
        rounds = data_rounds.Rounds(major, workspace, parameters, data, start)
        criteria = resolve_choice.exit_criteria(parameters)
        if data_rounds.may_tell(major, parameters) and not resolve_choice.has_begun(start.state):
            while rounds.unsettled:
                sketch = resolve_choice.minor_cycle(major, rounds.noise, parameters).sketch()
                rounds.run(sketch, criteria, checkpoint)
            rounds.another()
        while rounds.unsettled:
            minor = resolve_choice.minor_cycle(major, rounds.noise, parameters)
            rounds.run(minor, criteria, checkpoint)
        progress, data_model, image_noise = rounds.progress, data_rounds.data_model(major), rounds.image_noise
        resolve_choice.warn_without_signal(progress.dirty, rounds.noise)
        posterior = minor.posterior(progress.state) if resolve_choice.has_begun(progress.state) else None
        if posterior is not None:
            progress = resolve_choice.judged(progress, posterior)
        major.finish(progress.model, parameters["restoration"], parameters["pbcor"])
        posterior_products.write(major, posterior, data_model)
        major.predict(progress.model)
    except BaseException:
        major.close()
        unfinished_run.say_what_is_left(workspace, "resolveimage")
        raise
    finally:
        major.close()
        compiled_programs.forget_if_many()
    with unfinished_run.says_what_is_left(workspace, "resolveimage"):
        products = workspace.publish(major.imagename, "resolveimage", parameters, casalog)
    ending = rounds.ending(progress, image_noise, workspace)
    warnings_at_end.warn_of_end(progress, parameters["nmajor"])
    warnings_at_end.warn_of_negative_sky(ending, resolve_choice.is_positive(parameters), "components=['absorption']")
    warnings_at_end.warn_of_calibration(ending)
    if posterior is not None:
        warnings_at_end.warn_of_wide_emission(ending, read_cell(workspace.product("psf")))
    return outcome.report(
        "resolveimage",
        progress,
        rounds.data,
        image_noise,
        workspace,
        products,
        parameters,
        rounds.statistics,
        data_model,
        posterior=posterior,
    )
