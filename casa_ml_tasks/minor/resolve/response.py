"""How the data respond to planes of the sky, whole or pixel by pixel."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike, NDArray

from casa_ml_tasks.kernels.joint_data import JointData, SkyOperator
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator, NormalOperator, TaylorNormalOperator
from casa_ml_tasks.kernels.sub_pixel import Rendering, band_of
from casa_ml_tasks.minor.resolve.coarse_likelihood import Nodes
from casa_ml_tasks.minor.resolve.modes import frequencies
from casa_ml_tasks.minor.resolve.point_sources import PointSources

MOST = 0.9  # of the transform of a PSF


class Response(NamedTuple):
    r"""The normal operator H and the noise of images $I_c = \sum_p S_{cp} P_p$: of channels, or of Taylor terms.

    A channel has a PSF of its own; of two terms s, t it is $T_{s+t}$ (Rau & Cornwell 2011, A&A 532, A71, eq. 18).

    Attributes:
        psfs: (channel or 2 terms - 1, 2 ny, 2 nx), Jy/beam.
        sigma: noise of the dirty images, (channel or 1,), Jy/beam; infinite for a channel without data.
        synthesis: S, (channel or term, plane).
        exact: H of every channel, where it is not the convolution with its PSF: of a mosaic, or of several data sets.
    """

    psfs: NDArray[np.floating]
    sigma: NDArray[np.floating]
    synthesis: NDArray[np.floating]
    exact: SkyOperator | None = None

    @property
    def _has_terms(self) -> bool:
        return len(self.psfs) > len(self.synthesis)

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.psfs.shape[1] // 2, self.psfs.shape[2] // 2

    def normal(self, precision: DTypeLike = float) -> NormalOperator:
        """Return H, which takes images (channel or term, ny, nx)."""
        if self.exact is not None:
            return self.exact.normal(precision)
        if self._has_terms:
            return TaylorNormalOperator.from_psfs(self.psfs, precision)
        return ConvolutionNormalOperator.from_psf(self.psfs, precision)

    def coupling(self) -> NDArray[np.float64]:
        r"""Return how each PSF couples planes, $\sum S_{cp} S_{c'p'} / \sigma^2$, (PSF, plane, plane), (Jy/beam)^-2."""
        images = range(len(self.synthesis))
        pairs = [(s, t) for s in images for t in images if self._has_terms or s == t]
        sigma = np.broadcast_to(self.sigma, len(self.synthesis))
        coupling = np.zeros((len(self.psfs), *2 * self.synthesis.shape[1:]))
        for s, t in pairs:
            which = s + t if self._has_terms else s
            coupling[which] += np.multiply.outer(self.synthesis[s], self.synthesis[t]) / sigma[s] ** 2
        return coupling

    def noise_of_planes(self) -> NDArray[np.float64]:
        """Return the noise of a point source where each plane is seen best, if all else is known, (plane,), Jy."""
        ny, nx = self.shape
        with np.errstate(divide="ignore"):
            return np.einsum("qpp,q->p", self.coupling(), self.psfs[:, ny, nx]) ** -0.5

    def finest(self) -> float:
        """Return the frequency within which nine tenths of the PSF's transform are, where the sky is seen best.

        Nine tenths of the weights lie further in, for an image ends before its PSF does, which spreads the transform.
        But beyond them the data still know a lot of bright sources: with that frequency in place of this one, chains
        got caught beside the core of 3C 273.
        """
        psf = self.psfs[0 if self._has_terms else np.argmin(self.sigma)].astype(float)
        transform = np.abs(np.fft.fft2(psf)).ravel()
        frequency = frequencies(psf.shape).ravel()
        order = np.argsort(frequency)
        within = np.cumsum(transform[order])
        return float(frequency[order][np.searchsorted(within, MOST * within[-1])])

    def between(self, nodes: Nodes, sources: PointSources) -> NDArray[np.float64]:
        r"""Return $S^T H S / \sigma^2$ of all pairs of nodes, (node, node), Jy^-2, with what the sources leave of H."""
        # Only one image has point sources beside it.
        beams = self.synthesis[0, nodes.plane] / self.sigma[0] * np.asarray(sources.beams)[:, nodes.y, nodes.x]
        curvature = -beams.T @ np.asarray(sources.inverse) @ beams
        for psf, coupling in zip(self.psfs, self.coupling(), strict=True):
            seen = np.flatnonzero(coupling.any(axis=1)[nodes.plane])
            some = nodes.at(seen)
            lags = psf[some.distances(*self.shape)] if self.exact is None else self.exact.between(some.y, some.x)
            curvature[np.ix_(seen, seen)] += coupling[np.ix_(some.plane, some.plane)] * lags
        return curvature

    def rendering(self, places: NDArray[np.floating]) -> Rendering:
        """Return the pixels of point sources in the first image. places: y and x, pixels, (source, 2)."""
        return Rendering.at(places, self.shape, band_of(self.psfs[0]))

    def point_sources(self, places: NDArray[np.floating], dirty: NDArray[np.floating]) -> PointSources:
        """Return point sources of the first image. places: y, x, pixels, (source, 2); dirty: (ny, nx), Jy/beam."""
        rendering = self.rendering(places)
        beams = np.zeros((len(places), *self.shape))
        if len(places):
            with jax.enable_x64(True):
                operator = self.normal()
                for which, image in enumerate(rendering.images(self.shape)[0]):
                    beams[which] = operator(jnp.asarray(image)[None])[0]
        return PointSources.at(rendering, beams, dirty)

    def seen(self) -> NDArray[np.bool_]:
        """Return where the data see the sky, (ny, nx)."""
        return self.sensitivity() > 0

    def sensitivity(self) -> NDArray[np.float64]:
        """Return the diagonal of H, (ny, nx): 1 where the data see the sky best, 0 where they do not."""
        return np.ones(self.shape) if self.exact is None else self.exact.sensitivity()

    def noises(self, beam_area: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the noise of a point source for each data set alone, and the solid angle of its beam.

        Args:
            beam_area: solid angle of the CLEAN beam of all data together, pixels.

        Returns:
            (set, plane, ny, nx), Jy, infinite where a set does not see the sky; and (set,), pixels.
        """
        if isinstance(self.exact, JointData):
            together, sets = self.exact.sigma, self.exact.sets
            scales = [each.operator.sensitivity() * (together / each.sigma) ** 2 for each in sets]
            areas = [each.beam_area for each in sets]
        else:
            scales, areas = [self.sensitivity()], [beam_area]
        with np.errstate(divide="ignore"):
            of_sets = np.stack(scales)[:, None] ** -0.5
        return self.noise_of_planes()[:, None, None] * of_sets, np.array(areas)

    def noise_of_brightness(self, beam_area: float) -> NDArray[np.float64]:
        """Return the noise of emission as wide as a beam, of that data set or those which see it best.

        beam_area: solid angle of the CLEAN beam of all data together, pixels.

        Returns:
            (plane, ny, nx), Jy/pixel; infinite where nothing is seen.
        """
        noises, areas = self.noises(beam_area)
        with np.errstate(divide="ignore"):
            precision = ((areas[:, None, None, None] / noises) ** 2).sum(axis=0)
            return np.asarray(precision**-0.5)
