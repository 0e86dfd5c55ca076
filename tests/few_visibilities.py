"""Visibilities so few that dense matrices hold them, and the inference from them: for tests."""

import jax.numpy as jnp
import numpy as np

from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.kernels.normal_operator import NormalOperator
from casa_ml_tasks.minor.resolve.energy import Likelihood
from casa_ml_tasks.minor.resolve.minor_cycle import NO_SOURCES, Resolve
from casa_ml_tasks.minor.resolve.point_sources import PointSources


class Observation:
    """Visibilities at random places, so few that dense matrices hold them.

    Attributes:
        psf: (2 ny, 2 nx), Jy/beam.
        sigma: of the dirty image, Jy/beam.
    """

    def __init__(self, shape, sigma, seed=3, points=80, longest=0.25):
        rng = np.random.default_rng(seed)
        self.shape, self.sigma = shape, sigma
        self.baselines = rng.normal(scale=longest / 2, size=(points, 2))
        y, x = (np.arange(-n, n) for n in shape)
        self.psf = np.mean([np.cos(2 * np.pi * (v * y[:, None] + u * x)) for v, u in self.baselines], axis=0)
        phase = [2 * np.pi * (v * np.indices(shape)[0] + u * np.indices(shape)[1]).ravel() for v, u in self.baselines]
        self.response = np.concatenate([np.cos(phase), np.sin(phase)])  # real visibilities of an image
        self.beam_area = np.pi / (4 * np.log(2)) * (0.88 / longest) ** 2

    def dirty(self, visibilities):
        return (self.response.T @ visibilities).reshape(self.shape) / len(self.baselines)

    def noise(self, seed):
        """Of a dirty image: its covariance is sigma^2 times the normal operator."""
        scale = self.sigma * np.sqrt(len(self.baselines))
        return self.dirty(scale * np.random.default_rng([99, seed]).normal(size=len(self.response)))

    def observe(self, sky, seed=0):
        return self.dirty(self.response @ sky.ravel()) + self.noise(seed)

    def resolve(self, **options):
        return Resolve(self.psf[None, None], self.sigma, self.beam_area, 0.1, **options)

    def likelihood(self, dirty, pixels=NO_SOURCES):
        sources, normal = self.sources(dirty, pixels), NormalOperator.from_psf(self.psf)
        return Likelihood(normal, sources.without(jnp.asarray(dirty)), jnp.zeros(self.shape), self.sigma, sources)

    def sources(self, dirty, pixels=NO_SOURCES):
        return PointSources.at(pixels, self.psf, dirty)


def finished(resolve, dirty, state=None, model=None):
    """All global iterations. Returns the last state and those on the way."""
    zero = np.zeros((1, 1, *dirty.shape), np.float32)
    states = [state or MinorState()]
    while not states[1:] or states[-1].unfinished:
        _, after = resolve.update(dirty[None, None].astype(np.float32), zero, states[-1])
        states.append(after)
    return states[-1], states[1:-1]


def blob(shape, flux=1.0, width=3.0):
    y, x = np.indices(shape)
    image = np.exp(-((y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2) / (2 * width**2))
    return flux * image / image.sum()
