"""Lines of the CASA log that follow a run."""

from __future__ import annotations

import numpy as np
from casatasks import casalog

from casa_ml_tasks.calibration.survey import Survey
from casa_ml_tasks.engine.solver import CycleRecord
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration
from casa_ml_tasks.quantities import quantity


def log_data(data: Survey, task: str) -> None:
    """Write one line about the data."""
    casalog.post(
        f"{data.visibilities} visibilities ({100 * data.flagged_fraction:.1f} % flagged), longest baseline "
        f"{quantity(data.longest_baseline, 'λ')}; the thermal noise is {data.noise_scale:.3f} times what WEIGHT claims "
        f"(from {data.noise_scale_method})",
        "INFO",
        task,
    )


def log_cycle(record: CycleRecord) -> None:
    """Write one line about a major cycle."""
    casalog.post(
        f"major cycle {record.cycle}: peak residual {quantity(record.peak_residual, 'Jy/beam')}, r.m.s. "
        f"{quantity(record.rms_residual, 'Jy/beam')}, model flux {quantity(record.model_flux, 'Jy', 4)}, "
        f"{record.iterations} minor iterations, {record.seconds:.1f} s",
        "INFO",
        "solver",
    )


def log_iteration(step: GlobalIteration) -> None:
    """Write one line about a global iteration of an inference."""
    error = f"error of the mean {step.mean_error:.3g} sigma"
    if np.isinf(step.mean_error):
        error = "a chain does not move or is caught"
    casalog.post(
        f"global iteration {step.iteration}: stage '{step.stage}', {step.samples} samples, energy {step.energy:.6g}, "
        f"{100 * step.accepted:.0f} % of the trajectories accepted, {error}, "
        f"residual {step.residual:.3f} of the noise, {step.operator_products} products of the normal operator, "
        f"{step.seconds:.1f} s",
        "INFO",
        "resolveimage",
    )
