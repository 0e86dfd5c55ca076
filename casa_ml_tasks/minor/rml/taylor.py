r"""The regularised maximum likelihood minor cycle on Taylor terms of the spectrum.

The Taylor terms $I_t$ of $I(\nu) = \sum_t I_t x^t$, $x = (\nu - \nu_0)/\nu_0$, differ in scale and sign; no bound on
them is natural. The polynomial is also known by its values $B_k = I(\nu_k)$ at as many frequencies of the band. They
are images of the sky: not negative, alike, and nearly independent of each other in the data. They are the unknowns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.likelihood import QuadraticLikelihood
from casa_ml_tasks.kernels.normal_operator import TaylorNormalOperator
from casa_ml_tasks.minor.band import Band
from casa_ml_tasks.minor.rml.minimisation import minimise
from casa_ml_tasks.minor.rml.minor_cycle import Count, Given, Minimum, Planes, RegularisedMaximumLikelihood
from casa_ml_tasks.minor.rml.objective import Objective, parts_of
from casa_ml_tasks.minor.rml.regularisers.noise_level import NoiseLevel
from casa_ml_tasks.minor.rml.regularisers.registry import OF_THE_MAGNITUDE, resolve
from casa_ml_tasks.minor.rml.regularisers.smoothness import total_squared_variation_of_channels

#: Of a band: the smallest step of ln(frequency) by which spectral indices are smoothed.
NARROW = 0.1


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BandNormalOperator:
    """$C^T H C$ on the images at the frequencies of a band, whose Taylor terms are $C B$.

    Attributes:
        transfer: of each frequency by itself, (frequency, 2 ny, nx + 1).
        taylor: H.
        conversion: C, (term, frequency).
    """

    transfer: jax.Array
    taylor: TaylorNormalOperator
    conversion: jax.Array

    @classmethod
    def from_psfs(cls, psfs: NDArray[np.floating], band: Band) -> BandNormalOperator:
        """Return the operator. psfs: (2 terms - 1, 2 ny, 2 nx), T_0 with its peak in the pixel (ny, nx), Jy/beam."""
        taylor = TaylorNormalOperator.from_psfs(psfs, np.float32)
        alone = jnp.asarray([np.convolve(column, column) for column in band.conversion.T], jnp.float32)  # of T_q
        conversion = jnp.asarray(band.conversion, jnp.float32)
        return cls(jnp.tensordot(alone, taylor.transfers, 1), taylor, conversion)

    @jax.jit
    def __call__(self, images: jax.Array) -> jax.Array:
        """Return the dirty images of all frequencies together, (..., frequency, ny, nx), Jy/pixel to Jy/beam."""
        return jnp.tensordot(self.conversion.T, self.taylor(jnp.tensordot(self.conversion, images, 1)), 1)

    def spectral_norm(self) -> jax.Array:
        """Return an upper bound on the largest eigenvalue."""
        return jnp.linalg.norm(self.conversion, 2) ** 2 * self.taylor.spectral_norm()


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True)
class TaylorObjective(Objective):
    r"""$\chi^2/2$ of all Taylor terms together, regularisers of the mean over the band, and smoothness of the spectrum.

    The likelihood is of the images at the frequencies of a band, a cube to `Objective`.

    Attributes:
        frequencies, weights: of the band.
    """

    frequencies: jax.Array
    weights: jax.Array

    def regularisation(self, parts: jax.Array) -> jax.Array:
        r"""Return $\sum_i \lambda_i R_i$ plus the smoothness of the spectrum. parts: (1 or 2, frequency, ny, nx)."""
        parts = parts.astype(float)
        images = self.image(parts)
        magnitude, mean = (jnp.tensordot(self.weights, each, 1) for each in (parts.sum(axis=0), images))
        if len(parts) == 1:
            total = spectral_smoothness(images, self.frequencies, self.noise)
        else:  # no logarithm
            total = total_squared_variation_of_channels(images, self.noise)
        for name, strength in zip(self.regularisers, self.strengths, strict=True):
            total += strength * resolve(name)(magnitude if name in OF_THE_MAGNITUDE else mean, self.noise)
        return total

    def preconditioner(self, parts: jax.Array) -> Callable[[jax.Array], jax.Array]:
        r"""Return the inverse of an estimate of the Hessian's diagonal.

        The circulant of `Objective` needs several times the iterations here, where the logarithms rule faint pixels.
        """
        transfer = self.likelihood.operator.transfer
        largest, mean = (of(jnp.abs(transfer), axis=(-2, -1), keepdims=True) for of in (jnp.max, jnp.mean))
        inverse = 1 / (jnp.sqrt(largest * mean) / self.likelihood.sigma**2 + self.curvature(parts))
        return lambda gradient: (inverse * gradient).astype(parts.dtype)


def spectral_smoothness(images: jax.Array, frequencies: jax.Array, noise: NoiseLevel) -> jax.Array:
    r"""Return $\frac12 \sum |\nabla \alpha|^2$ of the indices $\alpha = \Delta \ln(B + \epsilon) / \Delta \ln \nu$.

    Neighbouring pixels have the same spectral index, unless the data say otherwise: changes by one from pixel to pixel
    cost one unit of chi^2. Emission far below the floor $\epsilon$ has no spectrum. $\Delta \ln \nu$ counts as
    `NARROW` where it is less: what a narrow band cannot tell would only make the minimum hard to find.

    Args:
        images: (frequency, ny, nx), Jy/pixel, not negative.
        frequencies: (frequency,).
        noise: gives the floor.
    """
    logarithms = jnp.log(images + noise.floor)
    index = jnp.diff(logarithms, axis=0) / jnp.maximum(jnp.diff(jnp.log(frequencies)), NARROW)[:, None, None]
    return (jnp.sum(jnp.diff(index, axis=-1) ** 2) + jnp.sum(jnp.diff(index, axis=-2) ** 2)) / 2


class TaylorMaximumLikelihood(RegularisedMaximumLikelihood):
    """Minimises chi^2/2 plus regularisers over the Taylor terms of the spectrum; every Stokes parameter by itself."""

    def __init__(self, psf: Image, sigma: NDArray[np.floating], *rest: Any, **others: Any):
        """Remember what to minimise.

        Args:
            psf: (2 terms - 1, stokes, 2 ny, 2 nx), Jy/beam.
            sigma: noise of the dirty image of the first term, Jy/beam, (1, stokes).
            rest, others: as for `RegularisedMaximumLikelihood`; the regularisers are of the mean over the band,
                positivity of the image at every frequency, and Taylor terms share their support.

        Raises:
            ValueError: there are several terms and one frequency.
        """
        terms = (len(psf) + 1) // 2
        moments = psf[..., psf.shape[-2] // 2, psf.shape[-1] // 2].astype(float)
        super().__init__(psf[:terms], sigma * np.sqrt(np.abs(moments[::2])), *rest, **others)
        self._psfs = psf
        self._bands = [Band.of_moments(each) for each in moments.T]

    def _independent(self, unfinished: NDArray[np.bool_]) -> list[Planes]:
        return [(np.arange(len(unfinished)), stokes) for stokes, each in enumerate(unfinished.T) if each.any()]

    def _minimum(self, planes: Planes, given: Given, most: int, done: Count) -> Minimum:
        """Return the minimum for one Stokes parameter, whose images are of terms, (term, ny, nx)."""
        _, stokes = planes
        residual, model, support, *_ = given
        band = self._bands[stokes]
        with jax.enable_x64(True):
            operator = BandNormalOperator.from_psfs(self._psfs[:, stokes], band)
            images = np.where(support, band.images(model), 0)
            names, strengths = self._regularisers_of(stokes)
            likelihood = QuadraticLikelihood(
                operator,
                jnp.asarray(np.tensordot(band.conversion.T, residual, 1), jnp.float32),
                jnp.asarray(band.images(model), jnp.float32),
                jnp.asarray(self._sigma[0, stokes]),
            )
            objective = TaylorObjective(
                likelihood=likelihood,
                beam_area=jnp.asarray(self._beam_area[0]),
                strengths=strengths,
                regularisers=names,
                prior=jnp.asarray(self._prior[0, stokes]),
                frequencies=jnp.asarray(band.frequencies),
                weights=jnp.asarray(band.weights),
            )
            start = parts_of(images, bool(self._positivity[stokes]))
            minimum, ended = minimise(
                objective, jnp.asarray(support[0]), start, most, done.add, tolerance=self._tolerance
            )
            terms = band.terms(np.asarray(objective.image(minimum), float)).astype(np.float32)
            before, there = (jnp.asarray(each, jnp.float32) for each in (residual, model))
            of_terms = QuadraticLikelihood(operator.taylor, before, there, float(self._sigma[0, stokes]))
            return Minimum(terms, np.asarray(of_terms.predicted_residual(jnp.asarray(terms))), ended)
