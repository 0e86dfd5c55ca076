"""Gaussian sources of maximum likelihood, by Levenberg and Marquardt with the exact normal operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.sources.covariance_frames import MAJOR, MINOR, ROTATION, bounded, frames, moved
from casa_ml_tasks.sources.gaussian_likelihood import PARAMETERS, GaussianLikelihood, Normal
from casa_ml_tasks.sources.gaussian_pixels import FWHM_PER_SIGMA
from casa_ml_tasks.sources.gaussians import Gaussians

MOST = 12  # sources fitted at once
SWEEPS = 3  # over the groups, where there are more
EVALUATIONS = 20  # of chi^2, at most; what is not found then is in a valley without slope
ACTIVE = 4  # times that a step is found again with what has come to its bound
CONVERGED = 0.02  # of chi^2, that a step may still gain
LARGEST = 0.5  # FWHM of an axis, of the smaller side of the image
LONGEST_STEP = 4.0  # pixels
ALIKE = 1e-8  # of the largest eigenvalue: fluxes that the data tell apart no better are shared
UNKNOWN = np.pi / np.sqrt(12)  # standard deviation of an angle that nothing is known about


@dataclass(frozen=True)
class FittedGaussians:
    """Sources of maximum likelihood.

    Attributes:
        gaussians: the sources.
        errors: one standard deviation of each parameter, in the fields of `Gaussians`. The errors of an axis at its
            bound are those without the bound; other parameters' errors are those with the axis where it is.
        delta_chi2: rise of chi^2 when a source is removed and the others' fluxes are fitted again, (source,).
        at_bound: whether an axis is at a bound: 0 pixels, or LARGEST, (source,).
        unresolved: whether the minor axis is 0, which half of all points have by chance, (source,).
        covariance: of x, y, second moments xx, xy and yy (pixels^2), and flux, (source, 6, 6).
    """

    gaussians: Gaussians
    errors: Gaussians
    delta_chi2: NDArray[np.float64]
    at_bound: NDArray[np.bool_]
    unresolved: NDArray[np.bool_]
    covariance: NDArray[np.float64]


def fit_gaussians(
    start: Gaussians,
    dirty: NDArray[np.floating],
    operator: ConvolutionNormalOperator,
    noise: float,
    noise_transfer: NDArray[np.floating] | None = None,
) -> FittedGaussians:
    r"""Return the Gaussians of least $\chi^2(m) = (m^T H m - 2 m^T d) / \sigma^2$.

    The parameters of a source are its place, the second moments of its shape, and its flux.

    Args:
        start: places and shapes near those of the sources; fluxes are not needed.
        dirty: d, (ny, nx), Jy/beam.
        operator: H of this plane, of images in Jy/pixel.
        noise: standard deviation of the dirty image's noise, Jy/beam.
        noise_transfer: power spectrum of the noise with the mean 1, (2 ny, nx + 1); by default that of H, which
            natural weights have. It does not change the sources, only errors and delta_chi2.
    """
    likelihood = GaussianLikelihood.of(dirty, operator, noise, noise_transfer)
    largest = (LARGEST * min(dirty.shape) / FWHM_PER_SIGMA) ** 2
    parameters = np.column_stack([start.x, start.y, start.covariances(), np.zeros(len(start))])
    parameters = bounded(parameters, largest)
    parameters[:, 5] = _solution(likelihood.of_fluxes(likelihood.sources(parameters)))
    groups = list(_neighbours(parameters, np.arange(len(start))))
    for _ in range(SWEEPS if len(groups) > 1 else 1):
        for group in groups:
            others = np.setdiff1d(np.arange(len(start)), group)
            alone = likelihood
            if len(others):
                model = _gaussians(parameters[others]).image(dirty.shape)
                alone = likelihood.with_dirty(dirty - np.asarray(operator(model)))
            parameters[group] = _least_chi2(parameters[group], alone, largest)
    of_fluxes = likelihood.of_fluxes(likelihood.sources(parameters))
    parameters[:, 5] = _solution(of_fluxes)
    variance = np.diag(_covariance(of_fluxes, np.ones(len(start), bool)))
    errors, covariance, free = np.zeros((len(start), 6)), np.zeros((len(start), 6, 6)), np.ones((len(start), 2), bool)
    for group in groups:
        errors[group], covariance[group], free[group] = _errors(parameters[group], likelihood, largest)
    gaussians = _gaussians(parameters)
    return FittedGaussians(
        gaussians=gaussians,
        errors=Gaussians(*errors.T),
        delta_chi2=parameters[:, 5] ** 2 / np.maximum(variance, np.finfo(float).tiny),
        at_bound=np.any(~free, axis=1),
        unresolved=~free[:, 1] & (gaussians.minor < 1),
        covariance=covariance,
    )


def _gaussians(parameters: NDArray[np.float64]) -> Gaussians:
    x, y, *_, flux = parameters.T
    return Gaussians.from_covariances(x, y, parameters[:, 2:5], flux)


def _neighbours(parameters: NDArray[np.float64], index: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """Yield groups of at most MOST sources, split across the longer side of the area that they cover."""
    if len(index) <= MOST:
        if len(index):
            yield index
        return
    places = parameters[index, :2]
    ordered = index[np.argsort(places[:, np.argmax(np.ptp(places, axis=0))])]
    yield from _neighbours(parameters, ordered[: len(index) // 2])
    yield from _neighbours(parameters, ordered[len(index) // 2 :])


def _least_chi2(parameters: NDArray[np.float64], likelihood: GaussianLikelihood, largest: float) -> NDArray[np.float64]:
    """Return the parameters of least chi^2 near these, (source, 6)."""
    sources = likelihood.sources(parameters)
    normal = likelihood.linearised(sources)
    damping, growth = 1e-3, 4.0
    for _ in range(EVALUATIONS):
        step, gain = _step(sources.parameters, normal, damping, largest)
        if gain < CONVERGED:
            break
        trial = likelihood.sources(step)
        gained = sources.chi2 - trial.chi2
        if gained > 0:
            sources, normal = trial, likelihood.linearised(trial)
            if gained < CONVERGED:
                break
            damping, growth = damping * max(1 / 8, 1 - (2 * gained / gain - 1) ** 3), 4.0  # Nielsen 1999
        else:
            damping, growth = damping * growth, growth * 2
    return sources.parameters


def _solution(normal: Normal) -> NDArray[np.float64]:
    """Return the solution of normal equations, (parameter,), without what they do not determine."""
    return np.asarray(np.linalg.lstsq(normal.matrix, normal.gradient, rcond=ALIKE)[0], float)


def _step(
    parameters: NDArray[np.float64], normal: Normal, damping: float, largest: float
) -> tuple[NDArray[np.float64], float]:
    """Return the parameters after a damped step, (source, 6), and how much chi^2 falls if the model is linear.

    Where the step would cross a bound of an axis, it ends there, and the other parameters know it.
    """
    frame = frames(parameters, normal.gradient)
    gradient, matrix = frame.turned_gradient(normal.gradient), frame.turned(normal.matrix)
    free = frame.free(gradient, largest).ravel()
    diagonal = np.diag(matrix)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    damped = matrix + damping * np.diag(1 / scale**2)
    step = np.zeros((len(parameters), PARAMETERS))
    ends = np.stack([-frame.axes, largest - frame.axes])
    for _ in range(ACTIVE):
        flat = step.ravel()
        right = gradient - damped[:, ~free] @ flat[~free]
        scaled = (damped * scale * scale[:, None])[np.ix_(free, free)]
        flat[free] = np.linalg.lstsq(scaled, (right * scale)[free], rcond=1e-12)[0] * scale[free]
        axes = step[:, [MAJOR, MINOR]]
        inside = np.clip(axes, *ends)
        crossed = inside != axes
        if not crossed.any():
            break
        step[:, [MAJOR, MINOR]] = inside
        free.reshape(step.shape)[:, [MAJOR, MINOR]] &= ~crossed
    gain = float(2 * flat @ gradient - flat @ matrix @ flat)
    result = moved(parameters, frame, step, largest)
    result[:, :2] = parameters[:, :2] + np.clip(step[:, :2], -LONGEST_STEP, LONGEST_STEP)
    return result, gain


def _covariance(normal: Normal, free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the covariance of parameters of which some do not move, (parameter, parameter); theirs is 0."""
    matrix = normal.matrix[np.ix_(free, free)]
    diagonal = np.diag(matrix)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    inverse = np.linalg.pinv(matrix * scale * scale[:, None], rcond=1e-12, hermitian=True) * scale * scale[:, None]
    result = np.zeros_like(normal.matrix)
    result[np.ix_(free, free)] = inverse @ normal.noise[np.ix_(free, free)] @ inverse
    return result


