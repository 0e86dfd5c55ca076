"""Chains of Hamiltonian Monte Carlo: one over some trajectories, and what several tell of their mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve import spectrum as power_spectrum
from casa_ml_tasks.minor.resolve.energy import Likelihood
from casa_ml_tasks.minor.resolve.hamiltonian import better_step, enough_leaps, trajectory
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.point_sources import log_prior

#: Of the scatter of energies in equilibrium: how much higher that of a chain may be.
STRAGGLING = 10.0


class Chain(NamedTuple):
    """Where a chain was.

    Attributes:
        positions: after each trajectory.
        planes: of the sky there, (trajectory, plane, ny, nx), Jy/pixel.
        fluxes: of the point sources beside it, (trajectory, source), Jy.
        energy: at the end of the last trajectory.
        probabilities: with which each was to be accepted.
        steps: of the leapfrog after each.
        leaps: in all.
    """

    positions: list[Position]
    planes: NDArray[np.float32]
    fluxes: NDArray[np.float64]
    energy: float
    probabilities: list[float]
    steps: list[float]
    leaps: int

    def late(self) -> Chain:
        """Its second half."""
        half = len(self.positions) // 2
        return self._replace(
            positions=self.positions[half:],
            planes=self.planes[half:],
            fluxes=self.fluxes[half:],
            probabilities=self.probabilities[half:],
            steps=self.steps[half:],
        )

    def typical_step(self) -> float:
        """Geometric mean."""
        return float(np.exp(np.mean(np.log(self.steps))))


def follow(
    sky: LogNormalSky,
    position: Position,
    trajectories: int,
    generator: np.random.Generator,
    likelihood: Likelihood,
    mass: Mass,
    scale: NDArray[np.float64],
    step: float,
    adapts: bool,
    fluxes: NDArray[np.float64],
) -> Chain:
    """A chain over some trajectories.

    Args:
        sky: of excitations and spectra.
        position: where to begin.
        trajectories: how many.
        generator: of the random numbers.
        likelihood, mass: for `trajectory`.
        scale: for `spectrum.draw`.
        step: of the first trajectory.
        adapts: whether the next have better ones.
        fluxes: of the point sources to begin with, (source,), Jy; without them the sources' prior stays flat.
    """
    positions, planes, all_fluxes, probabilities, steps, leaps = [], [], [], [], [], 0
    for _ in range(trajectories):
        position = _with_another_spectrum(sky, position, generator, scale)
        leaps += (now := enough_leaps(step))
        moved = trajectory(sky, position, generator, likelihood, mass, step, now)
        if fluxes.size:
            position, fluxes = _beside_sources(sky, likelihood, (position, fluxes), moved.position, generator)
        else:
            position = moved.position
        positions.append(position)
        planes.append(np.asarray(sky.planes(position), np.float32))
        all_fluxes.append(fluxes)
        probabilities.append(float(moved.probability))
        step = better_step(step, probabilities[-1]) if adapts else step
        steps.append(step)
    return Chain(positions, np.stack(planes), np.stack(all_fluxes), float(moved.energy), probabilities, steps, leaps)


def _with_another_spectrum(
    sky: LogNormalSky, position: Position, generator: np.random.Generator, scale: NDArray[np.float64]
) -> Position:
    """The same sky with a spectrum that suits it as well.

    Where the data determine the field, a trajectory hardly moves its spectrum, for sky and spectrum would have to move
    as one; where they do not, this one hardly does (Yu & Meng 2011, J. Comput. Graph. Stat. 20, 531).
    """
    coefficients = sky.amplitude(position.spectrum) * position.excitations
    spectrum = power_spectrum.draw(sky, coefficients, position.spectrum, generator, scale)
    return Position(coefficients / sky.amplitude(spectrum), spectrum)


def _beside_sources(
    sky: LogNormalSky,
    likelihood: Likelihood,
    old: tuple[Position, NDArray[np.float64]],
    position: Position,
    generator: np.random.Generator,
) -> tuple[Position, NDArray[np.float64]]:
    """A new position with fluxes of the point sources beside it, or the old ones, as `point_sources` has it."""
    fluxes, sigma = likelihood.draw_fluxes(sky(position), generator), likelihood.sigma
    gain = log_prior(fluxes, sigma) - log_prior(jnp.asarray(old[1]), sigma)
    accepted = np.log(generator.random()) < gain
    return (position, np.asarray(fluxes)) if accepted else old


def stragglers(chains: Sequence[Chain]) -> NDArray[np.bool_]:
    r"""Which chains fell behind while the noise fell, and stay behind, (chain,).

    Caught in a corner that gets narrower as the noise falls, their energy is higher than that of others by many times
    $\sqrt{n/2}$, by which that of n excitations scatters in equilibrium.
    """
    energies = np.array([each.energy for each in chains])
    return energies - energies.min() > STRAGGLING * np.sqrt(chains[0].positions[-1].excitations.size / 2)


def without_stragglers(chains: Sequence[Chain]) -> list[Chain]:
    """With the chain of least energy in their place (as Hou et al. 2012, ApJ 745, 198 prune before they count)."""
    least = min(chains, key=lambda chain: chain.energy)
    return [least if behind else each for each, behind in zip(chains, stragglers(chains), strict=True)]


def mean_errors(chains: NDArray[np.floating]) -> list[float]:
    """How far the mean is from that of endless chains, over the uncertainty, r.m.s. over all squares of a size.

    Of pixels, of squares of 2, 4 ... pixels, and of the whole image, for the flux of a region may move more slowly than
    that of any pixel in it.

    Args:
        chains: (sample, chain, plane, ny, nx).
    """
    errors = [_mean_error(chains)]
    while chains.shape[-2:] != (1, 1):
        errors.append(_mean_error(chains := _in_squares(chains)))
    return errors


def mean_error(chains: NDArray[np.floating]) -> float:
    """The largest of `mean_errors`. chains: (sample, chain, plane, ny, nx)."""
    return max(mean_errors(chains))


def _in_squares(images: NDArray[np.floating]) -> NDArray[np.floating]:
    """Sums of 2 x 2 pixels; (..., ny, nx)."""
    for axis in (-2, -1):
        images = np.add.reduceat(images, np.arange(0, images.shape[axis], 2), axis)
    return images


def _mean_error(chains: NDArray[np.floating]) -> float:
    r"""Of one resolution.

    The means of m chains of length n have a variance B/n, which is that of their mean times m; with the variance W
    within chains the uncertainty is $\sigma^2 = (n - 1) W / n + B / n$ (Gelman & Rubin 1992, Statistical Science 7,
    457). B and W are those of halves of chains, so that chains which move all the same way are told from those that
    stay (Vehtari et al. 2021, Bayesian Analysis 16, 667); but halves do not count as so many chains, for one depends on
    the other. Infinite where chains do not move.
    """
    half = len(chains) // 2
    parts = np.concatenate([chains[:half], chains[-half:]], axis=1) if half > 1 else chains
    length = len(parts)
    within = parts.var(axis=0, ddof=min(1, length - 1), dtype=float).mean(axis=0)
    between = parts.mean(axis=0, dtype=float).var(axis=0, ddof=1)
    if not within.all():
        return float("inf")
    return float(np.sqrt(np.mean(between / chains.shape[1] / ((length - 1) / length * within + between))))
