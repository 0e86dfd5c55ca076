r"""What the sky is composed of: exponentials of correlated fields, added up to the images that the data see.

A plane is the exponential of some fields, $P_p = \exp(\sum_j B_{pj} \varphi_j)$; a channel or a Taylor term is a sum of
planes, $I_c = \sum_p S_{cp} P_p$. With that much freedom one inference serves every kind of image:

| image | fields | planes | B | S |
| --- | --- | --- | --- | --- |
| continuum | one | one | 1 | 1 |
| continuum and points everywhere | two, one of points | two | 1 | (1, 1) |
| emission and absorption | two | two | 1 | (1, -1) |
| Taylor terms | $\ln I_0$, spectral index | at some frequencies | (1, $\ln \nu/\nu_0$) | polynomials through them |
| cube | one a cosine along the channels | every channel | the cosines | 1 |
| cube with continuum | those of a cube and of Taylor terms | line, continuum in every channel | both | (1, 1) |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from casa_ml_tasks.minor.band import Band
from casa_ml_tasks.minor.resolve.correlated_field import Prior, cosines

#: Of spectral indices: around zero as a whole, and from place to place.
INDEX = Prior(offset=0.0, offset_deviation=(2.0, 0.5), fluctuations=(0.5, 0.3))
#: Of point sources everywhere: scale of their prior over that of the rest. With it one beam in 500 has a source of five
#: times the noise, and the others together are as faint as the prior of the rest.
SCALE_OF_POINTS = 0.1
FAINT_CHANNELS = 30  # percentile of the channels that shows the continuum first

SPECTRAL_INDEX = "alpha"  # as tclean names its image

OfPlanes = Callable[[NDArray[np.floating]], NDArray[np.floating]]


@dataclass(frozen=True)
class Fields:
    """Some fields with one prior and one power spectrum.

    Attributes:
        prior: of each; of a cube's cosines, of their sum.
        count: how many, more than one for the cosines of a cube.
        is_brightness: or else a spectral index.
        is_points: one `PointField` of sources about as faint as the prior's offset, not a correlated field.
    """

    prior: Prior
    count: int = 1
    is_brightness: bool = True
    is_points: bool = False


def _not_negative(images: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.maximum(images, 0).astype(float)


@dataclass(frozen=True)
class Composition:
    """How fields make planes, and planes the images of a sky.

    Attributes:
        fields: those that the planes are made of.
        mixing: B, (plane, field).
        synthesis: S, (channel or term, plane).
        divide: first images of channels, or of the first Taylor term, or of emission and points, in planes:
            (image, ny, nx) to (plane, ny, nx), Jy/pixel both, the planes not negative.
        components: what is written beside the images, by name: from planes of samples, (sample, plane, ny, nx),
            Jy/pixel, to (sample, channel or 1, ny, nx).
        is_signed: whether the images may be negative.
    """

    fields: tuple[Fields, ...]
    mixing: NDArray[np.float64]
    synthesis: NDArray[np.float64]
    divide: OfPlanes = _not_negative
    components: Mapping[str, OfPlanes] = field(default_factory=dict)
    is_signed: bool = False

    @property
    def of_points(self) -> NDArray[np.bool_]:
        """Return whether each plane is of point sources, (plane,)."""
        fields = np.repeat([each.is_points for each in self.fields], [each.count for each in self.fields])
        return np.asarray(self.mixing[:, fields].any(axis=1))


def continuum(prior: Prior) -> Composition:
    """Return the composition of one image that is not negative."""
    return Composition((Fields(prior),), np.ones((1, 1)), np.ones((1, 1)))


def continuum_and_points(prior: Prior) -> Composition:
    """Return the composition of one image of which any pixel may have a point source."""
    of_points = prior._replace(offset=prior.offset + np.log(SCALE_OF_POINTS))
    return Composition(
        fields=(Fields(prior), Fields(of_points, is_points=True)),
        mixing=np.eye(2),
        synthesis=np.ones((1, 2)),
        components={"points": lambda planes: planes[:, 1:]},
    )


def emission_and_absorption(prior: Prior) -> Composition:
    """Return the composition of one image that may be negative, as the Sunyaev-Zel'dovich decrement is."""
    return Composition(
        fields=(Fields(prior), Fields(prior)),
        mixing=np.eye(2),
        synthesis=np.array([[1.0, -1.0]]),
        divide=lambda images: _not_negative(np.concatenate([images, -images])),
        components={"emission": lambda planes: planes[:, :1], "absorption": lambda planes: planes[:, 1:]},
        is_signed=True,
    )


def taylor_terms(prior: Prior, moments: NDArray[np.floating]) -> Composition:
    r"""Return the composition of Taylor terms of power laws of frequency, $I_0 (\nu/\nu_0)^\alpha$.

    Args:
        prior: of the brightness at $\nu_0$.
        moments: of the band, as `Band` has them, (2 terms - 1,).

    Raises:
        ValueError: there are several terms and one frequency.
    """
    band = Band.of_moments(moments)
    logarithm = np.log(band.frequencies)

    def index(planes: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.log(planes[:, -1:] / planes[:, :1]) / (logarithm[-1] - logarithm[0])

    return Composition(
        fields=(Fields(prior), Fields(INDEX, is_brightness=False)),
        mixing=np.stack([np.ones_like(logarithm), logarithm], axis=1),
        synthesis=band.conversion,
        divide=lambda images: np.repeat(_not_negative(images), logarithm.size, axis=0),
        components={SPECTRAL_INDEX: index},
    )


def cube(prior: Prior, channels: int) -> Composition:
    """Return the composition of channels of which neighbours are alike."""
    return Composition((Fields(prior, channels),), cosines(channels), np.eye(channels))


def cube_with_continuum(prior: Prior, frequencies: NDArray[np.floating]) -> Composition:
    """Return that of channels of a line and a continuum that is a power of frequency; frequencies: (channel,)."""
    channels = len(frequencies)
    logarithm = np.log(frequencies / np.mean(frequencies))

    def divide(images: NDArray[np.floating]) -> NDArray[np.float64]:
        observed = images[images.any(axis=(1, 2))]
        continuum = np.percentile(observed if len(observed) else images, FAINT_CHANNELS, axis=0)
        return _not_negative(np.concatenate([images - continuum, np.repeat(continuum[None], channels, axis=0)]))

    return Composition(
        fields=(Fields(prior, channels), Fields(prior), Fields(INDEX, is_brightness=False)),
        mixing=scipy.linalg.block_diag(cosines(channels), np.stack([np.ones(channels), logarithm], axis=1)),
        synthesis=np.tile(np.eye(channels), 2),
        divide=divide,
        components={"line": lambda planes: planes[:, :channels], "continuum": lambda planes: planes[:, channels:]},
    )
