"""Find sources in one plane: the network proposes, the exact chi^2 disposes, and both look again at what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.network_grid import NetworkView, Proposal
from casa_ml_tasks.sources.detection import Candidates, candidates
from casa_ml_tasks.sources.dirty_cube import Plane
from casa_ml_tasks.sources.gaussian_fit import FittedGaussians, fit_gaussians
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.source_spectra import source_spectra

LEAST_PROBABILITIES = (0.5, 0.3, 0.3)  # of a candidate in each round
FIRST_STEPS = 3  # calls of the network where nothing is known yet, at least
MOST_STEPS = 8  # while the r.m.s. of the residual still falls by FALLS
FALLS = 0.01
SEPARATE = 0.6  # beams; a candidate of a later round is at least as far from what is known or was tried
SIGNIFICANT = 4.0  # flux over its error
NEEDED = 32.0  # least rise of chi^2 without a source: fewer than one in a hundred noise-only fields reaches it


@dataclass(frozen=True)
class PlaneSources:
    """What was found in one plane.

    Attributes:
        probability: the network's, when it proposed the source; 1 of those that were known, (source,).
        fitted: shapes, fluxes and errors.
        origin: number of the source among those that were known, -1 for a new one, (source,).
        proposal: the network's first look, for its probability map.
    """

    probability: NDArray[np.floating]
    fitted: FittedGaussians
    origin: NDArray[np.intp]
    proposal: Proposal

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
    probability, origin = probability[needed], origin[needed]
    proposals: list[Proposal] = []
    tried = fitted.gaussians
    for least in least_probabilities:
        proposals.append(_look(view, plane, fitted.gaussians))
        new = _new(candidates(proposals[-1]), tried, least, plane)
        if not len(new.gaussians):
            break
        tried = Gaussians.concatenated(tried, new.gaussians)
        probability = np.concatenate([probability, new.probability])
        origin = np.concatenate([origin, np.full(len(new.gaussians), -1)])
        fitted, needed = _needed(Gaussians.concatenated(fitted.gaussians, new.gaussians), plane)
        probability, origin = probability[needed], origin[needed]
    return PlaneSources(probability, fitted, origin, proposals[0])


def _needed(start: Gaussians, plane: Plane) -> tuple[FittedGaussians, NDArray[np.bool_]]:
    """Return the fit of those sources that the data need, and which they are, (source,)."""
    fitted = fit_gaussians(start, plane.dirty, plane.operator, plane.noise)
    kept = np.ones(len(start), bool)
    while not (needed := is_needed(fitted)).all():
        kept[kept] = needed
        fitted = fit_gaussians(fitted.gaussians.chosen(needed), plane.dirty, plane.operator, plane.noise)
    return fitted, kept


def _look(view: NetworkView, plane: Plane, known: Gaussians) -> Proposal:
    """Return what the network says, after it has seen the residual of its own model a few times if nothing is known."""
    model: NDArray[np.floating] = known.image(plane.dirty.shape)
    residual = plane.residual(model)
    for step in range(1, 1 + (1 if len(known) else MOST_STEPS)):
        proposal = view(residual / plane.noise, model / plane.noise)
        model = plane.noise * proposal.model
        before, residual = residual, plane.residual(model)
        if step >= FIRST_STEPS and residual.std() > (1 - FALLS) * before.std():
            break
    return proposal


def is_needed(fitted: FittedGaussians) -> NDArray[np.bool_]:
    """Return whether the data need each source, (source,)."""
    significant = fitted.gaussians.flux > SIGNIFICANT * fitted.errors.flux
    return significant & (fitted.delta_chi2 > NEEDED)


def _bright(known: Gaussians, plane: Plane) -> NDArray[np.bool_]:
    """Return whether the flux of each source, with the shape that it has, is significant in the plane, (source,)."""
    spectra = source_spectra(known, plane.dirty[None], plane.psf[None], np.array([plane.noise]))
    return spectra.flux[:, 0] > SIGNIFICANT * spectra.error[:, 0]


def _new(found: Candidates, known: Gaussians, least: float, plane: Plane) -> Candidates:
    """Return the candidates that are probable, inside the image, and apart from what is known."""
    ny, nx = plane.dirty.shape
    x, y = found.gaussians.x, found.gaussians.y
    kept = (found.probability > least) & (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    kept &= found.gaussians.distances(known) > SEPARATE * plane.beam.mean
    return found.chosen(kept)
