"""Find sources in one plane: the network proposes, the exact chi^2 disposes, and both look again at what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.network_grid import NetworkView
from casa_ml_tasks.sources.dirty_cube import Plane
from casa_ml_tasks.sources.gaussian_fit import FittedGaussians, fit_gaussians
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.looks import Look, look, new_candidates
from casa_ml_tasks.sources.source_spectra import source_spectra
from casa_ml_tasks.sources.trust import LARGEST_NOISE_RATIO, robust_rms

LEAST_PROBABILITIES = (0.5, 0.3, 0.3)  # of a candidate in each round
SIGNIFICANT = 4.0  # flux over its error
NEEDED = 32.0  # least rise of chi^2 without a source: fewer than one in a hundred noise-only fields reaches it


@dataclass(frozen=True)
class PlaneSources:
    """What was found in one plane.

    Attributes:
        probability: the network's, when it proposed the source; 1 of those that were known, (source,).
        fitted: shapes, fluxes and errors.
        origin: number of the source among those that were known, -1 for a new one, (source,).
        first_look: of the network.
    """

    probability: NDArray[np.floating]
    fitted: FittedGaussians
    origin: NDArray[np.intp]
    first_look: Look

    def __len__(self) -> int:
        """How many."""
        return len(self.probability)

    @property
    def snr(self) -> NDArray[np.floating]:
        """Flux over its error, (source,)."""
        return self.fitted.gaussians.flux / self.fitted.errors.flux


def find_in_plane(
    plane: Plane,
    network: ImageNetwork,
    known: Gaussians | None = None,
    least_probabilities: Sequence[float] = LEAST_PROBABILITIES,
) -> PlaneSources:
    """Return the sources of a plane that the data need.

    Args:
        plane: to search.
        network: trained.
        known: sources that other planes have shown, to begin with; those that this plane does not need are left out.
        least_probabilities: of a candidate in each round of proposals and fit.
    """
    view = NetworkView(network, plane.psf, plane.beam.mean)
    known = Gaussians.empty() if known is None else known
    origin = np.flatnonzero(_bright(known, plane))
    probability: NDArray[np.floating] = np.ones(len(origin))
    fitted, needed = _needed(known.chosen(origin), plane)
    fitted_noise = plane.noise
    probability, origin = probability[needed], origin[needed]
    looks: list[Look] = []
    tried = fitted.gaussians
    for least in least_probabilities:
        counted = _with_noise_left(plane, fitted.gaussians) if len(fitted.gaussians) else plane
        looks.append(look(view, counted, fitted.gaussians))
        new = new_candidates(looks[-1], tried, least, counted)
        if not len(new.gaussians) and counted.noise == fitted_noise:
            break
        tried = Gaussians.concatenated(tried, new.gaussians)
        probability = np.concatenate([probability, new.probability])
        origin = np.concatenate([origin, np.full(len(new.gaussians), -1)])
        fitted, needed = _needed(Gaussians.concatenated(fitted.gaussians, new.gaussians), counted)
        fitted_noise = counted.noise
        probability, origin = probability[needed], origin[needed]
    return PlaneSources(probability, fitted, origin, looks[0])


def _with_noise_left(plane: Plane, known: Gaussians) -> Plane:
    """Return the plane with the noise that its sources leave, where that is clearly more than what was stated.

    Errors of calibration and emission that is no Gaussian count as noise then, and the network is not shown them as
    signal: else both are taken for ever more sources.
    """
    measured = robust_rms(plane.residual(known.image(plane.dirty.shape)))
    return replace(plane, noise=measured) if measured > LARGEST_NOISE_RATIO * plane.noise else plane


def _needed(start: Gaussians, plane: Plane) -> tuple[FittedGaussians, NDArray[np.bool_]]:
    """Return the fit of those sources that the data need, and which they are, (source,)."""
    fitted = fit_gaussians(start, plane.dirty, plane.operator, plane.noise)
    kept = np.ones(len(start), bool)
    while not (needed := is_needed(fitted)).all():
        kept[kept] = needed
        fitted = fit_gaussians(fitted.gaussians.chosen(needed), plane.dirty, plane.operator, plane.noise)
    return fitted, kept


def is_needed(fitted: FittedGaussians) -> NDArray[np.bool_]:
    """Return whether the data need each source, (source,)."""
    significant = fitted.gaussians.flux > SIGNIFICANT * fitted.errors.flux
    return significant & (fitted.delta_chi2 > NEEDED)


def _bright(known: Gaussians, plane: Plane) -> NDArray[np.bool_]:
    """Return whether the flux of each source, with the shape that it has, is significant in the plane, (source,)."""
    spectra = source_spectra(known, plane.dirty[None], plane.psf[None], np.array([plane.noise]))
    return spectra.flux[:, 0] > SIGNIFICANT * spectra.error[:, 0]
