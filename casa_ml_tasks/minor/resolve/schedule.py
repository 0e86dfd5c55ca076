"""What each global iteration is for, how many trajectories it has, and when the inference ends."""

from __future__ import annotations

import numpy as np

from casa_ml_tasks.minor.resolve.latent import Latent, Stage
from casa_ml_tasks.minor.resolve.settings import Settings


def trajectory_count(stage: Stage, settings: Settings) -> int:
    """Return how many trajectories each chain has in a global iteration of a stage."""
    if stage is not Stage.SAMPLE:
        return settings.trajectories
    wanted = -(-settings.samples // settings.chains)
    return max(min(settings.trajectories_of_samples, wanted), -(-wanted // settings.most_iterations))


def schedule_next(latent: Latent, settings: Settings) -> Latent:
    """Return what a global iteration has left, with the stage and the noise of the next one.

    The noise falls to the true one; chains warm up until all of them keep up; samples are taken until there are enough
    and their mean is known.
    """
    if latent.stage == Stage.WARM and latent.heat > 1:
        return latent._replace(heat=np.array(max(1.0, float(latent.heat) / settings.cooler)))
    latent = latent._replace(since=latent.since + 1)
    is_last = latent.since >= settings.most_iterations
    error = latent.iterations()[-1].mean_error
    if latent.stage == Stage.WARM:
        return latent.at_start_of(Stage.SAMPLE) if is_last or error < np.inf else latent
    has_enough = len(latent.samples) >= settings.samples and error < settings.enough
    return latent.at_start_of(Stage.FINISHED) if is_last or has_enough else latent
