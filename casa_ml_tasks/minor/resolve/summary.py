"""What a state of the inference tells: images, their posterior, and what has not converged."""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField
from casa_ml_tasks.minor.resolve.latent import Latent
from casa_ml_tasks.minor.resolve.posterior import Posterior, PowerSpectrum
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.quantities import angle
from casa_ml_tasks.sampling.convergence import errors_of_mean


def posterior_of(problem: ImagingProblem, settings: Settings, latent: Latent) -> Posterior:
    """Return the posterior that the samples of a state stand for."""
    images, seen = images_of(problem, latent), latent.samples * problem.response.seen()
    points = _points_of(problem, latent).mean(axis=0)[None, None] if len(latent.sources) else None
    components = problem.composition.components
    return Posterior(
        images[:, :, None],
        _power_spectrum(problem, latent),
        latent.iterations(),
        _what_has_not_converged(problem, settings, latent),
        points,
        {name: of_planes(seen)[:, :, None] for name, of_planes in components.items()},
    )


def images_of(problem: ImagingProblem, latent: Latent) -> NDArray[np.float32]:
    """Return the images of the samples, (sample, channel or term, ny, nx), Jy/pixel."""
    images = np.einsum("cp,spyx->scyx", problem.composition.synthesis.astype(np.float32), latent.samples)
    images[:, 0] += _points_of(problem, latent)
    images *= problem.response.seen()
    return images


def _points_of(problem: ImagingProblem, latent: Latent) -> NDArray[np.float32]:
    """Return the images of the point sources beside the samples, (sample, ny, nx), Jy/pixel."""
    places, shape = problem.response.rendering(latent.sources), problem.sky.shape
    images = [places.image(fluxes, shape) for fluxes in latent.sampled_fluxes]
    return np.array(images, np.float32).reshape(-1, *shape)


def _power_spectrum(problem: ImagingProblem, latent: Latent) -> PowerSpectrum:
    """Return the power spectrum of the logarithm of the brightness, or of the first component of it."""
    sky = problem.sky
    brightness = sky.sets[0]
    assert isinstance(brightness, CorrelatedField), "of any composition"
    with jax.enable_x64(True):
        spectra = latent.sampled_spectra[:, : brightness.parameters]
        amplitudes = np.exp(jax.jit(jax.vmap(brightness.log_amplitude_of_bins))(spectra))[:, 1:]
    area = sky.shape[0] * sky.shape[1] * problem.cell**2
    return PowerSpectrum(sky.modes.frequency[1:] / problem.cell, amplitudes**2 * area)


def _what_has_not_converged(problem: ImagingProblem, settings: Settings, latent: Latent) -> str:
    """Return what has not converged and what helps, in one sentence; empty where nothing is wrong."""
    error_in_all = latent.iterations()[-1].mean_error
    if error_in_all < settings.settled:
        return ""
    helps = f"maxglobal={2 * settings.most_iterations} goes on for twice as long"
    if not error_in_all < np.inf:
        return f"a chain does not move, or is caught where its energy is far above that of others; {helps}"
    samples = latent.samples.reshape(-1, len(latent.excitations), *latent.samples.shape[1:])
    errors = np.array(errors_of_mean(samples))
    size = problem.cell * 2 ** int(np.argmax(errors >= settings.settled))
    return (
        f"the mean flux of regions of {angle(size)} or more is uncertain by {errors.max():.2g} of its error bar, "
        f"so error bars of such regions are too small; {helps}"
    )
