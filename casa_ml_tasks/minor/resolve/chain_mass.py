"""The mass that all chains share, made where they were before there were samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.minor.resolve import spectrum as power_spectrum
from casa_ml_tasks.minor.resolve.centring import Centring
from casa_ml_tasks.minor.resolve.coarse_brightness import CoarseBrightness
from casa_ml_tasks.minor.resolve.coarse_likelihood import agreement
from casa_ml_tasks.minor.resolve.energy import Likelihood, spectral_curvature
from casa_ml_tasks.minor.resolve.latent import Latent
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.mass import Mass
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.sampling.chains import in_threads


class ChainMass(NamedTuple):
    """The masses with which all chains move.

    Attributes:
        mass: of skies and their spectra.
        scale: of the spectra alone, for `spectrum.draw`, (parameters, parameters).
    """

    mass: Mass
    scale: NDArray[np.float64]


class LastMass:
    """Returns the mass of a state, and keeps the last one, because all global iterations with samples share it.

    It follows from some arrays of the state alone. A state with others gets a mass of its own, so that the steps of an
    inference do not depend on what this object saw before.
    """

    def __init__(self) -> None:
        self._made_of: tuple[NDArray, ...] = ()
        self._mass: ChainMass | None = None

    def __call__(self, problem: ImagingProblem, latent: Latent, likelihood: Likelihood) -> ChainMass:
        """Return the mass for a state; the likelihood is that of the state's noise and point sources."""
        made_of = (latent.warm_excitations, latent.warm_spectra, latent.mean, latent.heat, latent.sources)
        is_same = self._made_of and all(map(np.array_equal, self._made_of, made_of))
        if self._mass is None or not is_same:
            middle = jnp.asarray(latent.warm_spectra.mean(axis=0))
            scale = power_spectrum.scale_of(problem.sky, middle)
            self._made_of, self._mass = made_of, ChainMass(_mass_of(problem, latent, likelihood), scale)
        return self._mass


def _mass_of(problem: ImagingProblem, latent: Latent, likelihood: Likelihood) -> Mass:
    """Return the mass of all chains.

    In their spectra the curvature is the mean over the chains: with that of one chain others may get stuck.
    """
    heat, positions, sky = float(latent.heat), latent.warm_positions(), problem.sky

    def curvature(centring: Centring) -> NDArray[np.floating]:
        return np.mean(in_threads(_curvature_at, (sky, likelihood, centring), positions), axis=0)

    skies = np.array([sky.planes(each) for each in positions])
    nodes = problem.nodes_of(latent.mean * agreement(skies, problem.beam_area), heat)
    response = problem.heated_response(heat)
    noise = response.noise_of_planes() / problem.beam_area
    brightness = CoarseBrightness.of(sky, latent.mean, noise, problem.finest)
    return Mass.of(sky, _middle(sky, positions), nodes, response, likelihood.sources, curvature, brightness)


def _curvature_at(shared: tuple[LogNormalSky, Likelihood, Centring], position: Position) -> jax.Array:
    sky, likelihood, centring = shared
    return spectral_curvature(sky, position, likelihood, centring)


def _middle(sky: LogNormalSky, positions: Sequence[Position]) -> Position:
    """Return the position with the mean spectra and the mean fields."""
    spectrum = np.mean([each.spectrum for each in positions], axis=0)
    fields = [np.asarray(sky.amplitude(each.spectrum)) * each.excitations for each in positions]
    return Position(np.mean(fields, axis=0) / sky.amplitude(spectrum), jnp.asarray(spectrum))
