"""Bayesian imaging of a mosaic together with single-dish maps, on pixels as wide as the data allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorState
from casa_ml_tasks.kernels.coarser import (
    beam_area_of,
    coarser_dish,
    coarser_mosaic,
    coarsest,
    finer,
    in_smaller_boxes,
)
from casa_ml_tasks.kernels.joint_data import DataSet, JointData, OfDish
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.kernels.single_dish import SingleDish
from casa_ml_tasks.minor.resolve.correlated_field import MeanAndDeviation
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.posterior import GlobalIteration, Posterior
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.minor.rml.minor_cycle import AGREEMENT


@dataclass(frozen=True)
class WeightedMap:
    """A single-dish map with the factor of its weight, 1 for what its noise justifies."""

    map: SingleDish
    scale: float = 1.0


@dataclass(frozen=True)
class JointSky:
    """A mosaic in sky units and maps of the same sky, of one channel.

    Attributes:
        mosaic: in sky units.
        sigma: noise of its residual where it sees the sky best, Jy/beam.
        maps: of single dishes.
        beam_area: solid angle of the CLEAN beam of the mosaic, pixels.
        cell: size of a pixel, arcsec.
    """

    mosaic: Mosaic
    sigma: float
    maps: Sequence[WeightedMap]
    beam_area: float
    cell: float

    @cached_property
    def operator(self) -> NormalOperator:
        """The mosaic's normal operator in single precision."""
        with jax.enable_x64(True):
            return self.mosaic.normal(np.float32)

    @cached_property
    def factor(self) -> int:
        """How many times as wide as those of the images the pixels of the chains' skies are."""
        return coarsest(self.mosaic.psf())

    @cached_property
    def mean_noise(self) -> float:
        """Noise of the mosaic's residual, r.m.s. over the image, Jy/beam."""
        return self.sigma * float(np.sqrt(self.mosaic.sensitivity().mean()))

    @cached_property
    def data(self) -> JointData:
        """All data sets on the pixels of the chains' skies."""
        sets = []
        for part in in_smaller_boxes(coarser_mosaic(self.mosaic, self.factor)):
            share = part.sensitivity().max()
            alone = replace(part, psfs=part.psfs / share)
            sets.append(DataSet(alone, self.sigma / np.sqrt(share), beam_area_of(alone.psf())))
        for each in self.maps:
            with jax.enable_x64(True):
                operator = coarser_dish(each.map.normal(), self.factor)
            area = float(np.ravel(np.asarray(operator.transfer)[..., 0, 0])[0])
            sets.append(DataSet(OfDish(operator), _noise_of(each), area))
        return JointData(tuple(sets))

    def dirty(self, residual: Image, model: Image) -> Image:
        r"""Return the dirty image of all data on the pixels of the chains' skies, (1, 1, ny, nx), Jy/beam.

        $\sigma^2 \sum_d r_d / \sigma_d^2$, with the residuals r of no model.

        Args:
            residual: of the mosaic, (1, 1, ny, nx), Jy/beam.
            model: whose residual that is, (1, 1, ny, nx), Jy/pixel.
        """
        of_mosaic = residual[0, 0] + self.of_mosaic(model) if model.any() else residual[0, 0]
        dirty = of_mosaic / self.sigma**2 + self._dirty_maps
        return (self.data.sigma**2 * dirty[None, None, :: self.factor, :: self.factor]).astype(np.float32)

    def of_mosaic(self, image: Image) -> NDArray[np.float32]:
        """Return the mosaic's dirty image, (ny, nx), Jy/beam, of an image, (1, 1, ny, nx), Jy/pixel."""
        with jax.enable_x64(True):
            return np.asarray(self.operator(jnp.asarray(image[0, 0], jnp.float32)))

    @cached_property
    def _dirty_maps(self) -> NDArray[np.float64]:
        """The sum of the maps' dirty images, each over the square of its noise, (ny, nx)."""
        total = np.zeros(self.mosaic.shape)
        for each in self.maps:
            leading = each.map.pixels.shape[:-2]
            dirty = each.map.residual(np.zeros((*leading, *total.shape)))
            total += dirty.reshape(total.shape) / _noise_of(each) ** 2
        return total


def _noise_of(single_dish: WeightedMap) -> float:
    """Return the noise of a map's dirty image, Jy/beam."""
    return float(np.ravel(single_dish.map.sigma(single_dish.scale))[0])


class JointResolve:
    """Samples the posterior of one image of total intensity that a mosaic and single-dish maps see.

    Major cycles know the mosaic alone, of which residuals and predicted residuals are; the maps' likelihood needs none.
    The chains' skies have pixels that are wider by a factor, as long as these sample nearly all baselines, and the
    samples that are returned are these skies at all spatial frequencies that those pixels have. They may ring below
    zero beside a point source.
    """

    schema = Resolve.schema

    def __init__(
        self,
        sky: JointSky,
        prior: Mapping[str, float | MeanAndDeviation] | None = None,
        settings: Settings | None = None,
        on_iteration: Callable[[GlobalIteration], None] = lambda step: None,
    ):
        """Remember what to infer.

        Args:
            sky: the data.
            prior: fields of `Prior` that are not to be set from the data.
            settings: how to sample; the usual ones by default.
            on_iteration: told of every global iteration.
        """
        self._sky = sky
        data, area = sky.data, sky.beam_area / sky.factor**2
        cell = sky.cell * sky.factor
        self._problem = ImagingProblem.of(data.psf()[None, None], data.sigma, area, cell, prior=prior, exact=data)
        self._chains = Resolve(self._problem, settings=settings, on_iteration=on_iteration)

    def update(self, residual: Image, model: Image, state: MinorState) -> tuple[Image, MinorState]:
        """Do one global iteration. residual: of the mosaic, Jy/beam, model: Jy/pixel, (1, 1, ny, nx) both.

        Raises:
            ValueError: what the data show is negative.
            FloatingPointError: the energy is not a number.
        """
        if self._agrees(residual, state):
            return model, replace(state, converged=True)
        dirty = self._sky.dirty(residual, model)
        mean, after = self._chains.advance(dirty, np.zeros_like(dirty), state)
        if after.unfinished:
            return model, after
        fine = finer(mean, self._sky.factor, self._sky.mosaic.shape)
        predicted = residual - self._sky.of_mosaic(fine - model)
        return fine, replace(after, predicted_residual=predicted.astype(np.float32))

    def posterior(self, state: MinorState) -> Posterior:
        """Return what is known in this state."""
        found = self._chains.posterior(state)
        return replace(found, samples=finer(found.samples, self._sky.factor, self._sky.mosaic.shape))

    def _agrees(self, residual: Image, state: MinorState) -> bool:
        """Return whether the samples are done and the major cycle found the residual that their mean should have."""
        if state.unfinished or state.predicted_residual is None:
            return False
        return float(np.std(residual - state.predicted_residual)) < AGREEMENT * self._sky.mean_noise
