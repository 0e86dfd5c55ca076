"""resolveimage: Bayesian imaging as a CASA task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from casatasks import casalog

from casa_ml_tasks.calibration.survey import check_survey, survey
from casa_ml_tasks.data.casa_image import read_cell
from casa_ml_tasks.data.inference_checks import check_parameters, most_samples
from casa_ml_tasks.data.input_checks import check_outputs
from casa_ml_tasks.data.measurement_set import selections
from casa_ml_tasks.data.stokes import check_stokes
from casa_ml_tasks.data.tracking import check_tracking
from casa_ml_tasks.data.workspace import Workspace, taylor_terms, unused_imagenames
from casa_ml_tasks.engine.alternation import (
    alternate,
    criteria_of_round,
    same_model_for_other_data,
    with_all_records,
)
from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.engine.protocols import MinorCycle
from casa_ml_tasks.engine.solver import Progress, solve
from casa_ml_tasks.major.cube_channels import check_channels, image_channels
from casa_ml_tasks.tasks import (
    compiled_programs,
    cycle_choice,
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
    checkpoint = FileCheckpoint(workspace.checkpoint, parameters, asdict(data))
    interrupted = unfinished_run.take_up(checkpoint, workspace, "resolveimage")
    with unfinished_run.says_what_is_left(workspace, "resolveimage"):
        major = cycle_choice.major_cycle(workspace, parameters)
    try:
        cycle_choice.check_data(major, parameters)
        resolve_choice.check_memory(major.shape, parameters)
        start = interrupted or cycle_choice.first_progress(major, workspace, parameters)
        steps = cycle_choice.data_steps(major, workspace, parameters, data, start)

        def solve_with(minor: MinorCycle, start: Progress, earlier: Sequence[Progress]) -> Progress:
            criteria = criteria_of_round(resolve_choice.exit_criteria(parameters), earlier)
            intensity = np.s_[: len(steps.errors.noise), :1]
            return solve(major, minor, criteria, start, checkpoint, outcome.log_cycle, intensity)

        def sketch(start: Progress, earlier: Sequence[Progress]) -> Progress:
            return solve_with(
                resolve_choice.minor_cycle(major, steps.errors.noise, parameters).sketch(), start, earlier
            )

        def infer(start: Progress, earlier: Sequence[Progress]) -> Progress:
            nonlocal minor
            minor = resolve_choice.minor_cycle(major, steps.errors.noise, parameters)
            return solve_with(minor, start, earlier)

        minor, sketches, first = None, (), steps.start
        if steps.may_change and parameters["niter"] != 0 and not resolve_choice.has_begun(start.state):
            sketches = alternate(sketch, steps.in_order, first)
            first = same_model_for_other_data(sketches[-1])
        progress = with_all_records((*sketches, *alternate(infer, steps.in_order, first)))
        data_model, image_noise = steps.data_model, steps.errors.image_noise
        resolve_choice.warn_without_signal(progress.dirty, image_noise.of_planes)
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
    ending = warnings_at_end.ending_of(progress, image_noise, steps.errors, workspace)
    warnings_at_end.warn_of_end(progress, parameters["nmajor"])
    warnings_at_end.warn_of_negative_sky(ending, resolve_choice.is_positive(parameters), "components=['absorption']")
    warnings_at_end.warn_of_calibration(ending)
    if posterior is not None:
        warnings_at_end.warn_of_wide_emission(ending, read_cell(workspace.product("psf")))
    return outcome.report(
        "resolveimage",
        progress,
        data,
        image_noise,
        workspace,
        products,
        parameters,
        steps.errors.statistics,
        data_model,
        posterior=posterior,
    )
