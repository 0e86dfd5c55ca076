r"""Amplitude and power of a data set and of its model in bins of uv distance, free of the bias of noise.

Weights w are the inverse variance of the real, and of the imaginary part, so that $E\,w|n|^2 = 2$.

- Amplitude of the data: that of their part in phase with the model,
  $\sum w\,\mathrm{Re}(V\bar M) / (\sum w \sum w|M|^2)^{1/2}$, which scatters about the model's
  $(\sum w|M|^2 / \sum w)^{1/2}$ with the standard deviation $(\sum w)^{-1/2}$.
- Power of the data: $(\sum w|V|^2 - 2N) / \sum w$, with the variance $(4N + 4\sum w|M|^2) / (\sum w)^2$.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.calibration.flux_scale import SetOfVisibilities, Span, span_of

PER_DECADE = 12

Array = NDArray[np.floating]


@dataclass(frozen=True)
class UvBins:
    """A data set in bins of uv distance; arrays are (bin,).

    Attributes:
        name: of the set.
        span: its shortest and its longest uv distance, wavelengths.
        uvdist: mean distance, wavelengths, by weight.
        data_amplitude, amplitude_error, model_amplitude: Jy.
        data_power, power_error, model_power: Jy^2; that of the data may be negative where there is only noise.
        noise_power: what was subtracted from the power of the data, Jy^2.
    """

    name: str
    span: tuple[float, float]
    uvdist: Array
    data_amplitude: Array
    amplitude_error: Array
    model_amplitude: Array
    data_power: Array
    power_error: Array
    model_power: Array
    noise_power: Array

    @property
    def ratio(self) -> Array:
        """Data over model; NaN where the model is empty."""
        return np.divide(
            self.data_amplitude,
            self.model_amplitude,
            where=self.model_amplitude > 0,
            out=np.full(self.uvdist.size, np.nan),
        )

    @property
    def ratio_error(self) -> Array:
        """The standard deviation of `ratio`; infinite where the model is empty."""
        return np.divide(
            self.amplitude_error,
            self.model_amplitude,
            where=self.model_amplitude > 0,
            out=np.full(self.uvdist.size, np.inf),
        )


def uv_bins(each: SetOfVisibilities, per_decade: int = PER_DECADE) -> UvBins:
    """Return a data set in bins of equal width in the logarithm of uv distance, from the shortest on; empty ones are
    left out.

    What has no uv distance, such as the total flux of a map, is left out.

    Args:
        each: the data set.
        per_decade: how many bins for a factor of ten in uv distance.
    """
    span = span_of(each.uvdist[each.weight > 0])
    return bins_of(each.name, span, bin_sums(each, span, per_decade), each.independent)


def bin_sums(each: SetOfVisibilities, span: Span, per_decade: int = PER_DECADE) -> NDArray[np.float64]:
    """Return what bins of a set are made of, (6, bin), of all of it or of a part, whose sums add.

    Args:
        each: the set, or a part of it.
        span: of all of it.
        per_decade: as that of `uv_bins`.
    """
    shortest, longest = span
    number_of_bins = 1 + int(per_decade * np.log10(longest / shortest)) if longest else 0
    positive = np.flatnonzero((each.uvdist > 0) & (each.weight > 0))
    uvdist, data, model, weight = (array[positive] for array in (each.uvdist, each.data, each.model, each.weight))
    bins = np.minimum(np.floor(per_decade * np.log10(uvdist / shortest)).astype(np.intp), number_of_bins - 1)
    terms = (
        np.ones_like(weight), weight, weight * uvdist, weight * np.abs(data) ** 2,
        weight * np.abs(model) ** 2, weight * (data * model.conj()).real,
    )  # fmt: skip
    return np.stack([np.bincount(bins, term, number_of_bins) for term in terms])


def bins_of(name: str, span: Span, sums: NDArray[np.float64], independent: float = 1.0) -> UvBins:
    """Return the bins of a set that have any data.

    Args:
        name: of the set.
        span: its shortest and its longest uv distance, wavelengths.
        sums: those of all its parts.
        independent: how many independent samples there are for each one.
    """
    count, total, distance, data_power, model_power, in_phase = sums[:, sums[0] > 0]
    scale = np.sqrt(total * model_power)
    return UvBins(
        name=name,
        span=span,
        uvdist=distance / total,
        data_amplitude=np.divide(in_phase, scale, where=scale > 0, out=np.zeros_like(scale)),
        amplitude_error=(independent * total) ** -0.5,
        model_amplitude=np.sqrt(model_power / total),
        data_power=(data_power - 2 * count) / total,
        power_error=2 * np.sqrt((count + model_power) / independent) / total,
        model_power=model_power / total,
        noise_power=2 * count / total,
    )
