"""The logarithm of the sky: a Gaussian random field whose power spectrum is inferred with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from nifty.re import lognormal_prior, normal_prior
from nifty.re.correlated_field import NonParametricAmplitude, RegularCartesianGrid, RegularFourierGrid
from numpy.typing import NDArray

#: Bins of the power spectrum to a factor of two in frequency; between bins the logarithm of the amplitude is linear.
BINS_PER_OCTAVE = 6
RINGS_PER_BIN = 4  # in which all modes have one amplitude

MeanAndDeviation = tuple[float, float]


class Prior(NamedTuple):
    """What is believed of the logarithm of the sky, each number with how far off it may be (mean, standard deviation).

    Attributes:
        offset: mean logarithm of the brightness, ln(Jy/pixel).
        offset_deviation: how far the field's mean may be from it.
        fluctuations: standard deviation of the field around its mean.
        slope: of the logarithm of the power spectrum over that of the frequency.
        flexibility: how far the spectrum may bend away from a power law.
        asperity: how rough these bends are.
        variation: of a cube, how the field varies along the channels, over how it does on the sky.
        variation_slope: of the power of the cosines along the channels, in double logarithm.
    """

    offset: float
    offset_deviation: MeanAndDeviation = (2.0, 0.5)
    fluctuations: MeanAndDeviation = (3.0, 1.5)
    slope: MeanAndDeviation = (-4.0, 1.0)
    flexibility: MeanAndDeviation = (1.0, 0.5)
    asperity: MeanAndDeviation = (0.3, 0.2)
    variation: MeanAndDeviation = (1.0, 0.7)
    variation_slope: MeanAndDeviation = (-2.5, 0.8)


@dataclass(frozen=True)
class Modes:
    """The Fourier modes of an image, by their spatial frequency.

    Attributes:
        frequency: of the bins of the power spectrum, (bins,), cycles per pixel; the first, zero, is the mean.
        bin: the bin below each mode, (ny, nx).
        fraction: how far each mode is from that bin to the next, in the logarithm of the frequency, (ny, nx).
        ring: number of the ring of each mode, (ny, nx); 0 for the mean.
        count: modes in each ring, (rings,).
    """

    frequency: NDArray[np.float64]
    bin: NDArray[np.int64]
    fraction: NDArray[np.float64]
    ring: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Modes:
        """shape: (ny, nx)."""
        frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij"))
        lowest, highest = frequency[frequency > 0].min(), frequency.max()
        intervals = max(2, round(BINS_PER_OCTAVE * np.log2(highest / lowest)))
        position = np.log(np.maximum(frequency, lowest) / lowest) / np.log(highest / lowest) * intervals
        below = np.minimum(position.astype(int), intervals - 1)
        ring = np.where(frequency > 0, 1 + np.rint(RINGS_PER_BIN * position).astype(int), 0)
        bins = np.concatenate([[0.0], np.geomspace(lowest, highest, intervals + 1)])
        return cls(bins, below + 1, position - below, ring, np.bincount(ring.ravel()))

    def multiplicity(self) -> NDArray[np.float64]:
        """Modes for which each bin stands, (bins,)."""
        others = self.ring > 0
        counts = np.bincount(self.bin[others], 1 - self.fraction[others], self.frequency.size).astype(float)
        counts += np.bincount(self.bin[others] + 1, self.fraction[others], self.frequency.size)
        counts[0] = 1
        return counts

    def frequency_of_rings(self) -> NDArray[np.float64]:
        """(rings,), cycles per pixel; of the mean, zero, first."""
        rings = np.geomspace(self.frequency[1], self.frequency[-1], self.count.size - 1)
        return np.concatenate([[0.0], rings])


class CorrelatedField:
    r"""$\varphi = \mathcal{H}(A(\theta)\,\xi)$ with white excitations $\xi$, the Hartley transform $\mathcal{H}$.

    The amplitudes $A_k$ are those of NIFTy's correlated field model (Arras et al. 2022, Nature Astronomy 6, 259,
    methods), which is where $\theta$ and its standard normal prior come from; but on bins of frequency that are even in
    the logarithm instead of one for every distance in the grid, which are 50 numbers in place of 10,000. A spectrum
    $\theta$ is the vector of these, (parameters,); zeros are what the prior expects.

    Of a cube there is one such field for each cosine along the channels. Their amplitudes are $A_k f_j$, with $f_0 = 1$
    and $f_j \propto j^{s/2}$, so that neighbouring channels are alike; $\sum_{j>0} f_j^2$ and s are inferred too.
    """

    def __init__(self, shape: tuple[int, int], prior: Prior, count: int = 1):
        """shape: (ny, nx); count: of the cosines, as many as channels."""
        self.shape = shape
        self.count = count
        self._identity = shape, prior._replace(offset=0.0), count
        self.modes = Modes.of(shape)
        bins, rings = np.arange(self.modes.frequency.size - 1), np.arange(self.modes.count.size - 1)
        self._between_bins = np.array([np.interp(rings / RINGS_PER_BIN, bins, each) for each in np.eye(bins.size)]).T
        lengths = np.concatenate([[0.0], np.log(self.modes.frequency[1:] / self.modes.frequency[1])])
        grid = RegularCartesianGrid(
            shape=shape,
            total_volume=1.0,
            distances=tuple(1 / n for n in shape),
            harmonic_grid=RegularFourierGrid(
                shape=shape,
                power_distributor=self.modes.bin,
                mode_multiplicity=self.modes.multiplicity(),
                mode_lengths=self.modes.frequency,
                relative_log_mode_lengths=lengths,
                log_volume=np.diff(lengths[1:]),
            ),
        )
        self._mean_amplitude = lognormal_prior(*prior.offset_deviation)
        self._variation = lognormal_prior(*prior.variation)
        self._variation_slope = normal_prior(*prior.variation_slope)
        self._amplitude_of_bins = NonParametricAmplitude(
            grid,
            lognormal_prior(*prior.fluctuations),
            normal_prior(*prior.slope),
            lognormal_prior(*prior.flexibility),
            lognormal_prior(*prior.asperity),
            kind="power",
        )
        along_channels = ("variation", "variation_slope") if count > 1 else ()
        scalars = {name: jax.ShapeDtypeStruct((), float) for name in ("mean", *along_channels)}
        named = {**self._amplitude_of_bins.domain, **scalars}
        zeros = {name: jnp.zeros(each.shape) for name, each in sorted(named.items())}
        expected, self._named = ravel_pytree(zeros)
        self.parameters = expected.size

    def __eq__(self, other: object) -> bool:
        """Whether they are alike but for the offset, which is not part of them."""
        return isinstance(other, CorrelatedField) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def amplitude_of_bins(self, spectrum: jax.Array) -> jax.Array:
        """(bins,): of one mode of the frequency of each bin; of the mean first."""
        named = self._named(spectrum)
        return self._amplitude_of_bins(named).at[0].set(self._mean_amplitude(named["mean"]))

    def amplitude_of_cosines(self, spectrum: jax.Array) -> jax.Array:
        """f, (count,)."""
        if self.count == 1:
            return jnp.ones(1)
        named, number = self._named(spectrum), jnp.arange(1, self.count)
        power = number ** self._variation_slope(named["variation_slope"])
        others = self._variation(named["variation"]) * jnp.sqrt(power / power.sum())
        return jnp.concatenate([jnp.ones(1), others])

    def amplitude_of_rings(self, spectrum: jax.Array) -> jax.Array:
        """(count, rings): of one mode in each ring; of the mean first."""
        logarithm = jnp.log(self.amplitude_of_bins(spectrum))
        of_one = jnp.exp(jnp.concatenate([logarithm[:1], self._between_bins @ logarithm[1:]]))
        return jnp.multiply.outer(self.amplitude_of_cosines(spectrum), of_one)

    @staticmethod
    def logarithm(field: jax.Array) -> jax.Array:
        """Of the brightness over the prior's offset: the field itself."""
        return field

    @staticmethod
    def field(logarithm: jax.Array) -> jax.Array:
        """The same the other way round."""
        return logarithm


def cosines(channels: int) -> NDArray[np.float64]:
    r"""Along the channels c, (channel, cosine): 1, and $\sqrt2 \cos(\pi j (c + \frac12)/n)$ for $j = 1 \dots n - 1$."""
    phase = np.multiply.outer(np.arange(channels) + 0.5, np.arange(channels)) * np.pi / channels
    return np.cos(phase) * np.where(np.arange(channels) > 0, np.sqrt(2), 1)


def hartley(images: jax.Array) -> jax.Array:
    r"""$\sum_x I_x (\cos 2\pi k x - \sin 2\pi k x)$, symmetric, and its own inverse but for the number of pixels.

    images: (..., ny, nx).
    """
    nx = images.shape[-1]
    half = jnp.fft.rfft2(images)  # of the other half the spectrum has the complex conjugate
    other = jnp.roll((half.real - half.imag)[..., ::-1, (nx - 1) // 2 : 0 : -1], 1, axis=-2)
    return jnp.concatenate([half.real + half.imag, other], axis=-1)
