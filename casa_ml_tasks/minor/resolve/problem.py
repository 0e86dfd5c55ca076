"""What is inferred from what: the data in the image plane, and the sky a priori."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.engine.protocols import Image
from casa_ml_tasks.kernels.joint_data import JointData, SkyOperator
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.minor.resolve.coarse_likelihood import Nodes, coarse_nodes
from casa_ml_tasks.minor.resolve.composition import Composition, continuum
from casa_ml_tasks.minor.resolve.correlated_field import MeanAndDeviation, Prior
from casa_ml_tasks.minor.resolve.energy import Likelihood
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky
from casa_ml_tasks.minor.resolve.point_sources import PointSources
from casa_ml_tasks.minor.resolve.response import Response

#: Brightness that the prior expects in an empty pixel, over the noise of a beam spread over the beam; of several data
#: sets, over that of those which see extended emission best: a wide image would have a flux of its own otherwise.
OFFSET = 0.1
SIGNAL = 5.0  # noise sigma: what noise alone does not reach


@dataclass(frozen=True, eq=False)
class ImagingProblem:
    """The data in the image plane and the sky a priori, which stay the same in all global iterations.

    Attributes:
        response: of the data to planes of the sky, with the noise.
        composition: what the sky is composed of.
        beam_areas: solid angle of the CLEAN beam of each channel, or of all, pixels, (channel or 1,).
        cell: size of a pixel, arcsec.
        empty: logarithm of the brightness of an empty pixel, ln(Jy/pixel), unless the prior is given another.
    """

    response: Response
    composition: Composition
    beam_areas: NDArray[np.float64]
    cell: float
    empty: float

    @classmethod
    def of(
        cls,
        psf: Image,
        sigma: ArrayLike,
        beam_area: ArrayLike,
        cell: float,
        compose: Callable[[Prior], Composition] = continuum,
        prior: Mapping[str, float | MeanAndDeviation] | None = None,
        exact: SkyOperator | None = None,
    ) -> ImagingProblem:
        """Return the problem of images of total intensity: of one, of channels, or of Taylor terms.

        Args:
            psf: (channel or 2 terms - 1, 1, 2 ny, 2 nx), Jy/beam, in natural weighting.
            sigma: noise of the dirty images, Jy/beam; a number, or (channel, 1), infinite where there are no data.
            beam_area: solid angle of the CLEAN beam, pixels; a number, or one for each channel.
            cell: size of a pixel, arcsec.
            compose: makes the composition of the sky from the prior of its brightness.
            prior: fields of `Prior` that are not to be set from the data.
            exact: normal operator of every channel that is not the convolution with its PSF: of a mosaic, or of
                several data sets.
        """
        noises, areas = np.ravel(sigma).astype(float), np.ravel(beam_area).astype(float)
        noise = float(np.median(noises[np.isfinite(noises)])) / float(np.median(areas))
        if isinstance(exact, JointData):
            noise = exact.noise_of_brightness
        empty = float(np.log(OFFSET * noise))
        composition = compose(Prior(**{**Prior(empty)._asdict(), **(prior or {})}))
        return cls(Response(psf[:, 0], noises, composition.synthesis, exact), composition, areas, cell, empty)

    @property
    def beam_area(self) -> float:
        """Solid angle of the CLEAN beam, median of all channels, pixels."""
        return float(np.median(self.beam_areas))

    @cached_property
    def sky(self) -> LogNormalSky:
        """The sky as a function of excitations and spectra."""
        with jax.enable_x64(True):
            return LogNormalSky.of(self.response.shape, self.composition)

    @cached_property
    def operators(self) -> tuple[NormalOperator, NormalOperator]:
        """The normal operator in double and in single precision."""
        with jax.enable_x64(True):
            return self.response.normal(), self.response.normal(np.float32)

    @cached_property
    def finest(self) -> float:
        """Highest spatial frequency of what the data see, cycles per pixel."""
        return self.response.finest()

    def heated_response(self, heat: float) -> Response:
        """Return the response with that many times the noise."""
        return self.response._replace(sigma=heat * self.response.sigma)

    def nodes_of(self, planes: NDArray[np.floating], heat: float) -> Nodes:
        """Return the nodes that stand for planes, (plane, ny, nx), Jy/pixel, at that many times the noise."""
        noises, beam_areas = self.response.noises(self.beam_area)
        return coarse_nodes(planes, heat * noises, beam_areas)

    def likelihood(self, residual: Image, model: Image, sources: PointSources, heat: float) -> Likelihood:
        """Return the likelihood beside point sources, at that many times the noise.

        residual: Jy/beam, model: Jy/pixel, (channel or term, 1, ny, nx) both.
        """
        return Likelihood(
            *self.operators,
            residual=sources.without(jnp.asarray(residual[:, 0], float)),
            model=jnp.asarray(model[:, 0], float),
            sigma=jnp.asarray(heat * self.response.sigma)[:, None, None],
            sources=sources,
        )

    def in_noise(self, images: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return images over their noise, (channel or 1, ny, nx), 0 where nothing is seen.

        images: (channel or term, 1, ny, nx), Jy/beam.
        """
        sigma, scale = self.response.sigma, np.sqrt(self.response.sensitivity())
        in_noise = images[: len(sigma), 0] / sigma[:, None, None]
        return np.divide(in_noise, scale, out=np.zeros_like(in_noise), where=scale > 0)
