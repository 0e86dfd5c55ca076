"""A mosaic in sky units and a single-dish map of a known sky, by direct sums: for tests."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from casa_ml_tasks.kernels.joint_data import DataSet, JointData, OfOperator
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator
from casa_ml_tasks.minor.resolve.composition import continuum
from casa_ml_tasks.minor.resolve.correlated_field import Prior
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position
from casa_ml_tasks.minor.resolve.minor_cycle import Resolve
from casa_ml_tasks.minor.resolve.problem import ImagingProblem
from casa_ml_tasks.minor.resolve.settings import Settings


def gaussian(y, x, width):
    return np.exp(-4 * np.log(2) * (y**2 + x**2) / width**2)


@dataclass
class Pointing:
    """Visibilities of one pointing, in a box with its first pixel in a corner."""

    beam: np.ndarray
    corner: np.ndarray
    fringes: np.ndarray  # (visibility, y, x)

    def box(self):
        return tuple(slice(first, first + n) for first, n in zip(self.corner, self.beam.shape, strict=True))


class JointObservation:
    """Seven pointings in the middle of an image, and a map of all of it.

    Lengths are in pixels; noises in Jy/beam; `longest` is in cycles per pixel.
    """

    def __init__(self, shape=(64, 64), width=14.0, longest=0.25, sigma=1e-3, dish_sigma=1e-2, points=120, seed=1):
        rng, (ny, nx) = np.random.default_rng(seed), shape
        self.shape, self.rng = shape, rng
        dish = 1.1 / width  # diameter over wavelength, cycles per pixel
        box = 2 * round(1.5 * width)
        angles = np.arange(6) * np.pi / 3
        centres = np.array([(0, 0), *(width / 2 * np.array([np.sin(angles), np.cos(angles)])).T])
        self.pointings = []
        for centre in np.rint(centres + np.array(shape) / 2).astype(int):
            corner = np.clip(centre - box // 2, 0, np.array(shape) - box)
            y, x = np.indices((box, box))
            beam = gaussian(y + corner[0] - centre[0], x + corner[1] - centre[1], width)
            length, angle = rng.uniform(dish, longest, points), rng.uniform(0, np.pi, points)
            v, u = length * np.sin(angle), length * np.cos(angle)
            phase = 2 * np.pi * (v[:, None, None] * y + u[:, None, None] * x)
            self.pointings.append(Pointing(beam, corner, np.exp(1j * phase)))
        lags = np.arange(-box, box)
        total = len(self.pointings) * points
        psfs = []
        for pointing in self.pointings:
            # The conjugate fringes make the sum real; cos at all lags.
            v, u = (np.angle(pointing.fringes[:, *at]) / (2 * np.pi) for at in ((1, 0), (0, 1)))
            phase = 2 * np.pi * (v[:, None, None] * lags[:, None] + u[:, None, None] * lags)
            psfs.append(np.cos(phase).sum(axis=0) / total)
        power = np.zeros(shape)
        for pointing in self.pointings:
            power[pointing.box()] += pointing.beam**2 / len(self.pointings)
        self.power, self.sigma, self.dish_sigma = power.max(), sigma, dish_sigma
        # sigma^2 = noise^2 / (visibilities * power)
        self.noise = sigma * np.sqrt(total * self.power)
        beams = np.stack([each.beam for each in self.pointings]) / np.sqrt(self.power)
        self.mosaic = Mosaic(np.stack(psfs), beams, np.stack([each.corner for each in self.pointings]), shape)
        y, x = np.meshgrid(np.arange(-ny, ny), np.arange(-nx, nx), indexing="ij")
        with jax.enable_x64(True):
            self.dish = ConvolutionNormalOperator.from_psf(gaussian(y, x, width))
        self.beam_area = np.pi / (4 * np.log(2)) * (0.7 / longest) ** 2
        self.data = JointData(
            (
                DataSet(self.mosaic, sigma, self.beam_area),
                DataSet(OfOperator(self.dish), dish_sigma, np.pi / (4 * np.log(2)) * width**2),
            )
        )

    def residuals(self, sky):
        """Of the mosaic and of the map, of no model, Jy/beam."""
        mosaic = np.zeros(self.shape)
        for each in self.pointings:
            visibilities = np.tensordot(each.fringes, each.beam * sky[each.box()], 2)
            noise = self.rng.normal(size=(2, len(visibilities))) * self.noise
            visibilities += noise[0] + 1j * noise[1]
            seen = np.tensordot(visibilities, each.fringes.conj(), axes=(0, 0)).real
            mosaic[each.box()] += each.beam * seen
        mosaic /= len(self.pointings) * len(each.fringes) * self.power
        with jax.enable_x64(True):
            dish = np.asarray(self.dish(jnp.asarray(sky)))
        white = np.fft.fft2(self.rng.normal(size=(2 * self.shape[0], 2 * self.shape[1])))[:, : self.shape[1] + 1]
        transfer = np.maximum(np.asarray(self.dish.transfer), 0)
        correlated = np.fft.irfft2(white * np.sqrt(transfer), s=(2 * self.shape[0], 2 * self.shape[1]))
        return [mosaic, dish + self.dish_sigma * correlated[: self.shape[0], : self.shape[1]]]

    def dirty(self, sky):
        """Of both together, (1, 1, ny, nx), Jy/beam."""
        return self.data.residual(self.residuals(sky))[None, None].astype(np.float32)

    def drawn_sky(self, seed, offset=-6.0, deviation=1.5):
        """Log-normal with a steep spectrum, fading to the edges of the image, (ny, nx), Jy/pixel."""
        with jax.enable_x64(True):
            sky = LogNormalSky.of(self.shape, continuum(Prior(offset, (0.5, 0.1), (deviation, 0.1))))
            spectrum = sky.spectrum(jnp.zeros(sky.parameters))
            excitations = np.random.default_rng(seed).normal(size=(1, *self.shape))
            return np.asarray(sky(Position(jnp.asarray(excitations), spectrum)))[0]

    def resolve(self, on_iteration=lambda step: None, **settings):
        problem = ImagingProblem.of(self.data.psf()[None, None], self.data.sigma, self.beam_area, 1.0, exact=self.data)
        return Resolve(problem, settings=Settings(**settings), on_iteration=on_iteration)
