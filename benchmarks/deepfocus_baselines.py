"""What deepfocus is compared with: peaks of a CLEAN image with the same fit, and the fit from the truth."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from benchmarks.deepfocus_scores import Detections, Truth, boxes_of
from casa_ml_tasks.sources.dirty_cube import Plane
from casa_ml_tasks.sources.gaussian_fit import fit_gaussians
from casa_ml_tasks.sources.gaussians import Gaussians

ITERATIONS, GAIN, STOP = 2000, 0.1, 3.0  # of CLEAN; sigma
PEAK = 4.5  # sigma of a peak of the CLEAN image
SIGNIFICANT = 4.0  # flux over its error after the fit


def fitted(start: Gaussians, plane: Plane, significant: float) -> Detections:
    """Return sources of maximum likelihood from a start.

    Args:
        start: places and shapes.
        plane: in which they are.
        significant: flux over its error of those that stay.
    """
    fit = fit_gaussians(start, plane.dirty, plane.operator, plane.noise)
    kept = fit.gaussians.flux > significant * fit.errors.flux
    gaussians = fit.gaussians.chosen(kept)
    return Detections(boxes_of(gaussians, plane.beam.mean), gaussians, fit.errors.flux[kept], np.ones(len(gaussians)))


def ceiling(plane: Plane, truth: Truth) -> Detections:
    """Return the fit that begins with the truth: what maximum likelihood can reach."""
    return fitted(truth.gaussians, plane, -np.inf)


def clean_peaks(plane: Plane) -> Detections:
    """Return the peaks of a CLEAN image, fitted, those with a flux of four errors."""
    restored = clean_image(plane)
    y, x = np.nonzero((restored == maximum_filter(restored, 5)) & (restored > PEAK * plane.noise))
    beam, one = plane.beam.mean, np.ones(len(x))
    start = Gaussians(x, y, 1.15 * beam * one, 0.95 * beam * one, 0.3 * one, 0 * one)
    return fitted(start, plane, SIGNIFICANT)


def clean_image(plane: Plane) -> NDArray[np.float64]:
    """Return Hogbom's CLEAN image, (ny, nx), Jy/beam."""
    dirty, psf = (np.ascontiguousarray(image, np.float32) for image in (plane.dirty, plane.psf))
    model, residual = hogbom(dirty, psf, ITERATIONS, GAIN, np.float32(STOP * plane.noise))
    half = int(np.ceil(2 * plane.beam.major))
    beam = plane.beam
    unit = Gaussians([half], [half], [beam.major], [beam.minor], [beam.angle], [beam.area])
    return fftconvolve(model, unit.image((2 * half + 1, 2 * half + 1)), "same") + residual


@numba.njit(cache=True)
def hogbom(
    dirty: NDArray[np.float32], psf: NDArray[np.float32], iterations: int, gain: float, threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return model and residual of CLEAN (Hogbom 1974, A&AS 15, 417), (ny, nx).

    Args:
        dirty: (ny, nx).
        psf: (2 ny, 2 nx), peak 1 in the pixel (ny, nx).
        iterations: at most.
        gain: of the loop.
        threshold: of the peak residual, at which it stops.
    """
    ny, nx = dirty.shape
    residual, model = dirty.copy(), np.zeros_like(dirty)
    for _ in range(iterations):
        place = np.argmax(np.abs(residual))
        py, px = place // nx, place % nx
        if abs(residual[py, px]) < threshold:
            break
        amount = gain * residual[py, px]
        model[py, px] += amount
        residual -= amount * psf[ny - py : 2 * ny - py, nx - px : 2 * nx - px]
    return model, residual
