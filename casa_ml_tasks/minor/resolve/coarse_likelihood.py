"""A likelihood of few points, whose exact inverse preconditions the true one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.linalg.lapack import dpstrf

from casa_ml_tasks.minor.resolve.correlated_field import hartley

MOST_POINTS = 2500  # whose dense matrices take seconds; beyond that the faintest are left to the iteration
FAINTEST = 0.001  # noise sigma in a cell: fainter emission is held by the prior
#: Of the noise: by how much the flux of a cell may be misplaced. A cell of flux S and size b misplaces S (b / FWHM)^2.
MISPLACED = 3.0
#: Of the beam's FWHM: the largest cell, in pixels a power of two. Empty sky is stiff as a whole, not in each beam.
LARGEST_CELL = 2.6
NEGLIGIBLE_CURVATURE = 0.3  # the prior's is 1


class Points(NamedTuple):
    """Where a coarse picture has the flux of an image.

    Attributes:
        y, x: pixels, (point,).
        flux: Jy, (point,).
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    flux: NDArray[np.floating]


def coarse_points(image: NDArray[np.floating], sigma: float, beam_area: float, most: int = MOST_POINTS) -> Points:
    """Divide an image in square cells, smaller where it is brighter, and put their flux in their centroids.

    Args:
        image: (ny, nx), Jy/pixel, not negative.
        sigma: noise of the dirty image, Jy/beam.
        beam_area: solid angle of the CLEAN beam, pixels.
        most: the brightest so many are kept.
    """
    width = np.sqrt(beam_area * 4 * np.log(2) / np.pi)
    cell = 1 << max(0, int(np.log2(LARGEST_CELL * width)))
    padded = np.pad(image.astype(float), [(0, -n % cell) for n in image.shape])
    rows, columns = np.indices(padded.shape)
    found: list[Points] = []
    active = _sums(padded, cell) > FAINTEST * sigma
    while active.any():
        flux = _sums(padded, cell)
        divided = active & (flux * (cell / width) ** 2 > MISPLACED * sigma) & (cell > 1)
        kept = active & ~divided
        y, x = (np.rint(_sums(padded * at, cell)[kept] / flux[kept]).astype(int) for at in (rows, columns))
        found.append(Points(y, x, flux[kept]))
        cell = max(1, cell // 2)
        active = divided.repeat(2, 0).repeat(2, 1)
        active = active & (_sums(padded, cell) > 0) if active.any() else active
    if not found:
        return Points(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    y, x = (np.concatenate([getattr(each, axis) for each in found]) for axis in "yx")
    flux = np.concatenate([each.flux for each in found])
    brightest = np.argsort(-flux, kind="stable")[:most]
    return Points(y[brightest], x[brightest], flux[brightest])


def _sums(image: NDArray[np.floating], cell: int) -> NDArray[np.floating]:
    """Of square cells."""
    ny, nx = (n // cell for n in image.shape)
    return image.reshape(ny, cell, nx, cell).sum(axis=(1, 3))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CoarseInverse:
    r"""$(1 + J^T C J)^{-1} = 1 - J^T X J$ for a likelihood that sees the field in some points only.

    J takes excitations to the logarithm of the sky in the points, $C_{ij} = S_i\, P(x_i - x_j)\, S_j / \sigma^2$ is the
    curvature of the likelihood of the fluxes S of `Points` with the PSF P, and $X = L (1 + L^T K L)^{-1} L^T$ with
    $C = L L^T$ and the field's covariance $K = J J^T$. Where the sky is smooth on the scale of the points this is
    the true curvature, and conjugate gradients need tens of iterations for what took them thousands.

    Attributes:
        y, x: pixels, (point,).
        matrix: X, (point, point).
        factor: L, (point, rank).
    """

    y: jax.Array
    x: jax.Array
    matrix: jax.Array
    factor: jax.Array

    @classmethod
    def of(
        cls, points: Points, psf: NDArray[np.floating], sigma: float, covariance: NDArray[np.floating]
    ) -> CoarseInverse:
        """Make it.

        Args:
            points: where the flux is.
            psf: (2 ny, 2 nx), Jy/beam.
            sigma: noise of the dirty image, Jy/beam.
            covariance: of the logarithm of the sky by distance, (ny, nx).
        """
        ny, nx = covariance.shape
        dy, dx = (np.subtract.outer(at, at) for at in (points.y, points.x))
        curvature = np.multiply.outer(points.flux, points.flux) * psf[ny + dy, nx + dx] / sigma**2
        if not points.flux.size:
            return cls(jnp.asarray(points.y), jnp.asarray(points.x), *2 * [jnp.zeros((0, 0))])
        factor, pivots, rank, _ = dpstrf(curvature, tol=NEGLIGIBLE_CURVATURE, lower=1)
        factor, kept = np.tril(factor)[:, :rank], pivots - 1
        prior = covariance[dy % ny, dx % nx][np.ix_(kept, kept)]
        inner = factor.T @ prior @ factor + np.eye(rank)
        root = scipy.linalg.solve_triangular(scipy.linalg.cholesky(inner, lower=True), factor.T, lower=True)
        y, x = (jnp.asarray(each[kept]) for each in (points.y, points.x))
        return cls(y, x, jnp.asarray(root.T @ root), jnp.asarray(factor))

    def __call__(self, amplitude: jax.Array, excitations: jax.Array) -> jax.Array:
        """amplitude: of the field; excitations: what to apply the inverse to, (ny, nx) both."""
        at_points = self.matrix @ hartley(amplitude * excitations)[self.y, self.x]
        return excitations - amplitude * hartley(jnp.zeros_like(excitations).at[self.y, self.x].add(at_points))
