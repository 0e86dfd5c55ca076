"""What sources are found in: a dirty cube with its PSF and noise, and its planes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.normal_operator import ConvolutionNormalOperator


@dataclass(frozen=True)
class Beam:
    """The CLEAN beam: FWHM of its axes, pixels; angle of the major axis from the x axis towards the y axis, radians."""

    major: float
    minor: float
    angle: float

    @property
    def mean(self) -> float:
        """Geometric mean of the axes, pixels."""
        return float(np.sqrt(self.major * self.minor))

    @property
    def area(self) -> float:
        """Pixels a beam."""
        return float(np.pi * self.major * self.minor / (4 * np.log(2)))


@dataclass(frozen=True)
class Plane:
    """One dirty image.

    Attributes:
        dirty: (ny, nx), Jy/beam.
        psf: (2 ny, 2 nx), with its peak in the pixel (ny, nx).
        noise: r.m.s. of the dirty image without sources, Jy/beam.
        beam: the CLEAN beam.
    """

    dirty: NDArray[np.floating]
    psf: NDArray[np.floating]
    noise: float
    beam: Beam

    @cached_property
    def operator(self) -> ConvolutionNormalOperator:
        """The normal operator, single precision."""
        return ConvolutionNormalOperator.from_psf(self.psf, np.float32)

    def residual(self, model: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return what a model leaves, (ny, nx), Jy/beam. model: (ny, nx), Jy/pixel."""
        return np.asarray(self.dirty - self.operator(model.astype(np.float32)), np.float32)


@dataclass(frozen=True)
class DirtyCube:
    """Dirty images of all channels; one channel is a cube as well.

    Attributes:
        dirty: (channel, ny, nx), Jy/beam; blanked channels are zero.
        psf: (channel, 2 ny, 2 nx), or (1, 2 ny, 2 nx) where one serves all channels; peaks in the pixel (ny, nx).
        noise: of each channel, (channel,), Jy/beam; infinite where it is blanked.
        beam: the CLEAN beam.
        frequencies: (channel,), Hz.
    """

    dirty: NDArray[np.floating]
    psf: NDArray[np.floating]
    noise: NDArray[np.floating]
    beam: Beam
    frequencies: NDArray[np.floating]

    @property
    def weights(self) -> NDArray[np.float64]:
        """1 / noise^2 of each channel, Jy^-2."""
        return 1 / np.asarray(self.noise, float) ** 2

    def psf_of(self, channel: int) -> NDArray[np.floating]:
        """Return the PSF of a channel, (2 ny, 2 nx)."""
        return self.psf[channel if len(self.psf) > 1 else 0]

    def plane(self, channel: int) -> Plane:
        """Return one channel."""
        return Plane(self.dirty[channel], self.psf_of(channel), float(self.noise[channel]), self.beam)

    def integrated(self, spectrum: NDArray[np.floating] | None = None) -> Plane:
        r"""Return the sum of the channels that shows a source of a spectrum best.

        With the spectrum s and the weights $w = 1/\sigma^2$ of the channels: $\sum s w d / \sum s^2 w$. The noise is
        $(\sum s^2 w)^{-1/2}$, and the PSF $\sum s^2 w T / \sum s^2 w$, both as of a dirty image of the source alone.

        Args:
            spectrum: (channel,), not negative, of any scale; flat by default.
        """
        s = np.ones(len(self.dirty)) if spectrum is None else np.asarray(spectrum, float)
        power = s**2 * self.weights
        total = power.sum()
        first, last = np.flatnonzero(power)[[0, -1]]
        used = np.s_[first : last + 1]
        shares = (power / total).astype(np.float32)[used]
        factors = (s * self.weights / total).astype(np.float32)[used]
        dirty = np.tensordot(factors, self.dirty[used], 1)
        psf = self.psf[0] if len(self.psf) == 1 else np.tensordot(shares, self.psf[used], 1)
        return Plane(dirty.astype(np.float32), psf, float(total**-0.5), self.beam)

    def residual(
        self, model: NDArray[np.floating], progress: Callable[[int], None] = lambda channels: None
    ) -> NDArray[np.float32]:
        """Return what a model leaves of each channel, (channel, ny, nx), Jy/beam.

        Args:
            model: (channel, ny, nx), Jy/pixel.
            progress: is told how many channels are done.
        """
        left = np.empty(self.dirty.shape, np.float32)
        operator = self.plane(0).operator if len(self.psf) == 1 else None
        for channel in range(len(left)):
            of_channel = self.plane(channel).operator if operator is None else operator
            left[channel] = self.dirty[channel] - of_channel(np.asarray(model[channel], np.float32))
            progress(channel + 1)
        return left
