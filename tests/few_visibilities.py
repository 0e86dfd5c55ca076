"""Visibilities so few that dense matrices hold them, and the inference from them: for tests."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import block_diag

from casa_ml_tasks.engine.protocols import MinorState
from casa_ml_tasks.minor.resolve import composition
from casa_ml_tasks.minor.resolve.centring import Centring
from casa_ml_tasks.minor.resolve.coarse_brightness import CoarseBrightness
from casa_ml_tasks.minor.resolve.correlated_field import Prior, hartley
from casa_ml_tasks.minor.resolve.energy import Likelihood
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.response import Response
from casa_ml_tasks.minor.resolve.settings import Settings
from casa_ml_tasks.minor.resolve.sketch import NO_SOURCES

COMPOSITIONS = (
    *("continuum", "continuum_and_points", "emission_and_absorption"),
    *("taylor_terms", "cube", "cube_with_continuum"),
)
PRIOR = Prior(-4.0)
FREQUENCIES = np.array([0.9, 1.0, 1.15])  # of the channels, GHz

# Each is one program: called as they are, they are as many for every shape as they have operations.
images_of, log_planes_of = map(jax.jit, (LogNormalSky.__call__, LogNormalSky.log_planes))
standard_of, prior_of_spectra = map(jax.jit, (LogNormalSky.standard, LogNormalSky.prior_of_spectra))
enter, leave = map(jax.jit, (Centring.enter, Centring.leave))
transformed = jax.jit(hartley)


class Observation:
    """Visibilities at random places, of channels or of Taylor terms.

    Attributes:
        psfs: (channel or 2 terms - 1, 2 ny, 2 nx), Jy/beam.
        sigma: of the dirty images, (channel or 1,), Jy/beam.
        design: visibilities over their noise, of images in Jy/pixel, (visibility, (channel or term) pixels).
    """

    def __init__(self, shape, sigma, seed=3, points=80, longest=0.25, terms=1):
        rng = np.random.default_rng(seed)
        self.shape, self.sigma = shape, np.ravel(sigma).astype(float)
        self.beam_area = np.pi / (4 * np.log(2)) * (0.88 / longest) ** 2
        baselines = rng.normal(scale=longest / 2, size=(self.sigma.size, points, 2))
        offsets = rng.uniform(-0.3, 0.4, points) ** np.arange(2 * terms - 1)[:, None]  # of the frequency, to powers
        y, x = (np.arange(-n, n) for n in shape)
        v, u = np.moveaxis(baselines, -1, 0)[..., None, None]
        fringes = np.cos(2 * np.pi * (v * y[:, None] + u * x))
        self.psfs = np.einsum("qv,cvyx->cqyx", offsets, fringes).reshape(-1, *fringes.shape[2:]) / points
        phase = 2 * np.pi * baselines @ np.indices(shape).reshape(2, -1)
        fringes = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
        of_terms = np.einsum("tv,cvp->cvtp", np.tile(offsets[:terms], 2), fringes).reshape(
            self.sigma.size, 2 * points, -1
        )
        noise = self.sigma[:, None, None] * np.sqrt(points)
        self.design = block_diag(*(of_terms / noise))

    def dirty(self, visibilities):
        """Of visibilities over their noise, (channel or term, ny, nx), Jy/beam."""
        return self.sigma[:, None, None] ** 2 * (self.design.T @ visibilities).reshape(-1, *self.shape)

    def noise(self, seed):
        """Of dirty images: its covariance is sigma^2 times the normal operator."""
        return self.dirty(np.random.default_rng([99, seed]).normal(size=len(self.design)))

    def observe(self, sky, seed=0):
        return self.dirty(self.design @ sky.ravel()) + self.noise(seed)

    def seen(self, points, synthesis, pixels=NO_SOURCES):
        """What sources in some pixels leave of the visibilities of 1 Jy in each point, (visibility, point)."""
        of_pixels = self.design.reshape(len(self.design), -1, *self.shape)
        whole = np.einsum("vip,ip->vp", of_pixels[:, :, points.y, points.x], synthesis[:, points.plane])
        of_sources = of_pixels[:, 0, *pixels.T.astype(int)]
        return whole - of_sources @ np.linalg.pinv(of_sources) @ whole

    def resolve(self, compose=composition.continuum, sources=NO_SOURCES, **settings):
        problem = ImagingProblem.of(self.psfs[:, None], self.sigma[:, None], self.beam_area, 0.1, compose)
        return Resolve(problem, sources, Settings(**settings))

    def response(self, synthesis):
        return Response(self.psfs, self.sigma, synthesis)

    def likelihood(self, dirty, pixels=NO_SOURCES):
        sources, response = self.sources(dirty, pixels), self.response(np.eye(len(dirty)))
        residual, sigma = sources.without(jnp.asarray(dirty)), jnp.asarray(self.sigma)[:, None, None]
        nothing = jnp.zeros(dirty.shape)
        return Likelihood(response.normal(), response.normal(np.float32), residual, nothing, sigma, sources)

    def sources(self, dirty, pixels=NO_SOURCES):
        return self.response(np.ones((1, 1))).point_sources(pixels, dirty[0])


def observation_for(kind, shape, sigma=0.01, **options):
    """Of what one of `COMPOSITIONS` needs; channels have PSFs and noises of their own."""
    noises = [1.0, 2.0, 0.7] if kind.startswith("cube") else [1.0]
    return Observation(shape, sigma * np.array(noises), terms=2 if kind == "taylor_terms" else 1, **options)


def composed(kind, observation, prior=PRIOR):
    """One of `COMPOSITIONS`."""
    more = {
        "taylor_terms": [observation.psfs[:, *observation.shape]],
        "cube": [len(FREQUENCIES)],
        "cube_with_continuum": [FREQUENCIES],
    }
    return getattr(composition, kind)(prior, *more.get(kind, []))


def drawn(sky, rng):
    """A position as probable as it is a priori."""
    excitations = rng.normal(size=(sky.mixing.shape[1], *sky.shape))
    return Position(jnp.asarray(excitations), drawn_spectrum(sky, rng))


def drawn_spectrum(sky, rng):
    """Spectra as probable as they are a priori."""
    return sky.spectrum(jnp.asarray(rng.normal(size=sky.parameters)))


def expected_spectrum(sky):
    """Spectra as the prior expects them."""
    return sky.spectrum(jnp.zeros(sky.parameters))


def some_centring(sky, rng):
    """Every ring in coordinates of its own."""
    logarithm, at = sky.log_amplitude_of_rings(drawn_spectrum(sky, rng)), drawn(sky, rng)
    return Centring(logarithm, jnp.asarray(rng.uniform(size=logarithm.shape)), some_brightness(sky, at))


def some_brightness(sky, at):
    """For reference the sky at a position, which is as bright as the noise; a beam of four pixels."""
    planes = np.asarray(sky.planes(at))
    return CoarseBrightness.of(sky, planes, np.median(planes, axis=(1, 2)), 0.28, float)


def finished(resolve, dirty, state=None):
    """All global iterations. Returns the last state and those on the way."""
    zero = np.zeros((len(dirty), 1, *dirty.shape[1:]), np.float32)
    states = [state or MinorState()]
    while not states[1:] or states[-1].unfinished:
        _, after = resolve.update(dirty[:, None].astype(np.float32), zero, states[-1])
        states.append(after)
    return states[-1], states[1:-1]


def blob(shape, flux=1.0, width=3.0):
    y, x = np.indices(shape)
    image = np.exp(-((y - shape[0] / 2) ** 2 + (x - shape[1] / 2) ** 2) / (2 * width**2))
    return flux * image / image.sum()
