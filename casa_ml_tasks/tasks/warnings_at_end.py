"""Warnings that follow from how a run ended."""

from __future__ import annotations

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray

from casa_ml_tasks.engine.exit_criteria import MOST_MAJOR_CYCLES, StopCode
from casa_ml_tasks.engine.solver import Progress
from casa_ml_tasks.quantities import angle, quantity
from casa_ml_tasks.tasks.ending import DEEP, Ending, artefacts, deepest_hole, excess_of, shortest_alone
from casa_ml_tasks.tasks.wide_emission import NOTEWORTHY, largest_scale, share_of_wide_emission

#: Of the amplitude of the data on the shortest baselines, for that of the model.
EXCESS_OF_FLUX = 1.5
#: A run that was ended by one of these may have left sidelobes of what it has not modelled yet.
EARLY = (StopCode.ITERATION_LIMIT, StopCode.MAJOR_LIMIT, StopCode.THRESHOLD, StopCode.NSIGMA, StopCode.DIVERGED)


def warn_of_end(progress: Progress, nmajor: int) -> None:
    """Say that the loop diverged, or that it reached a limit that the user has not set."""
    if progress.stop is StopCode.DIVERGED:
        casalog.post(
            "The peak of the residual began to grow: the products hold the best model before that. Errors of "
            "calibration or of the gridder are larger than the noise; consider self-calibration.",
            "WARN",
            "warnings_at_end",
        )
    if progress.stop is StopCode.MAJOR_LIMIT and nmajor < 0:
        casalog.post(
            f"The image still changed after {MOST_MAJOR_CYCLES} major cycles; set nmajor to allow more.",
            "WARN",
            "warnings_at_end",
        )


def warn_of_negative_sky(ending: Ending, positive: NDArray[np.bool_], remedy: str) -> None:
    """Name the deepest hole that a model without negative brightness has left.

    Args:
        ending: of the run.
        positive: whether the model was kept from being negative, (stokes,).
        remedy: what to call the task with where the sky is negative.
    """
    progress, noise = ending.progress, ending.noise
    if progress.stop in EARLY or progress.residual is None or not positive.any():
        return
    hole = deepest_hole(progress.residual[: len(noise)], np.where(positive, noise, np.inf), ending.primary_beam)
    if hole is None or hole.depth * noise[hole.channel, hole.stokes] < artefacts(ending):
        return
    channel = f" in channel {hole.channel}" if len(noise) > 1 else ""
    casalog.post(
        f"the residual is {hole.depth:.1f} times the noise below zero at pixel [{hole.x}, {hole.y}]{channel}, where "
        f"the model may not be negative; if the sky is (absorption, the Sunyaev-Zel'dovich effect), use {remedy}",
        "WARN",
        "warnings_at_end",
    )


def warn_of_calibration(ending: Ending) -> None:
    """Say in one warning what the residual and the flux of the model tell of the calibration."""
    progress, visibilities = ending.progress, ending.visibilities
    if progress.stop in (StopCode.ITERATION_LIMIT, StopCode.MAJOR_LIMIT):
        return
    excess = excess_of(ending)
    if excess and (uvdist := shortest_alone(ending)) is not None:
        casalog.post(
            f"The image lacks extended flux: {excess.sentence()}, and baselines up to {quantity(uvdist, 'λ')} alone "
            "cause that.",
            "WARN",
            "warnings_at_end",
        )
        excess = None
    found = [excess.sentence()] if excess else []
    if visibilities is not None:
        measured, error = float(visibilities.data_amplitude[0]), float(visibilities.data_error[0])
        if (modelled := float(visibilities.model_amplitude[0])) > max(
            EXCESS_OF_FLUX * measured, measured + DEEP * error
        ):
            found.append(
                f"the model has {quantity(modelled, 'Jy')} on the shortest baselines "
                f"({quantity(float(visibilities.edges[1]), 'λ')}), where the data have {quantity(measured, 'Jy')}"
            )
    if found:
        errors = "Error bars include it" if ending.calibration else "Error bars do not include it"
        casalog.post(
            f"The image does not explain the data to their noise: {'; '.join(found)}. This usually means errors of "
            f"calibration; consider self-calibration. {errors}.",
            "WARN",
            "warnings_at_end",
        )


def warn_of_wide_emission(ending: Ending, cell: float) -> None:
    """Say how much of the flux lies on scales that no baseline measures. cell: arcsec."""
    if ending.visibilities is None:
        return
    scale = np.degrees(largest_scale(ending.visibilities)) * 3600
    share = max(share_of_wide_emission(image, scale / cell) for image in ending.progress.model[:, 0])
    if share > NOTEWORTHY:
        casalog.post(
            f"{100 * share:.0f} % of the flux lies in regions wider than {angle(scale)}, the largest scale that the "
            "baselines measure: the total flux follows from the prior more than from the data; add shorter baselines "
            "or a single dish",
            "WARN",
            "warnings_at_end",
        )
