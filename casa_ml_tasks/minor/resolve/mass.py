"""The mass of Hamiltonian Monte Carlo: nearly the curvature of the energy, and as easy to invert as to draw from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg.lapack import dpstrf

from casa_ml_tasks.minor.resolve import spectrum as power_spectrum
from casa_ml_tasks.minor.resolve.centring import Centring
from casa_ml_tasks.minor.resolve.coarse_brightness import CoarseBrightness
from casa_ml_tasks.minor.resolve.coarse_likelihood import Nodes
from casa_ml_tasks.minor.resolve.correlated_field import hartley
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position, covariance
from casa_ml_tasks.minor.resolve.point_sources import PointSources
from casa_ml_tasks.minor.resolve.response import Response
from casa_ml_tasks.sampling.leapfrog import unit_curvature

NEGLIGIBLE_CURVATURE = 0.3  # the prior's is 1
#: So many modes, of all frequencies alike, hold every spectrum: it moves by a factor of two or so, for when fine modes
#: grow by more, the sky becomes another one.
FEW_MODES = 5
FILLED_UP = 500  # to a multiple of so many nodes, with nodes without weight: another shape is another compilation


class Noise(NamedTuple):
    """Standard normal numbers of which a random momentum is made.

    Attributes:
        of_excitations: (field, ny, nx).
        of_spectra: (parameters or 0,).
        of_nodes: (node,).
    """

    of_excitations: jax.Array
    of_spectra: jax.Array
    of_nodes: jax.Array


class Mass(NamedTuple):
    r"""$M = 1 + J^T C J$, the curvature of a likelihood that sees the planes of the sky in some nodes only.

    $C_{ij} = F_i\, H_{ij}\, F_j / \sigma^2 = L L^T$ is the curvature of the likelihood of the fluxes F of `Nodes`,
    H the `Response` less what `PointSources` explain. J takes excitations and the spectra to the logarithm of a plane
    in these nodes, the excitations as a `Centring` has them, the spectra in coordinates t in which the rest of their
    curvature is 1 too, $\theta = \theta_0 + T t$. In these coordinates the likelihood sees coarse modes alone.
    Woodbury's identity gives $M^{-1} = 1 - J^T X J$, $X = L (1 + L^T J J^T L)^{-1} L^T$. With it trajectories take tens
    of steps for what takes thousands without, for the curvature is $10^8$ where the signal is $10^4$ times the noise,
    and 1 in empty sky.

    Attributes:
        amplitude: of the fields, (field, ny, nx), zero for fine modes.
        y, x: pixels, (node,).
        mixing: B of the plane of each node, times how steep the logarithm is there, (node, field).
        slopes: of the logarithm of the planes along t, (node, parameters or 0).
        scale: T, (parameters, parameters); (parameters, 0) for spectra that are known, for then there is no t.
        inverse: X, (node, node).
        factor: L, (node, node).
        centring: of the positions that move with it.
    """

    amplitude: jax.Array
    y: jax.Array
    x: jax.Array
    mixing: jax.Array
    slopes: jax.Array
    scale: jax.Array
    inverse: jax.Array
    factor: jax.Array
    centring: Centring

    @classmethod
    def of(
        cls,
        sky: LogNormalSky,
        at: Position,
        nodes: Nodes,
        response: Response,
        sources: PointSources,
        curvature: Callable[[Centring], NDArray[np.floating]] | None = None,
        brightness: CoarseBrightness | None = None,
    ) -> Mass:
        """Return the mass.

        Args:
            sky: of excitations and spectra.
            at: where slopes are taken.
            nodes: where the flux is.
            response: of the data.
            sources: beside the sky.
            curvature: of the likelihood in the spectra's parameters, (parameters, parameters); without it the spectra
                are known and the position is in excitations.
            brightness: for the coordinates; without it all modes are coarse.
        """
        flux_curvature = np.multiply.outer(nodes.flux, nodes.flux) * response.between(nodes, sources)
        factor, nodes = _factorised(flux_curvature, nodes)
        scale: NDArray[Any] = np.zeros((sky.parameters, 0))
        slopes: NDArray[Any] = np.zeros((len(nodes.y), 0))
        centring = Centring.none(sky, at.spectrum, brightness)
        amplitude = sky.amplitude(at.spectrum)
        steepness = np.asarray(sky.steepness(amplitude * at.excitations))[:, nodes.y, nodes.x].T
        amplitude *= centring.brightness.coarse
        mixing = np.asarray(sky.mixing)[nodes.plane] * steepness
        size = len(nodes.y) + -len(nodes.y) % FILLED_UP
        where = _filled_up(nodes.y, size), _filled_up(nodes.x, size), _filled_up(mixing, size, mixing.shape[1])
        if curvature is not None:
            centring = centring.weighted(sky, _known(amplitude, nodes, factor @ factor.T, mixing))
            along = np.asarray(spectral_slopes(sky, at, *where, centring))[: len(nodes.y)]
            modes = sky.modes.count * np.square(centring.weight) + FEW_MODES / sky.modes.count.size
            whole = curvature(centring) + np.asarray(power_spectrum.curvature(sky, at.spectrum, modes))
            rest = whole - _gram(factor.T @ along)
            scale = unit_curvature(rest, np.asarray(sky.curvature_of_prior(at.spectrum)))
            slopes = along @ scale
        inner = (
            np.eye(factor.shape[1]) + factor.T @ (_covariance(amplitude, nodes, mixing) + slopes @ slopes.T) @ factor
        )
        root = scipy.linalg.solve_triangular(scipy.linalg.cholesky(inner, lower=True), factor.T, lower=True)
        return cls(
            amplitude,
            *where,
            slopes=_filled_up(slopes, size, slopes.shape[1]),
            scale=jnp.asarray(scale),
            inverse=_filled_up(_gram(root), size, size),
            factor=_filled_up(factor, size, size),
            centring=centring,
        )

    def velocity(self, momentum: Position) -> Position:
        """Return $M^{-1} p$ of a momentum; the spectra's parts are in t."""
        fields = hartley(self.amplitude * momentum.excitations)
        seen = _at_nodes(fields, self.y, self.x, self.mixing) + self.slopes @ momentum.spectrum
        return self._pulled(momentum, -(self.inverse @ seen))

    def noise(self, generator: np.random.Generator) -> Noise:
        """Return the random numbers of one momentum."""
        shapes = self.amplitude.shape, self.scale.shape[1:], self.factor.shape[1:]
        return Noise(*(jnp.asarray(generator.standard_normal(shape)) for shape in shapes))

    def momentum(self, noise: Noise) -> Position:
        """Return the momentum of some noise, which has the covariance M."""
        return self._pulled(Position(noise.of_excitations, noise.of_spectra), self.factor @ noise.of_nodes)

    def _pulled(self, position: Position, at_nodes: jax.Array) -> Position:
        """Return a position plus $J^T$ of numbers at the nodes, (node,)."""
        images = jnp.zeros_like(self.amplitude).at[:, self.y, self.x].add(self.mixing.T * at_nodes)
        return Position(
            position.excitations + self.amplitude * hartley(images), position.spectrum + self.slopes.T @ at_nodes
        )


