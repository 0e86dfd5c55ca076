"""What an inference tells the user at its end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.engine.exit_criteria import StopCode
from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.minor.resolve.posterior import Posterior
from casa_ml_tasks.minor.resolve.problem import SIGNAL


def warn_without_signal(dirty: Image | None, noise: NDArray) -> None:
    """Say that there is nothing to see. dirty: (channel or term, 1, ny, nx), noise: (channel, 1), Jy/beam both."""
    peak = float("inf") if dirty is None else float((np.abs(dirty[: len(noise)]) / noise[..., None, None]).max())
    if peak < SIGNAL:
        casalog.post(
            f"no signal in the data: the peak of the dirty image is {peak:.1f} times the noise, which noise alone can "
            "reach; the posterior mean is an upper limit that depends on the prior",
            "WARN",
            "resolveimage",
        )


def judged(progress: Progress, posterior: Posterior) -> Progress:
    """Return the progress with a stop code of its own, after a warning, where the samples have not converged."""
    if not posterior.problem:
        return progress
    casalog.post(f"the inference has not converged: {posterior.problem}", "WARN", "resolveimage")
    return replace(progress, stop=StopCode.UNSETTLED)
