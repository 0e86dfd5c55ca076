"""The data step that counts a residual above the noise as errors of calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from casa_ml_tasks.calibration.calibration_errors import CalibrationErrors, fit_errors
from casa_ml_tasks.calibration.image_noise import ImageNoise
from casa_ml_tasks.calibration.residual_statistics import MOST_COMPARED
from casa_ml_tasks.calibration.residual_visibilities import ResidualStatistics
from casa_ml_tasks.engine.alternation import Verdict
from casa_ml_tasks.engine.exit_criteria import FINISHED, StopCode
from casa_ml_tasks.engine.protocols import ComparedVisibilities, Image, KeepsVisibilities, MajorCycle
from casa_ml_tasks.engine.solver import Numbers, Progress
from casa_ml_tasks.kernels.uv_annuli import annulus_edges, longest_on_grid

#: The residual exceeds the noise if it does so by this factor.
EXCESS = 1.15
#: Beside the image by this one: the noise of a small image scatters. Where errors of calibration are known already, the
#: factor above is enough.
EXCESS_BESIDE = 1.5
#: Of the visibilities: those on the shortest baselines, where an image that lacks extended flux leaves a residual.
SHORTEST = 0.1
#: After the first minor cycle, a residual so many times the noise comes from errors of calibration if beside the image
#: there is as much of it, or at least this fraction: what the image lacks as yet leaves less there.
FAR_ABOVE_NOISE, AS_MUCH_BESIDE = 2.0, 0.5
#: Of the errors that the residual of an unfinished image tells: what is too small grows in the next round, and what is
#: too large would stay, for an image leaves what its noise allows.
OF_UNFINISHED = 0.4
MOST_ROUNDS_OF_ERRORS = 3  # or what the image lacks would be taken for errors again and again

MAY_BE_LESS = "may_be_less"  # of a checkpoint: the errors are those of an unfinished image

#: Compares the visibilities with a model, (channel or term, stokes, ny, nx), Jy/pixel, given the true noise over the
#: noise that the weights claim. None where they cannot be compared.
CompareVisibilities = Callable[[Image, float], ResidualStatistics | None]


class CalibrationErrorStep:
    """Compares the residual of each image with the noise, and counts what is more as errors of calibration.

    These are common to both polarisations and to neighbouring integrations, so the survey has not seen them. An image
    that explained them would show structure that is not on the sky. Where the major cycle holds the visibilities, they
    are weighted anew; else the noise of the image is multiplied by a factor.

    Attributes:
        errors: errors of calibration as they are known by now.
        statistics: residual visibilities of the last image; None where they are not known.
        beside: r.m.s. of the last residual in the field next to the image, (channel, stokes), Jy/beam; None where the
            major cycle does not hold the visibilities.
    """

    name = "calibration_errors"

    def __init__(
        self,
        major: MajorCycle,
        noise_scale: float,
        may_count: bool,
        compare: CompareVisibilities,
        known: Numbers | None = None,
    ):
        """Take up the errors of calibration that a killed run has found.

        Args:
            major: makes the images.
            noise_scale: true thermal noise over the noise that WEIGHT claims.
            may_count: whether a residual may raise the noise; else it is only compared.
            compare: gives `statistics`.
            known: what `as_numbers` gave in a killed run.
        """
        self.errors = CalibrationErrors.from_numbers(known)
        self.statistics: ResidualStatistics | None = None
        self.beside: NDArray[np.floating] | None = None
        self._major, self._noise_scale, self._may_count, self._compare = major, noise_scale, may_count, compare
        self._rounds = 0
        self._may_be_less = bool((known or {}).get(MAY_BE_LESS))
        if self.errors and major.visibilities is not None:
            major.visibilities.weigh_with_errors(self.errors.at, noise_scale)

    @property
    def noise(self) -> NDArray[np.floating]:
        """The noise of the images with errors of calibration, (channel, stokes), Jy/beam."""
        return self._major.noise() * self._noise_scale * self.errors.factor

    @property
    def image_noise(self) -> ImageNoise:
        """The noise of the images and its two causes."""
        return ImageNoise(self.noise, self._major.thermal_noise() * self._noise_scale, self.errors)

    def fit(self, progress: Progress) -> Verdict:
        """Compare the residual with the noise. Returns CHANGED where errors of calibration are counted anew."""
        is_interrupted = progress.stop is StopCode.INTERRUPTED
        self._rounds += not is_interrupted
        self._may_be_less |= is_interrupted
        model, visibilities = progress.model, self._major.visibilities
        self.statistics = self._compare(model, self._noise_scale * self.errors.factor)
        self.beside = None if visibilities is None else visibilities.noise_beside(model, SHORTEST)
        if not self._may_count or not tells_errors(progress.stop, self._rounds):
            return Verdict.SETTLED
        noise = self.noise
        factor = beside = residual_over_noise(self.statistics, progress.residual, noise)
        if self.beside is not None:
            seen = np.isfinite(noise)
            beside = float(np.median(self.beside[seen] / noise[seen]))
        agrees = factor < EXCESS and beside < (EXCESS if self.errors else EXCESS_BESIDE)
        if agrees and not (self._may_be_less and max(factor, beside) < 1 / EXCESS):
            return Verdict.SETTLED
        if visibilities is None or self.beside is None:
            errors = CalibrationErrors.of_image(factor * self.errors.factor)
        else:
            errors = errors_of_residual(visibilities, model, self._noise_scale, self.beside)
            if not errors:
                return Verdict.SETTLED
            if is_interrupted:
                errors = replace(errors, error=OF_UNFINISHED * errors.error)
            visibilities.weigh_with_errors(errors.at, self._noise_scale)
        self.errors = errors
        fraction = f" ({100 * errors.fraction:.2g} % of the visibilities)" if errors.fraction else ""
        casalog.post(
            f"The residual is {max(factor, beside):.3g} times the noise. Errors of calibration are counted from now on"
            f"{fraction}, and the image is made again.",
            "INFO",
            self.name,
        )
        return Verdict.CHANGED

    @property
    def may_interrupt(self) -> bool:
        """Whether the first minor cycle may tell errors of calibration: of visibilities, before any were looked for."""
        return self._may_count and self._major.visibilities is not None and self.beside is None and not self.errors

    def interrupts(self, progress: Progress) -> bool:
        """Return whether the first minor cycle leaves a residual of errors of calibration, far above the noise.

        To fit it as if its noise were thermal would take hundreds of iterations, and be of no use. An image that is
        finished tells smaller errors than such a one.
        """
        visibilities, residual = self._major.visibilities, progress.residual
        if visibilities is None or residual is None or not self.may_interrupt or len(progress.records) != 2:
            return False
        noise = self.noise
        seen = np.isfinite(noise)
        inside = np.std(residual[: len(noise)], axis=(-2, -1))[seen]
        if np.median(inside / noise[seen]) < FAR_ABOVE_NOISE:
            return False
        beside = visibilities.noise_beside(progress.model, SHORTEST)[seen]
        return bool(np.median(beside / np.maximum(EXCESS_BESIDE * noise[seen], AS_MUCH_BESIDE * inside)) > 1)

    def as_numbers(self) -> Numbers:
        """Return the errors of calibration as plain numbers; empty where there are none."""
        if not self.errors:
            return {}
        return {**self.errors.as_numbers(), **({MAY_BE_LESS: 1.0} if self._may_be_less else {})}


def tells_errors(stop: StopCode, rounds: int) -> bool:
    """Whether the residual of an image tells errors of calibration.

    Args:
        stop: how the round ended. An image that is not finished leaves more than the noise; one that diverged may have
            done so because it followed the errors, and one that was interrupted has a residual like that of errors.
        rounds: so far.
    """
    return stop in (*FINISHED, StopCode.DIVERGED, StopCode.INTERRUPTED) and rounds <= MOST_ROUNDS_OF_ERRORS


def residual_over_noise(
    statistics: ResidualStatistics | None, residual: Image | None, noise: NDArray[np.floating]
) -> float:
    """Return the residual over the noise: of the visibilities, or else of the image.

    It is a median, which does not mind what an image cannot hold: the flux of the shortest baselines, or a few pixels.

    Args:
        statistics: of the residual visibilities.
        residual: (channel or term, stokes, ny, nx), Jy/beam, zero where there is no data.
        noise: (channel or 1, stokes), Jy/beam.
    """
    if statistics is not None:
        return float(np.sqrt(np.median(statistics.reduced_chi2)))
    if residual is None:
        return 1.0
    in_noise = residual[: len(noise)] / noise[..., None, None]
    imaged = in_noise[np.isfinite(in_noise) & (in_noise != 0)]
    return float(median_abs_deviation(imaged, scale="normal")) if imaged.size else 1.0


def errors_of_residual(
    visibilities: KeepsVisibilities, model: Image, noise_scale: float, beside: NDArray[np.floating]
) -> CalibrationErrors:
    """Return what the residual visibilities, and the residual beside the image, tell of errors of calibration.

    Args:
        visibilities: of the major cycle.
        model: (channel, 1, ny, nx), Jy/pixel.
        noise_scale: true thermal noise over the noise that WEIGHT claims.
        beside: what `noise_beside` gives for this model.
    """
    radii = annulus_edges(longest_on_grid(visibilities.cell))[1:]
    stride = -(-visibilities.size // MOST_COMPARED)

    def sample(compared: Iterable[ComparedVisibilities]) -> list[list[NDArray[Any]]]:
        parts = []
        for each in compared:
            known = each.thermal > 0
            variance = noise_scale**2 / np.where(known, each.thermal, 1)
            columns = (each.data - each.model, each.data, variance, radii[each.annulus])
            parts.append([column[known][::stride] for column in columns])
        return parts

    parts = chain.from_iterable(visibilities.reduced(model, sample))
    errors = fit_errors(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    expected = visibilities.image_noise(errors.at, noise_scale)
    of_amplitude = visibilities.image_noise(errors.amplitude_at, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        missing = np.nanmedian((beside**2 - expected**2) / of_amplitude**2)
    return errors.raised(float(np.sqrt(missing))) if np.isfinite(missing) and missing > 0 else errors
