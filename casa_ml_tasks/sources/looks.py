"""What the network says of a plane, and how far it is believed where the plane is unlike its training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.networks.network_grid import TILE, NetworkView, Proposal
from casa_ml_tasks.sources.detection import Candidates, candidates
from casa_ml_tasks.sources.dirty_cube import Plane
from casa_ml_tasks.sources.gaussians import Gaussians

FIRST_STEPS = 3  # calls of the network where nothing is known yet, at least
MOST_STEPS = 8  # while the r.m.s. of the residual still falls by FALLS
FALLS = 0.01
PROBABLE = 0.5
SEPARATE = 0.6  # beams; a candidate is at least as far from what is known or was tried
MOST_IN_TILE = 7  # sources of the fullest field of the training
MAIN_LOBE = 1.5  # beams from the peak of the PSF to its sidelobes


@dataclass(frozen=True)
class Look:
    """What the network says.

    Attributes:
        proposal: its model and its maps.
        residual: that it saw first, (ny, nx), Jy/beam.
        is_better: whether its model leaves no more than it saw: the data do not contradict it.
    """

    proposal: Proposal
    residual: NDArray[np.float32]
    is_better: bool

    @property
    def densest(self) -> int:
        """How many probable sources it sees in an area as large as a field of the training, at most."""
        found = candidates(self.proposal)
        return int(np.sum(self.near(found.chosen(found.probability > PROBABLE).gaussians), axis=1).max(initial=0))

    @property
    def is_compact(self) -> bool:
        """Whether the plane is a set of compact sources, as fields of the training are."""
        return self.is_better and self.densest <= MOST_IN_TILE

    def near(self, sources: Gaussians) -> NDArray[np.bool_]:
        """Return whether sources lie in a field of the training with another in its middle, (source, source)."""
        half = TILE / 2 * self.proposal.columns.step
        apart = (np.abs(axis[:, None] - axis) for axis in (sources.x, sources.y))
        return np.maximum(*apart) < half


def look(view: NetworkView, plane: Plane, known: Gaussians) -> Look:
    """Return what the network says, after it has seen the residual of its own model a few times if nothing is known.

    Args:
        view: of this plane.
        plane: to look at.
        known: its sources.
    """
    model: NDArray[np.floating] = known.image(plane.dirty.shape)
    residual = first = plane.residual(model)
    for step in range(1, 1 + (1 if len(known) else MOST_STEPS)):
        proposal = view(residual / plane.noise, model / plane.noise)
        model = plane.noise * proposal.model
        before, residual = residual, plane.residual(model)
        change = residual.std() / before.std() - 1
        if change > FALLS or (step >= FIRST_STEPS and change > -FALLS):
            break
    return Look(proposal, first, bool(residual.std() < (1 + FALLS) * first.std()))


def new_candidates(seen: Look, tried: Gaussians, least: float, plane: Plane) -> Candidates:
    """Return the candidates that are probable, inside the image, and apart from what was tried.

    Extended emission becomes ever more of them: of those in an area as large as a field of the training, the brightest
    are returned, as many as that has. Where the data contradict the network, it takes sidelobes for sources: then none
    that is fainter than sidelobes of the brightest is returned.

    Args:
        seen: by the network.
        tried: all that were fitted before.
        least: probability.
        plane: that was seen.
    """
    found = candidates(seen.proposal)
    ny, nx = plane.dirty.shape
    x, y = found.gaussians.x, found.gaussians.y
    kept = (found.probability > least) & (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    kept &= found.gaussians.distances(tried) > SEPARATE * plane.beam.mean
    return _brightest(found.chosen(kept), seen, plane)


def _brightest(found: Candidates, seen: Look, plane: Plane) -> Candidates:
    """Return the candidates that are believed, in their order."""
    place = (np.rint(axis).astype(int) for axis in (found.gaussians.y, found.gaussians.x))
    brightness = seen.residual[*place]
    brighter = seen.near(found.gaussians) & (brightness > brightness[:, None])
    kept = np.sum(brighter, axis=1) < MOST_IN_TILE
    if not seen.is_better:
        kept &= brightness > sidelobe(plane) * brightness.max(initial=0)
    return found.chosen(kept)


def sidelobe(plane: Plane) -> float:
    """Return the highest sidelobe of the PSF, of either sign, over its peak."""
    ny, nx = plane.dirty.shape
    y, x = np.ogrid[-ny:ny, -nx:nx]
    beyond = np.hypot(y, x) > MAIN_LOBE * plane.beam.mean
    return float(np.abs(plane.psf[beyond]).max() / plane.psf[ny, nx])