def _at_nodes(fields: jax.Array, y: jax.Array, x: jax.Array, mixing: jax.Array) -> jax.Array:
    """Return the logarithm of the planes at the nodes, (node,). fields: (field, ny, nx)."""
    return jnp.einsum("if,fi->i", mixing, fields[:, y, x])


def _covariance(amplitude: jax.Array, nodes: Nodes, mixing: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the covariance of the logarithm of the planes in all pairs of nodes, (node, node)."""
    distances, total = nodes.distances(0, 0), np.zeros(2 * nodes.y.shape)
    for of_field, mixed in zip(covariance(amplitude), mixing.T, strict=True):
        total += np.multiply.outer(mixed, mixed) * of_field[distances]
    return total


def _known(
    amplitude: jax.Array, nodes: Nodes, curvature: NDArray[np.floating], mixing: NDArray[np.floating]
) -> NDArray[np.float64]:
    r"""Return $(J^T C J)_{kk}$ of the excitations, (field, ny, nx), mean of those of a frequency and its negative.

    $A_k^2 \sum_{ij} C_{ij} B_i B_j \cos k (x_i - x_j)$: the Fourier transform of a sum over lags.
    """
    _, ny, nx = amplitude.shape
    down, along = nodes.distances(0, 0)
    lags = ((down % ny) * nx + along % nx).ravel()
    found = []
    for of_field, mixed in zip(np.asarray(amplitude), mixing.T, strict=True):
        summed = np.bincount(lags, (np.multiply.outer(mixed, mixed) * curvature).ravel(), ny * nx)
        found.append(of_field**2 * np.maximum(0, np.fft.fft2(summed.reshape(ny, nx)).real))
    return np.array(found)


def _filled_up(array: NDArray[Any], *shape: int) -> jax.Array:
    """Return an array with zeros appended to that shape."""
    return jnp.asarray(np.pad(array, [(0, size - n) for size, n in zip(shape, array.shape, strict=True)]))


def _gram(matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    return matrix.T @ matrix


def _factorised(curvature: NDArray[np.floating], nodes: Nodes) -> tuple[NDArray[np.floating], Nodes]:
    """Return L without what is negligible, and the nodes in its order."""
    if not nodes.flux.size:
        return np.zeros((0, 0)), nodes
    factor, pivots, rank, _ = dpstrf(curvature, tol=NEGLIGIBLE_CURVATURE, lower=1)
    return np.tril(factor)[:, :rank], nodes.at(pivots - 1)


@jax.jit
def spectral_slopes(
    sky: LogNormalSky, at: Position, y: jax.Array, x: jax.Array, mixing: jax.Array, centring: Centring
) -> jax.Array:
    """Return the slopes of the logarithm of the planes at the nodes along the parameters, (node, parameters)."""

    def along(direction: jax.Array) -> jax.Array:
        slope, _ = centring.slope(sky, at, direction)
        fields = hartley(centring.brightness.coarse * slope)
        return _at_nodes(fields, y, x, mixing)

    return jax.lax.map(along, jnp.asarray(sky.directions)).T @ sky.directions
