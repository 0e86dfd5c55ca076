"""The logarithm of the sky: a Gaussian random field whose power spectrum is inferred with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.special import logsumexp
from numpy.typing import NDArray
from scipy.linalg import orth

from casa_ml_tasks.minor.resolve.modes import RINGS_PER_BIN, Modes

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


class CorrelatedField:
    r"""$\varphi = \mathcal{H}(A(\theta)\,\xi)$ with white excitations $\xi$, the Hartley transform $\mathcal{H}$.

    A priori the amplitudes $A_k$ are those of NIFTy's correlated field model (Arras et al. 2022, Nature Astronomy 6,
    259, methods), but on bins of frequency that are even in the logarithm instead of one for every distance in the
    grid, which are 50 numbers in place of 10,000. Over such bins, of width h, with l the logarithm of a frequency over
    the lowest,

    $\ln A_k = u + \frac12 (s\, l_k + w_k - w_\infty l_k / l_\infty)$,
    $w_{k+1} - w_k = a_k + h (\sum_{i<k} b_i + \frac12 b_k)$:

    a slope s, and an integrated Wiener process of kinks $a_k$ and bends $b_k$. These are normal with deviations
    $f \sqrt{h (h^2/12 + g)}$ and $f \sqrt h$ for a flexibility f and an asperity g. Instead of the level u the
    fluctuations of the whole field have a prior, $F^2 = \sum_k n_k A_k^2$ with $n_k$ modes in a bin.

    A spectrum $\theta$ is the vector of these numbers, (parameters,), in logarithms where they are positive. NIFTy has
    standard normal ones in their place. But in ours $\ln A$ is linear, so that the data, which hold $\ln A$ to one in
    thousands, hold the same directions of the spectrum wherever it is; through NIFTy's they bend.

    Of a cube there is one such field for each cosine along the channels. Their amplitudes are $A_k f_j$, with $f_0 = 1$
    and $\ln f_j = u' + \frac12 s' \ln j$, so that neighbouring channels are alike. The prior is of $\sum_{j>0} f_j^2$
    and $s'$.

    Attributes:
        parameters: of a spectrum, how many.
        directions: of spectra, orthonormal, (direction, parameters): no other changes an amplitude. They are half as
            many as the parameters, for kinks alone would do.
    """

    def __init__(self, shape: tuple[int, int], prior: Prior, count: int = 1):
        """Prepare the bins of the spectrum; shape: (ny, nx); count: of the cosines, as many as channels."""
        self.shape = shape
        self.count = count
        self._identity = shape, prior._replace(offset=0.0), count
        self.modes = Modes.of(shape)
        self._lengths = np.log(self.modes.frequency[1:] / self.modes.frequency[1])
        self._interval = self._lengths[1]
        bins, rings = np.arange(self._lengths.size), np.arange(self.modes.count.size - 1)
        self._between_bins = np.array([np.interp(rings / RINGS_PER_BIN, bins, each) for each in np.eye(bins.size)]).T
        self._multiplicity = self.modes.multiplicity()[1:]
        self._log_numbers = np.log(np.arange(1, count))
        self._normal = {
            "mean": _of_logarithm(*prior.offset_deviation),
            "level": _of_logarithm(*prior.fluctuations),
            "slope": prior.slope,
            "flexibility": _of_logarithm(*prior.flexibility),
            "asperity": _of_logarithm(*prior.asperity),
        }
        if count > 1:
            self._normal |= {"variation": _of_logarithm(*prior.variation), "variation_slope": prior.variation_slope}
        self._interval_count = bins.size - 1
        of_intervals = dict.fromkeys(("kinks", "bends"), jnp.ones(self._interval_count))
        is_wiggle, self._named = ravel_pytree({**dict.fromkeys(self._normal, 0.0), **of_intervals})
        self._is_wiggle = np.asarray(is_wiggle, bool)
        self.parameters = is_wiggle.size
        slopes = jax.jit(jax.jacobian(self.log_amplitude_of_rings))(jnp.zeros(self.parameters))
        self.directions = orth(np.reshape(slopes, (-1, self.parameters)).T).T

    def __eq__(self, other: object) -> bool:
        """Return whether the fields are alike but for the offset, which is not part of them."""
        return isinstance(other, CorrelatedField) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def log_amplitude_of_bins(self, spectrum: jax.Array) -> jax.Array:
        """Return the logarithm of the amplitude of one mode of each bin, of the mean first, (bins,)."""
        named = self._named(spectrum)
        return jnp.concatenate([named["mean"][None], named["level"] + 0.5 * self._log_power(named)])

    def log_amplitude_of_cosines(self, spectrum: jax.Array) -> jax.Array:
        """Return ln f of each cosine, (count,)."""
        if self.count == 1:
            return jnp.zeros(1)
        named = self._named(spectrum)
        return jnp.concatenate([jnp.zeros(1), named["variation"] + 0.5 * self._log_power_of_cosines(named)])

    def log_amplitude_of_rings(self, spectrum: jax.Array) -> jax.Array:
        """Return the logarithm of the amplitude of one mode in each ring, of the mean first, (count, rings)."""
        of_bins = self.log_amplitude_of_bins(spectrum)
        of_one = jnp.concatenate([of_bins[:1], self._between_bins @ of_bins[1:]])
        return jnp.add.outer(self.log_amplitude_of_cosines(spectrum), of_one)

    def spectrum(self, standard: jax.Array) -> jax.Array:
        """Return the spectrum of the numbers of NIFTy's prior, which are standard normal, (parameters,) both."""
        named = self._named(standard)
        named |= {name: mean + deviation * named[name] for name, (mean, deviation) in self._normal.items()}
        named |= {name: named[name] * jnp.exp(each) for name, each in self._log_deviations(named).items()}
        named |= {name: named[name] - each for name, each in self._log_totals(named).items()}
        return ravel_pytree(named)[0]

    def standard(self, spectrum: jax.Array) -> jax.Array:
        """Return the standard normal numbers of a spectrum, (parameters,) both."""
        named = self._named(spectrum)
        named |= {name: named[name] + each for name, each in self._log_totals(named).items()}
        named |= {name: named[name] / jnp.exp(each) for name, each in self._log_deviations(named).items()}
        named |= {name: (named[name] - mean) / deviation for name, (mean, deviation) in self._normal.items()}
        return ravel_pytree(named)[0]

    def log_volume(self, spectrum: jax.Array) -> jax.Array:
        """Return the logarithm of the volume of spectra over that of `standard` numbers, up to a constant."""
        return self._interval_count * self._log_widths(spectrum).sum()

    def curvature_of_prior(self, spectrum: jax.Array) -> jax.Array:
        r"""Return the curvature of minus the logarithm of a spectrum's probability, (parameters, parameters).

        For kinks and bends that are as strong as their deviations $\sigma$ have it, n of them with $n\ln\sigma$ and
        $\sum x^2/2\sigma^2$, which bend by $2n$ along $\ln\sigma$.
        """
        slopes, widths = jax.jacobian(self.standard)(spectrum), jax.jacobian(self._log_widths)(spectrum)
        of_others = slopes[~self._is_wiggle]
        of_wiggles = jnp.where(self._is_wiggle, jnp.diag(slopes), 0.0)
        return of_others.T @ of_others + jnp.diag(of_wiggles**2) + 2 * self._interval_count * widths.T @ widths

    def _log_power(self, named: Mapping[str, jax.Array]) -> jax.Array:
        """Return the log power of one mode of each bin but the mean, over that of the first, (bins - 1,)."""
        steepness = jnp.cumsum(named["bends"]) - 0.5 * named["bends"]
        steps = named["kinks"] + self._interval * steepness
        wiggles = jnp.concatenate([jnp.zeros(1), jnp.cumsum(steps)])
        return (named["slope"] - wiggles[-1] / self._lengths[-1]) * self._lengths + wiggles

    def _log_power_of_cosines(self, named: Mapping[str, jax.Array]) -> jax.Array:
        """Return the log power of all cosines but the first, over that of the second, (count - 1,)."""
        return named["variation_slope"] * self._log_numbers

    def _log_totals(self, named: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Return the logarithm of the whole over one part of it, for deviations whose prior is of the whole."""
        totals = {"level": 0.5 * logsumexp(self._log_power(named), b=self._multiplicity)}
        if self.count > 1:
            totals["variation"] = 0.5 * logsumexp(self._log_power_of_cosines(named))
        return totals

    def _log_deviations(self, named: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Return the logarithms of the deviations that kinks and bends have a priori, by name."""
        bends = named["flexibility"] + 0.5 * np.log(self._interval)
        return {"kinks": bends + 0.5 * jnp.log(self._interval**2 / 12 + jnp.exp(named["asperity"])), "bends": bends}

    def _log_widths(self, spectrum: jax.Array) -> jax.Array:
        return jnp.stack(list(self._log_deviations(self._named(spectrum)).values()))

    @staticmethod
    def logarithm(field: jax.Array) -> jax.Array:
        """Return the logarithm of the brightness over the prior's offset, which is the field itself."""
        return field

    @staticmethod
    def field(logarithm: jax.Array) -> jax.Array:
        """Return the field of a logarithm, which is the same."""
        return logarithm


def _of_logarithm(mean: float, deviation: float) -> MeanAndDeviation:
    """Return mean and deviation of the logarithm of what is log-normal with this mean and deviation."""
    variance = np.log1p((deviation / mean) ** 2)
    return float(np.log(mean) - variance / 2), float(np.sqrt(variance))


def cosines(channels: int) -> NDArray[np.float64]:
    r"""Return the cosines: 1, and $\sqrt2 \cos(\pi j (c + \frac12)/n)$, $j = 1 \dots n - 1$, (channel, cosine)."""
    phase = np.multiply.outer(np.arange(channels) + 0.5, np.arange(channels)) * np.pi / channels
    return np.cos(phase) * np.where(np.arange(channels) > 0, np.sqrt(2), 1)


def hartley(images: jax.Array) -> jax.Array:
    r"""Return the Hartley transform $\sum_x I_x (\cos 2\pi k x - \sin 2\pi k x)$.

    It is symmetric, and its own inverse but for the number of pixels.

    images: (..., ny, nx).
    """
    nx = images.shape[-1]
    half = jnp.fft.rfft2(images)  # of the other half the spectrum has the complex conjugate
    other = jnp.roll((half.real - half.imag)[..., ::-1, (nx - 1) // 2 : 0 : -1], 1, axis=-2)
    return jnp.concatenate([half.real + half.imag, other], axis=-1)
