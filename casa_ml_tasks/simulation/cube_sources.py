"""The sources of a simulated cube: the truth that a catalogue is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.simulation.line_profiles import PROFILES
from casa_ml_tasks.simulation.random_fields import Shapes, draw_sources, unit_image

MOST = 6  # sources of a field
LINE_FREE = 0.15  # share of the cubes in which no source has a line
LINE_ONLY = 0.15  # share of the sources with a line that have no continuum
FEWEST = 8  # channels of a cube with lines
KINDS = ("none", "gaussian", "double")  # of lines
SHARES = (0.3, 0.4, 0.3)  # of these kinds


@dataclass(frozen=True)
class CubeSources:
    """Elliptical sources whose sky is shape times spectrum; arrays are (source,).

    Attributes:
        x, y: of the centre, pixels.
        major, minor: FWHM of the Gaussian of the same second moments, pixels.
        angle: of the major axis from the x axis towards the y axis, radians.
        profile: GAUSSIAN, DISK or RING of `random_fields`.
        continuum: flux at the middle of the band, Jy.
        index: alpha; the continuum goes with frequency^alpha.
        line: kind of the line, 'none', 'gaussian' or 'double'.
        centre: of the line, channels, with its fraction; NaN without a line.
        width: FWHM of the line, channels; NaN without a line.
        line_flux: sum over the channels, Jy; 0 without a line.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    major: NDArray[np.float64]
    minor: NDArray[np.float64]
    angle: NDArray[np.float64]
    profile: NDArray[np.int64]
    continuum: NDArray[np.float64]
    index: NDArray[np.float64]
    line: NDArray[np.str_]
    centre: NDArray[np.float64]
    width: NDArray[np.float64]
    line_flux: NDArray[np.float64]

    def __len__(self) -> int:
        """Return how many sources there are."""
        return len(self.x)

    @classmethod
    def none(cls) -> CubeSources:
        """Return an empty sky."""
        no, kinds, names = np.zeros(0), np.zeros(0, int), np.zeros(0, str)
        return cls(no, no, no, no, no, kinds, no, no, names, no, no, no)

    def scaled(self, factor: float) -> CubeSources:
        """Return the sources with all fluxes times a factor."""
        return replace(self, continuum=factor * self.continuum, line_flux=factor * self.line_flux)

    def images(self, pixels: int) -> NDArray[np.float32]:
        """Return the image of each source with flux 1, (source, pixels, pixels)."""
        if not len(self):
            return np.zeros((0, pixels, pixels), np.float32)
        x, y, major, minor, angle = (
            jnp.asarray(each, jnp.float32) for each in (self.x, self.y, self.major, self.minor, self.angle)
        )
        shapes = Shapes(x, y, major, minor, angle, jnp.ones_like(x), jnp.asarray(self.profile))
        return np.asarray(_unit_images(shapes, pixels))

    def spectra(self, frequencies: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the flux of each source in each channel, (source, channel), Jy. frequencies: (channel,), Hz."""
        ratio = frequencies / frequencies.mean()
        found = self.continuum[:, None] * ratio ** self.index[:, None]
        return found + self.line_flux[:, None] * self.lines(len(frequencies))

    def lines(self, channels: int) -> NDArray[np.float64]:
        """Return the profile of each line, (source, channel), with the sum 1; 0 without a line."""
        found = np.zeros((len(self), channels))
        for row, kind, centre, width in zip(found, self.line, self.centre, self.width, strict=True):
            if kind != "none":
                row[:] = PROFILES[kind](channels, centre, width)
        return found


@partial(jax.jit, static_argnums=1)
def _unit_images(shapes: Shapes, pixels: int) -> jax.Array:
    return jax.vmap(lambda each: unit_image(each, pixels))(shapes)


_draw_shapes = jax.jit(draw_sources, static_argnums=(1, 2))


def draw_cube_sources(seed: int, pixels: int, channels: int) -> CubeSources:
    """Draw the sources of one cube; fluxes are in units of the noise of the mean over the channels.

    Places, shapes and brightness are those of `random_fields.draw_sources`: a tenth of the cubes are empty. The mean
    flux over the band is divided between continuum and line. Cubes of few channels have no lines.

    Args:
        seed: of the random numbers.
        pixels: of the field in each direction.
        channels: of the cube.
    """
    drawn = _draw_shapes(jax.random.PRNGKey(seed), pixels, MOST)
    real = np.asarray(drawn.flux) > 0
    shape = {name: np.asarray(getattr(drawn, name), float)[real] for name in ("x", "y", "major", "minor", "angle")}
    flux, count = np.asarray(drawn.flux, float)[real], int(real.sum())
    rng = np.random.default_rng([seed, 1])
    line = rng.choice(KINDS, count, p=SHARES)
    if rng.random() < LINE_FREE or channels < FEWEST:
        line = np.full(count, KINDS[0])
    has = line != "none"
    share = np.where(rng.random(count) < LINE_ONLY, 1.0, rng.uniform(0.05, 0.9, count)) * has
    band = max(channels, FEWEST)
    width = np.exp(rng.uniform(np.log(3.0), np.log(max(band / 4, 3.1)), count))
    centre = rng.uniform(0.75 * width, band - 1 - 0.75 * width)
    return CubeSources(
        **shape,
        profile=np.asarray(drawn.profile, int)[real],
        continuum=flux * (1 - share),
        index=rng.uniform(-1.0, 4.0, count),
        line=line,
        centre=np.where(has, centre, np.nan),
        width=np.where(has, width, np.nan),
        line_flux=flux * share * channels,
    )
