"""A mosaic in sky units and a single-dish map of a known sky, by direct sums: for tests."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from casa_ml_tasks.kernels.dish_beam import GaussianBeam
from casa_ml_tasks.kernels.dish_modes import MapGrid
from casa_ml_tasks.kernels.mosaic import Mosaic
from casa_ml_tasks.kernels.single_dish import SingleDish
from casa_ml_tasks.minor.resolve.composition import continuum
from casa_ml_tasks.minor.resolve.correlated_field import Prior
from casa_ml_tasks.minor.resolve.joint import JointSky, WeightedMap
from casa_ml_tasks.minor.resolve.log_normal_sky import LogNormalSky, Position


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
        self.shape, self.rng = shape, (rng := np.random.default_rng(seed))
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
        beams, corners = (np.stack([getattr(each, n) for each in self.pointings]) for n in ("beam", "corner"))
        self.mosaic = Mosaic.in_sky_units(np.stack(psfs), beams, corners, np.ones(shape, bool))
        self.power = (beams[0].max() / self.mosaic.beams[0].max()) ** 2
        self.sigma, self.noise = sigma, sigma * np.sqrt(total * self.power)  # of the residual, of a visibility
        self.beam_area = np.pi / (4 * np.log(2)) * (0.7 / longest) ** 2
        step = width / 5
        self.grid = MapGrid(tuple(int(n / step) for n in shape), (step / 2, step / 2), (step, step))
        self.width, self.dish_sigma = width, dish_sigma

    def residual(self, sky):
        """Of the mosaic and of no model, Jy/beam."""
        mosaic = np.zeros(self.shape)
        for each in self.pointings:
            visibilities = np.tensordot(each.fringes, each.beam * sky[each.box()], 2)
            noise = self.rng.normal(size=(2, len(visibilities))) * self.noise
            visibilities += noise[0] + 1j * noise[1]
            seen = np.tensordot(visibilities, each.fringes.conj(), axes=(0, 0)).real
            mosaic[each.box()] += each.beam * seen
        return mosaic / (len(self.pointings) * len(each.fringes) * self.power)

    def map_of(self, sky):
        """With noise whose covariance is the beam: white noise that its root has smoothed."""

        def smoothed(image, width, margin):
            rows, columns = (
                gaussian(np.subtract.outer(self.grid.positions(axis) + margin, np.arange(n)), 0, width)
                for axis, n in enumerate(image.shape)
            )
            return rows @ image @ columns.T

        margin, root = round(2 * self.width), self.width / np.sqrt(2)
        noise = smoothed(self.rng.normal(size=[n + 2 * margin for n in self.shape]), root, margin)
        noise *= self.dish_sigma / np.sqrt(np.pi / (8 * np.log(2)) * root**2)  # over the root of the sum of squares
        pixels, beam = smoothed(sky, self.width, 0) + noise, GaussianBeam(self.width, self.width)
        return SingleDish.of(pixels, self.grid, [beam], self.dish_sigma, self.shape)

    def sky_data(self, single_dish):
        return JointSky(self.mosaic, self.sigma, [WeightedMap(single_dish)], self.beam_area, 1.0)

    def drawn_sky(self, seed, offset=-6.0, deviation=1.5):
        """Log-normal with a steep spectrum, (ny, nx), Jy/pixel."""
        with jax.enable_x64(True):
            sky = LogNormalSky.of(self.shape, continuum(Prior(offset, (0.5, 0.1), (deviation, 0.1))))
            spectrum = sky.spectrum(jnp.zeros(sky.parameters))
            excitations = np.random.default_rng(seed).normal(size=(1, *self.shape))
            return np.asarray(sky(Position(jnp.asarray(excitations), spectrum)))[0]
