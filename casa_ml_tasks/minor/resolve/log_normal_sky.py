"""The sky as a function of excitations, standard normal before the data are seen, and power spectra."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.scipy.linalg import block_diag
from numpy.typing import ArrayLike, NDArray

from casa_ml_tasks.minor.resolve.composition import Composition
from casa_ml_tasks.minor.resolve.correlated_field import CorrelatedField, cosines, hartley
from casa_ml_tasks.minor.resolve.modes import Modes
from casa_ml_tasks.minor.resolve.point_field import PointField


class Position(NamedTuple):
    """A point in the space of skies and spectra.

    Attributes:
        excitations: of the fields, standard normal a priori, (field, ny, nx).
        spectrum: parameters of the power spectra, (parameters,).
    """

    excitations: jax.Array
    spectrum: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LogNormalSky:
    r"""$I_c = \sum_p S_{cp} \exp(\sum_j B_{pj} \varphi_j)$ with the correlated fields $\varphi$ of a `Composition`.

    Of point sources everywhere $\varphi$ is what a `PointField` makes of its field.

    What JAX compiles for one sky serves all that have the same shape and `sets`.

    Attributes:
        offsets: mean of each field, (field, 1, 1).
        mixing: B, (plane, field).
        unmixing: its pseudo-inverse, (field, plane).
        synthesis: S, (channel or term, plane).
        sets: of fields that share a power spectrum.
        of_brightness: whether a set is of brightness, or else of a spectral index.
    """

    offsets: jax.Array
    mixing: jax.Array
    unmixing: jax.Array
    synthesis: jax.Array
    sets: tuple[CorrelatedField | PointField, ...] = field(metadata={"static": True})
    of_brightness: tuple[bool, ...] = field(metadata={"static": True})

    @classmethod
    def of(cls, shape: tuple[int, int], composition: Composition) -> LogNormalSky:
        """Return the sky of a composition. shape: (ny, nx)."""
        offsets = [[each.prior.offset, *(each.count - 1) * [0.0]] for each in composition.fields]
        return cls(
            offsets=jnp.asarray(np.concatenate(offsets))[:, None, None],
            mixing=jnp.asarray(composition.mixing),
            unmixing=jnp.asarray(np.linalg.pinv(composition.mixing)),
            synthesis=jnp.asarray(composition.synthesis),
            sets=tuple(
                PointField(shape) if each.is_points else CorrelatedField(shape, each.prior, each.count)
                for each in composition.fields
            ),
            of_brightness=tuple(each.is_brightness for each in composition.fields),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.sets[0].shape

    @property
    def modes(self) -> Modes:
        """The Fourier modes of the images."""
        return self.sets[0].modes

    @property
    def parameters(self) -> int:
        """The number of parameters of all power spectra together."""
        return sum(each.parameters for each in self.sets)

    @property
    def directions(self) -> NDArray[np.float64]:
        """Orthonormal directions of the spectra, (direction, parameters): along others no amplitude changes."""
        return np.asarray(scipy.linalg.block_diag(*[each.directions for each in self.sets]))

    def spectra(self, spectrum: jax.Array) -> list[jax.Array]:
        """Return the parameters of each set of fields."""
        return jnp.split(spectrum, np.cumsum([each.parameters for each in self.sets])[:-1])

    def in_sets(self, images: jax.Array) -> list[tuple[jax.Array, jax.Array, bool]]:
        """Return of each set its part of images, (field, ny, nx), its cosines, and whether it is of brightness."""
        groups = zip(self._parts(images), self.sets, self.of_brightness, strict=True)
        return [(part, jnp.asarray(cosines(each.count)), bright) for part, each, bright in groups]

    def _parts(self, images: jax.Array) -> list[jax.Array]:
        return jnp.split(images, np.cumsum([each.count for each in self.sets])[:-1])

    def _of_sets(self, spectrum: jax.Array) -> Iterator[tuple[CorrelatedField | PointField, jax.Array]]:
        return zip(self.sets, self.spectra(spectrum), strict=True)

    @jax.jit
    def log_amplitude_of_rings(self, spectrum: jax.Array) -> jax.Array:
        """Return the logarithm of the amplitude of one mode in each ring, (field, rings), affine in the spectrum."""
        return jnp.concatenate([each.log_amplitude_of_rings(part) for each, part in self._of_sets(spectrum)])

    @jax.jit
    def amplitude(self, spectrum: jax.Array) -> jax.Array:
        """Return the amplitude of every mode, (field, ny, nx)."""
        return self.of_modes(jnp.exp(self.log_amplitude_of_rings(spectrum)))

    @jax.jit
    def spectrum(self, standard: jax.Array) -> jax.Array:
        """Return the spectra, (parameters,), of standard normal numbers; zeros give those that the prior expects."""
        return jnp.concatenate([each.spectrum(part) for each, part in self._of_sets(standard)])

    def standard(self, spectrum: jax.Array) -> jax.Array:
        """Return the standard normal numbers of spectra, (parameters,) both."""
        return jnp.concatenate([each.standard(part) for each, part in self._of_sets(spectrum)])

    def prior_of_spectra(self, spectrum: jax.Array) -> jax.Array:
        """Return minus the logarithm of the probability of spectra a priori, up to a constant."""
        standard, volumes = self.standard(spectrum), [each.log_volume(part) for each, part in self._of_sets(spectrum)]
        return 0.5 * jnp.vdot(standard, standard) + sum(volumes)

    @jax.jit
    def curvature_of_prior(self, spectrum: jax.Array) -> jax.Array:
        """Return the curvature of that for spectra as wiggly as they are expected, (parameters, parameters)."""
        return block_diag(*[each.curvature_of_prior(part) for each, part in self._of_sets(spectrum)])

    def of_modes(self, rings: jax.Array) -> jax.Array:
        """Return numbers of rings, (..., rings), in all their modes, (..., ny, nx), by mirroring a quarter of them."""
        ny, nx = self.shape
        quarter = self.modes.ring[: ny // 2 + 1, : nx // 2 + 1]
        return _mirrored(_mirrored(rings[:, quarter], ny, 1), nx, 2)

    def log_planes(self, coefficients: jax.Array) -> jax.Array:
        """Return ln(Jy/pixel), (plane, ny, nx). coefficients: amplitudes times excitations, (field, ny, nx)."""
        return mix(self.mixing, self.offsets + self._logarithms(hartley(coefficients)))

    def _logarithms(self, fields: jax.Array) -> jax.Array:
        return jnp.concatenate(
            [each.logarithm(part) for each, part in zip(self.sets, self._parts(fields), strict=True)]
        )

    @jax.jit
    def steepness(self, coefficients: jax.Array) -> jax.Array:
        """Return the slopes of the logarithms along their fields, (field, ny, nx); 1 but for point sources."""
        fields = hartley(coefficients)
        return jax.jvp(self._logarithms, (fields,), (jnp.ones_like(fields),))[1]

    @jax.jit
    def coefficients(self, log_planes: jax.Array) -> jax.Array:
        """Return the coefficients of the fields that come nearest to some planes, (field, ny, nx)."""
        parts = self._parts(mix(self.unmixing, log_planes) - self.offsets)
        fields = jnp.concatenate([each.field(part) for each, part in zip(self.sets, parts, strict=True)])
        return hartley(fields) / np.prod(self.shape)

    @jax.jit
    def planes(self, position: Position) -> jax.Array:
        """Return the planes of a position, (plane, ny, nx), Jy/pixel."""
        return jnp.exp(self.log_planes(self.amplitude(position.spectrum) * position.excitations))

    def images(self, planes: jax.Array) -> jax.Array:
        """Return (channel or term, ny, nx), Jy/pixel. planes: (plane, ny, nx), Jy/pixel."""
        return mix(self.synthesis, planes)

    def __call__(self, position: Position) -> jax.Array:
        """Return the images of a position, (channel or term, ny, nx), Jy/pixel."""
        return self.images(self.planes(position))


def _mirrored(half: jax.Array, length: int, axis: int) -> jax.Array:
    """Return all frequencies of an FFT of that length, which have the same as their negatives, from half of them."""
    negative = jnp.flip(jax.lax.slice_in_dim(half, 1, (length + 1) // 2, axis=axis), axis)
    return jnp.concatenate([half, negative], axis)


def mix(matrix: jax.Array, images: jax.Array) -> jax.Array:
    """Return the product of a matrix (m, n) and images (..., n, ny, nx), (..., m, ny, nx)."""
    return jnp.einsum("mn,...nyx->...myx", matrix, images)


def covariance(amplitude: ArrayLike) -> NDArray[np.float64]:
    """Return the covariance of two pixels of a field by their distance (modulo the image); amplitude: (..., ny, nx)."""
    return np.fft.fft2(np.asarray(amplitude) ** 2).real
