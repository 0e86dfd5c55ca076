"""How well the network for images finds sources in simulated fields that it was not trained on."""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import NDArray
from tqdm import trange

from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.image_training import PIXELS
from casa_ml_tasks.simulation.fitted_beam import fitted_beam
from casa_ml_tasks.simulation.random_fields import SimulatedField, draw_field
from casa_ml_tasks.simulation.uv_coverage import random_observations, stacked
from casa_ml_tasks.sources.dirty_cube import Beam, Plane
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.plane_finder import find_in_plane

UNSEEN = tuple(f"alma.cycle{cycle}.{number}" for cycle in (8, 12) for number in range(1, 10))
SEED, FIELDS = 2_000_001, 200
SNR_BINS = {"3-6": (3.0, 6.0), "6-12": (6.0, 12.0), ">12": (12.0, np.inf)}


def plane_of(field: SimulatedField) -> tuple[Plane, Gaussians]:
    """Return the dirty image of a field as the finder takes it, and the truth."""
    n = field.dirty.shape[0]
    whole = np.fft.irfft2(np.asarray(field.coverage.transfer, float), (2 * n, 2 * n))
    psf = np.fft.fftshift(whole).astype(np.float32)
    beam = fitted_beam(psf, 1.0)
    real = np.asarray(field.sources.flux) > 0
    truth = (getattr(field.sources, name) for name in ("x", "y", "major", "minor", "angle", "flux"))
    plane = Plane(np.asarray(field.dirty), psf, 1.0, Beam(beam.major, beam.minor, 0.0))
    return plane, Gaussians(*(np.asarray(each, float)[real] for each in truth))


def is_real(found: Gaussians, truth: Gaussians, beam: float) -> NDArray[np.bool_]:
    """Return whether each source lies, within half a beam, in the 2-sigma box of a true one, (source,)."""
    x0, y0, x1, y1 = truth.boxes().T
    x, y, margin = found.x[:, None], found.y[:, None], beam / 2
    return np.any((x > x0 - margin) & (x < x1 + margin) & (y > y0 - margin) & (y < y1 + margin), axis=1)


def peak_snr(truth: Gaussians, beam: float) -> NDArray[np.float64]:
    """Return the peak of each source in units of the noise, (source,). beam: FWHM, pixels."""
    return truth.flux * beam**2 / np.sqrt((beam**2 + truth.major**2) * (beam**2 + truth.minor**2))


def judged_images(network: ImageNetwork) -> tuple[ImageNetwork, dict[str, float]]:
    """Return the network as it is, and its scores by name, with natural weights."""
    coverages = stacked(random_observations(UNSEEN, 32, SEED, briggs_share=0.0), PIXELS)
    draw = jax.jit(lambda key: draw_field(key, coverages))
    snr: list[NDArray[np.float64]] = []
    centred: list[NDArray[np.bool_]] = []
    real: list[NDArray[np.bool_]] = []
    rms: list[float] = []
    for number in trange(FIELDS, desc="scores", disable=None):
        plane, truth = plane_of(draw(jax.random.PRNGKey(SEED + number)))
        found = find_in_plane(plane, network).fitted.gaussians
        beam = plane.beam.mean
        distance = np.hypot(found.x[:, None] - truth.x, found.y[:, None] - truth.y)
        snr.append(peak_snr(truth, beam))
        centred.append(np.any(distance < beam / 2, axis=0))
        real.append(is_real(found, truth, beam))
        rms.append(float(plane.residual(found.image(plane.dirty.shape)).std()))
    every, hit = np.concatenate(snr), np.concatenate(centred)
    scores = {
        f"centre within half a beam, S/N {name}": float(hit[(every >= low) & (every < high)].mean())
        for name, (low, high) in SNR_BINS.items()
    }
    scores["sources found"] = float(len(np.concatenate(real)))
    scores["sources found where there is none"] = float(np.sum(~np.concatenate(real)))
    scores["residual over noise, median r.m.s."] = float(np.median(rms))
    return network, scores
