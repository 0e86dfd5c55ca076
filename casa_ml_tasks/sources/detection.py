"""From the network's maps to candidates: Blobs Finder of the paper, with a probability for each."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter
from scipy.special import expit

from casa_ml_tasks.networks.image_network import PATCH, TYPICAL_AXIS
from casa_ml_tasks.networks.network_grid import Proposal
from casa_ml_tasks.sources.gaussians import Gaussians

LEAST = 0.02  # probability below which nothing is a candidate


@dataclass(frozen=True)
class Candidates:
    """Where the network sees sources.

    Attributes:
        probability: that the centre of a source is within about a patch, (source,).
        gaussians: places and shapes on the pixels of the image; their fluxes are not known and 0.
    """

    probability: NDArray[np.float64]
    gaussians: Gaussians

    def chosen(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Candidates:
        """Return some of them."""
        return Candidates(self.probability[index], self.gaussians.chosen(index))


def candidates(proposal: Proposal) -> Candidates:
    """Return the local maxima of the probability, the most probable first.

    The probability of a candidate is the sum over 3 x 3 patches, because a centre near the edge of a patch is shared
    with its neighbours.
    """
    maps = proposal.maps
    probability = expit(np.asarray(maps.logit, float))
    around = 9 * uniform_filter(probability, 3, mode="constant")
    row, column = np.nonzero((probability == maximum_filter(probability, 3, mode="constant")) & (around > LEAST))
    order = np.argsort(-around[row, column])
    row, column = row[order], column[order]

    def there(which: jax.Array) -> NDArray[np.float64]:
        return np.asarray(which, float)[row, column]

    log_major = there(maps.log_major)
    scale = proposal.columns.step * TYPICAL_AXIS
    gaussians = Gaussians(
        x=proposal.columns.to_image((column + 0.5 + there(maps.x)) * PATCH),
        y=proposal.rows.to_image((row + 0.5 + there(maps.y)) * PATCH),
        major=scale * np.exp(log_major),
        minor=scale * np.exp(np.minimum(there(maps.log_minor), log_major)),
        angle=np.arctan2(there(maps.sine), there(maps.cosine)) / 2,
        flux=np.zeros(len(row)),
    )
    return Candidates(np.minimum(around[row, column], 1.0), gaussians)


def probability_map(proposal: Proposal, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the probability that a source's centre lies in the patch of each pixel, (ny, nx)."""
    probability = expit(np.asarray(proposal.maps.logit, float))
    places = [
        np.clip(axis.to_network(np.arange(size)) // PATCH, 0, axis.length // PATCH - 1).astype(int)
        for axis, size in zip((proposal.rows, proposal.columns), shape, strict=True)
    ]
    return probability[np.ix_(*places)].astype(np.float32)
