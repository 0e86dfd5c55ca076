"""How the posterior is sampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Settings:
    """How the posterior is sampled; the defaults serve all images.

    Attributes:
        samples: of the posterior, at least.
        most_iterations: global iterations with samples, at most.
        seed: of all random numbers.
        chains: how many.
        trajectories: of each chain in a global iteration without samples.
        trajectories_of_samples: of each chain in a global iteration with samples, unless more are needed to have all
            samples after the last of `most_iterations`.
        hottest: peak of the dirty image over the noise with which the chains begin. Most of the sky is empty then, and
            as free as the prior leaves it; to leave the smooth image that they begin at takes far longer where the data
            hold the rest of the sky tightly.
        cooler: factor by which the noise falls from one global iteration to the next.
        settled: error of the mean over the uncertainty with which chains have converged.
        enough: the same with which chains need not go on; those that ended at a third had intervals that were too
            narrow.
        fewest_kept: samples of each chain that are left where the first half is dropped.
    """

    samples: int = 48
    most_iterations: int = 6
    seed: int = 42
    chains: int = 4
    trajectories: int = 5
    trajectories_of_samples: int = 12
    hottest: float = 20.0
    cooler: float = 1.9
    settled: float = 1 / 3
    enough: float = 0.3
    fewest_kept: int = 12

    def generator(self, iteration: int, chain: int) -> np.random.Generator:
        """Return the random numbers of a chain in a global iteration; iteration 0 is the beginning."""
        return np.random.default_rng([self.seed, iteration, chain])