def _errors(
    parameters: NDArray[np.float64], likelihood: GaussianLikelihood, largest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return errors of the fields of Gaussians (source, 6), covariances (source, 6, 6), and which axes are free."""
    normal = likelihood.linearised(likelihood.sources(parameters))
    frame = frames(parameters, normal.gradient)
    gradient = frame.turned_gradient(normal.gradient)
    free = frame.free(gradient, largest)
    turned = normal._replace(matrix=frame.turned(normal.matrix), noise=frame.turned(normal.noise))
    covariance = _covariance(turned, free.ravel())
    without_bounds = _covariance(turned, np.ones(free.size, bool))
    covariance += np.diag(np.where(free.ravel(), 0, np.diag(without_bounds)))
    blocks = np.stack([covariance[k : k + PARAMETERS, k : k + PARAMETERS] for k in range(0, free.size, PARAMETERS)])
    sigma = np.sqrt(np.maximum(np.diagonal(blocks, axis1=1, axis2=2), 0))
    of_axes = sigma[:, [MAJOR, MINOR]]
    # To first order for resolved axes; a point's error is the axis that a variance of one sigma has.
    root = np.sqrt(np.maximum(frame.axes, of_axes / 4))
    axes = FWHM_PER_SIGMA * of_axes / (2 * np.maximum(root, np.finfo(float).tiny))
    difference = frame.axes[:, 0] - frame.axes[:, 1]
    angle = np.minimum(sigma[:, ROTATION] / np.maximum(difference, 1e-9), UNKNOWN)
    errors = np.column_stack([sigma[:, :2], axes, angle, sigma[:, 5]])
    return errors, frame.blocks @ blocks @ frame.blocks.transpose(0, 2, 1), free[:, [MAJOR, MINOR]]
