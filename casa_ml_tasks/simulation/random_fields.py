"""Random fields of galaxies and points with their dirty images, drawn by JAX inside a compiled training step."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from casa_ml_tasks.simulation.uv_coverage import Coverage

SIGMA_PER_FWHM = 1 / jnp.sqrt(8 * jnp.log(2.0)).item()
TYPICAL_BEAM = 5.2  # pixels; sets the signal-to-noise ratio of what is drawn
POINT = 1.5  # FWHM of what stands for a point, pixels; far below the resolution
GAUSSIAN, DISK, RING = range(3)
EDGE = 0.5  # softness of a disk's edge, pixels


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Shapes:
    """Elliptical sources on the pixels of a field; arrays are (..., source).

    Attributes:
        x, y: of the centre, pixels.
        major, minor: FWHM of the Gaussian of the same second moments, pixels.
        angle: of the major axis from the x axis towards the y axis, radians.
        flux: units of the noise of the dirty image; 0 where there is no source.
        profile: GAUSSIAN, DISK (uniform) or RING (thin), of the same second moments.
    """

    x: jax.Array
    y: jax.Array
    major: jax.Array
    minor: jax.Array
    angle: jax.Array
    flux: jax.Array
    profile: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SimulatedField:
    """A field and what an array sees of it, in units of the noise of the dirty image.

    Attributes:
        coverage: of the observation.
        sources: the truth.
        sky: (n, n), noise units a pixel.
        dirty: (n, n), noise units a beam.
    """

    coverage: Coverage
    sources: Shapes
    sky: jax.Array
    dirty: jax.Array


def unit_image(source: Shapes, n: int) -> jax.Array:
    r"""Return the image of one source, (n, n), with the sum 1 for a Gaussian.

    With the elliptical radius r in units of sigma: $\exp(-r^2/2)$; a disk of radius 2; a ring of radius $\sqrt 2$.

    Args:
        source: scalars.
        n: pixels of the field in each direction.
    """
    y, x = jnp.mgrid[:n, :n].astype(jnp.float32)
    cosine, sine = jnp.cos(source.angle), jnp.sin(source.angle)
    east, north = x - source.x, y - source.y
    a, b = source.major * SIGMA_PER_FWHM, source.minor * SIGMA_PER_FWHM
    r = jnp.sqrt(((east * cosine + north * sine) / a) ** 2 + ((north * cosine - east * sine) / b) ** 2 + 1e-12)
    gaussian = jnp.exp(-(r**2) / 2) / (2 * jnp.pi * a * b)
    disk = jax.nn.sigmoid((2 - r) * b / EDGE)
    ring = jnp.exp(-(((r - jnp.sqrt(2.0)) * jnp.maximum(b, 1.0)) ** 2) / 2)

    def normalised(image: jax.Array) -> jax.Array:
        return image / jnp.maximum(image.sum(), 1e-6)

    return jnp.select([source.profile == DISK, source.profile == RING], [normalised(disk), normalised(ring)], gaussian)


def sky_image(sources: Shapes, n: int) -> jax.Array:
    """Return the sum of the sources of one field, (n, n), noise units a pixel."""
    return jnp.tensordot(sources.flux, jax.vmap(lambda source: unit_image(source, n))(sources), 1)


def draw_sources(key: jax.Array, n: int, most: int) -> Shapes:
    """Draw the sources of one field.

    A tenth of the fields are empty. One source in seven is a point, one in ten is up to a quarter of the field wide,
    one in eight is a disk or a ring. The peaks in the dirty image are 3 to 200 times the noise.

    Args:
        key: of the random numbers.
        n: pixels of the field in each direction.
        most: sources of a field, the first near its centre.
    """
    keys = iter(jax.random.split(key, 16))
    position = jax.random.uniform(next(keys), (2, most), minval=0.06 * n, maxval=0.94 * n)
    position = position.at[:, 0].set(n / 2 + jax.random.uniform(next(keys), (2,), minval=-4, maxval=4))
    width = jnp.exp(jax.random.uniform(next(keys), (2, most), minval=jnp.log(2.5), maxval=jnp.log(14.0)))
    large = jax.random.uniform(next(keys), (most,)) < 0.1
    width = jnp.where(large, jnp.minimum(width * 3, n / 4), width)
    width = jnp.where(jax.random.uniform(next(keys), (most,)) < 1 / 7, POINT, width)
    major, minor = width.max(0), width.min(0)
    kind = jax.random.uniform(next(keys), (most,))
    profile = jnp.where(kind < 1 / 16, DISK, jnp.where(kind < 1 / 8, RING, GAUSSIAN))
    profile = jnp.where(minor < TYPICAL_BEAM, GAUSSIAN, profile)
    snr = jnp.exp(jax.random.uniform(next(keys), (most,), minval=jnp.log(3.0), maxval=jnp.log(60.0)))
    brightest = jnp.exp(jax.random.uniform(next(keys), (), minval=jnp.log(5.0), maxval=jnp.log(200.0)))
    snr = jnp.minimum(snr, brightest).at[0].set(brightest)
    count = jax.random.randint(next(keys), (), 1, most + 1)
    count = jnp.where(jax.random.uniform(next(keys), ()) < 0.1, 0, count)
    peak = TYPICAL_BEAM**2 / jnp.sqrt((TYPICAL_BEAM**2 + major**2) * (TYPICAL_BEAM**2 + minor**2))
    return Shapes(
        x=position[0],
        y=position[1],
        major=major,
        minor=minor,
        angle=jax.random.uniform(next(keys), (most,), maxval=jnp.pi),
        flux=jnp.where(jnp.arange(most) < count, snr / peak, 0.0),
        profile=profile,
    )


def draw_field(key: jax.Array, coverages: Coverage, most: int = 7) -> SimulatedField:
    """Draw one field, observed with one of several coverages.

    Args:
        key: of the random numbers.
        coverages: a stack of them.
        most: sources of the field.
    """
    which, of_sources, of_noise = jax.random.split(key, 3)
    chosen = jax.random.randint(which, (), 0, len(coverages.transfer))
    coverage = jax.tree.map(lambda stack: stack[chosen], coverages)
    n = coverage.transfer.shape[-1] - 1
    sources = draw_sources(of_sources, n, most)
    sky = sky_image(sources, n)
    return SimulatedField(coverage, sources, sky, coverage.operator(sky) + coverage.draw_noise(of_noise))
