r"""Residual visibilities against uv distance: on which baselines the model leaves something unexplained.

A Stokes I sample of weight w (the sum of WEIGHT of its hands) has noise of variance $s^2/w$ in its real and in its
imaginary part, with s the noise scale. So $E|n|^2 = 2s^2/w$, and the reduced $\chi^2 = \sum w|r|^2 / 2Ns^2$ of N
residuals r is $1 \pm N^{-1/2}$ where they are noise alone.

The amplitude of the data in a bin is that of their part in phase with the model,
$\sum w\,\mathrm{Re}(d\bar m) / (\sum w \sum w|m|^2)^{1/2}$. If d = m + n, its expectation is the root mean square
amplitude of the model, whatever the noise: noise has no preferred phase. The error,
$(\sum w|r|^2 / 2N\sum w)^{1/2}$, is measured from the residuals of the bin. The root of the mean $|d|^2$ minus the
expected noise power has no such property: where the noise scale is 3 % too low, it adds 6 % of the noise power. It
serves only where the model is empty and so has no phase.

The visibilities are summed in many narrow annuli of the uv plane, in one pass and in any number of parts; neighbouring
annuli then make bins of about equal numbers of visibilities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.data.measurement_set import Block, Selection, blocks
from casa_ml_tasks.data.visibility_store import ImageFrame, VisibilityStore, chunks, samples
from casa_ml_tasks.kernels.uv_annuli import ANNULI, annulus_edges, annulus_of, longest_on_grid
from casa_ml_tasks.kernels.uv_grid import within_nyquist
from casa_ml_tasks.kernels.w_term import wide_field_operator

BINS = 20
SUMMED_AT_ONCE = 1 << 18  # visibilities; more do not stay in the cache

Array = NDArray[np.floating]


@dataclass(frozen=True)
class ResidualStatistics:
    """Data d, model m and residual r = d - m in bins of uv distance, weighted; arrays are (bin,) unless stated.

    Attributes:
        edges: of the bins, (bin + 1,), wavelengths.
        count: visibilities.
        reduced_chi2: 1 +- count^-1/2 of noise alone, dimensionless.
        real, imaginary: mean of r, Jy, where those of u < 0 are replaced by their conjugates.
        error: standard deviation, Jy, that the noise gives `real`, and `imaginary`.
        data_amplitude: of the part of d in phase with m, Jy; where the model is empty, the root of the mean |d|^2 minus
            the expected noise power, NaN where that is below zero.
        data_error: its standard deviation, Jy.
        model_amplitude: root of the mean |m|^2, Jy: what `data_amplitude` scatters about where the model explains the
            data.
    """

    edges: Array
    count: Array
    reduced_chi2: Array
    real: Array
    imaginary: Array
    error: Array
    data_amplitude: Array
    data_error: Array
    model_amplitude: Array

    @property
    def total_reduced_chi2(self) -> float:
        """The reduced chi^2 of all visibilities."""
        return float(np.average(self.reduced_chi2, weights=self.count))

    def as_lists(self) -> dict[str, list[float]]:
        """Return every attribute as plain numbers."""
        return {name: value.tolist() for name, value in asdict(self).items()}


@dataclass(frozen=True)
class AnnulusSums:
    """Sums over the visibilities in each annulus, (annulus,)."""

    longest: float  # outer radius of the last annulus, wavelengths
    count: Array
    weight: Array  # w
    residual_power: Array  # w |r|^2
    real: Array  # w Re r
    imaginary: Array  # w Im r
    data_power: Array  # w |d|^2
    model_power: Array  # w |m|^2
    in_phase: Array  # w Re d m*

    @classmethod
    def none(cls, longest: float) -> AnnulusSums:
        """Return the sums over no visibility."""
        return cls(longest, *np.zeros((8, ANNULI)))

    def plus(
        self,
        annulus: NDArray[np.integer],
        data: NDArray[np.complexfloating],
        model: NDArray[np.complexfloating],
        weight: Array,
    ) -> AnnulusSums:
        """Return the sums with some visibilities more.

        Args:
            annulus: of each, (visibility,), from `annulus_of`.
            data, model: (visibility,), Jy, conjugated where u < 0.
            weight: (visibility,), nominal, Jy^-2.
        """
        total = np.array(self._arrays())
        for part in chunks(annulus.size, SUMMED_AT_ONCE):
            index, w, d, m = annulus[part].astype(np.intp), weight[part], data[part], model[part]
            r = d - m
            terms = (
                np.ones_like(w), w, w * _power(r), w * r.real, w * r.imag, w * _power(d), w * _power(m),
                w * (d.real * m.real + d.imag * m.imag),
            )  # fmt: skip
            for row, term in zip(total, terms, strict=True):
                row += np.bincount(index, term, ANNULI)
        return AnnulusSums(self.longest, *total)

    def __add__(self, other: AnnulusSums) -> AnnulusSums:
        return AnnulusSums(self.longest, *(np.array(self._arrays()) + np.array(other._arrays())))

    def statistics(self, noise_scale: float, bins: int = BINS) -> ResidualStatistics:
        """Return the statistics in at most so many bins; fewer where the visibilities crowd in fewer annuli.

        Args:
            noise_scale: true noise over the noise that the weights claim, s.

        Raises:
            ValueError: there are no visibilities.
        """
        occupied = np.flatnonzero(self.count)
        if not occupied.size:
            raise ValueError("no visibility was summed; select some that the grid of the image holds")
        cumulated = np.cumsum(self.count)
        ends = np.unique(np.searchsorted(cumulated, cumulated[-1] * np.arange(1, bins + 1) / bins)) + 1
        starts = np.concatenate([occupied[:1], ends[:-1]])
        binned = np.add.reduceat(np.array(self._arrays())[:, : ends[-1]], starts, axis=1)
        count, weight, residual_power, real, imaginary, data_power, model_power, in_phase = binned
        excess, seen = data_power - 2 * count * noise_scale**2, model_power > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            data_amplitude = np.where(seen, in_phase / np.sqrt(weight * model_power), np.sqrt(excess / weight))
            error_without_model = noise_scale**2 * np.sqrt(count / (excess * weight))
            data_error = np.where(seen, np.sqrt(residual_power / (2 * count * weight)), error_without_model)
        return ResidualStatistics(
            edges=annulus_edges(self.longest)[np.append(starts, ends[-1])],
            count=count,
            reduced_chi2=residual_power / (2 * count * noise_scale**2),
            real=real / weight,
            imaginary=imaginary / weight,
            error=noise_scale / np.sqrt(weight),
            data_amplitude=data_amplitude,
            data_error=data_error,
            model_amplitude=np.sqrt(model_power / weight),
        )

    def _arrays(self) -> list[Array]:
        return [value for name, value in vars(self).items() if name != "longest"]


def read_residuals(
    selections: Iterable[Selection],
    frame: ImageFrame,
    model: NDArray[np.floating],
    cell: float,
    share: float = 1.0,
) -> AnnulusSums:
    """Read Measurement Sets once more and compare them with a model.

    What lies beyond the grid of the image is left out.

    Args:
        selections: what `measurement_set.selections` returned.
        frame: of the image.
        model: (ny, nx), Jy/pixel.
        cell: size of a pixel, radians.
        share: of the rows, drawn at random, that are compared; those alone are held in memory.
    """
    store = VisibilityStore(Path(), math.inf)
    rng = np.random.default_rng(0)
    for selection in selections:
        for block in blocks(selection, progress=True):
            drawn = np.flatnonzero(rng.random(block.time.size) < share)
            if drawn.size:
                store.add(samples(_rows(block, drawn), selection.vis, frame))
    found = store.visibilities()
    sums = AnnulusSums.none(longest_on_grid(cell))
    inside = within_nyquist(found.uvw, cell)
    if not inside.any():
        return sums
    found = found[inside]
    operator = wide_field_operator(found.uvw, 1.0, (model.shape[0], model.shape[1]), cell)
    return sums.plus(
        operator.sort(annulus_of(found.uvw, sums.longest)),
        operator.sort(found.visibility),
        operator.degrid(model.astype(np.float32)),
        operator.sort(found.weight),
    )


def _rows(block: Block, rows: NDArray[np.integer]) -> Block:
    names = ("visibility", "weight", "flag", "uvw", "row", "time", "streams")
    return replace(block, **{name: getattr(block, name)[..., rows] for name in names})


def _power(visibilities: NDArray[np.complexfloating]) -> Array:
    return visibilities.real**2 + visibilities.imag**2
