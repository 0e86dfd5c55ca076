"""resolveimage: Bayesian imaging as a CASA task."""

from __future__ import annotations

from typing import Any

from casatasks import casalog

from casa_ml_tasks.data.inference_checks import check_parameters, most_samples
from casa_ml_tasks.data.input_checks import check_outputs, check_survey
from casa_ml_tasks.data.measurement_set import selections, survey
from casa_ml_tasks.data.stokes import check_stokes
from casa_ml_tasks.data.tracking import check_tracking
from casa_ml_tasks.data.workspace import Workspace, taylor_terms, unused_imagenames
from casa_ml_tasks.engine.checkpoint import FileCheckpoint
from casa_ml_tasks.tasks import (
    compiled_programs,
    cycle_choice,
    data_rounds,
    outcome,
    posterior_products,
    resolve_choice,
)


def resolveimage(**parameters: Any) -> dict[str, Any]:
    """Infer the sky from Measurement Sets; every parameter of xml/resolveimage.xml by keyword.

    Returns:
        What `rmlclean` returns, and 'posterior': flux with its uncertainty (channel, stokes, Jy), samples, converged,
        problem (what has not, or ''), and one record a global iteration; without it where `niter=0` asks for the dirty
        image alone.

    Raises:
        ValueError: for bad input, before anything is written.
    """
    parameters = resolve_choice.as_inferred(parameters)
    check_parameters(parameters)
    if not parameters["restart"]:
        (parameters["imagename"],) = unused_imagenames([parameters["imagename"]])
    check_outputs(parameters, samples=most_samples(parameters))
    check_stokes(selections(parameters), parameters)
    check_tracking(parameters)
    data = survey(selections(parameters), progress=True)
    check_survey(data, parameters)
    casalog.post(outcome.describe_data(data), "INFO", "resolveimage")

    workspace = Workspace(parameters["imagename"], taylor_terms(parameters))
    checkpoint = FileCheckpoint(workspace.checkpoint, parameters)
    interrupted = checkpoint.load()
    workspace.begin(resume=interrupted is not None)
    major = cycle_choice.major_cycle(workspace, parameters)
    try:
        resolve_choice.check_memory(major.shape, parameters)
        start = interrupted or cycle_choice.first_progress(major, workspace, parameters)
        rounds = data_rounds.Rounds(major, workspace, parameters, data, start)
        criteria = resolve_choice.exit_criteria(parameters)
        if data_rounds.may_tell(major, parameters) and not start.state.latent:
            while rounds.unsettled:
                sketch = resolve_choice.minor_cycle(major, rounds.noise, parameters).sketch()
                rounds.run(sketch, criteria, checkpoint)
            rounds.another()
        while rounds.unsettled:
            minor = resolve_choice.minor_cycle(major, rounds.noise, parameters)
            rounds.run(minor, criteria, checkpoint)
        progress, data_model = rounds.progress, data_rounds.data_model(major)
        resolve_choice.warn_without_signal(progress.dirty, rounds.noise)
        posterior = minor.posterior(progress.state) if progress.state.latent else None
        if posterior is not None:
            resolve_choice.warn_unless_converged(posterior)
        major.finish(progress.model, parameters["restoration"], parameters["pbcor"])
        posterior_products.write(major, posterior, data_model)
        major.predict(progress.model)
    finally:
        major.close()
        compiled_programs.forget_if_many()
    products = workspace.publish(major.imagename, "resolveimage", parameters, casalog)
    return outcome.report(
        "resolveimage",
        progress,
        rounds.data,
        rounds.noise,
        workspace,
        products,
        parameters,
        rounds.statistics,
        data_model,
        posterior=posterior,
    )
