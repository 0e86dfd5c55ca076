r"""The w-term as a short sum of flat operators, where w is small.

Let $x = n - 1 - c$, centred on the middle c of its range $[-R, R]$ over the image. After a factor $e^{2\pi iwc}$ for
each visibility, $e^{2\pi iwx}$ is a function of the product w x: a sum of products (`prolate`). Each of its terms is
a real image, degridded without w, times a factor for each visibility.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.kernels.difference import chi_squared_and_gradient
from casa_ml_tasks.kernels.fourier_operator import FlatOperator, FourierOperator
from casa_ml_tasks.kernels.prolate import ProlateTerm


@dataclass(frozen=True)
class ExpandedOperator:
    r"""$V = e^{2\pi iwc}\sum_j\lambda_j\psi_j(\omega)F[\psi_j(\xi)I]$, with adjoint.

    Attributes:
        flat: the operator F without w.
        w: $\omega = w/|w|_{max}$, (visibility,), in the plan's order, with the sign that folding gave it.
        phase: $e^{2\pi iwc}$, (visibility,).
        x: $\xi = x/R$, (ny, nx).
        terms: of $e^{iX\omega\xi}$, $X = 2\pi|w|_{max}R$.
    """

    flat: FlatOperator
    w: NDArray[np.floating]
    phase: NDArray[np.complexfloating]
    x: NDArray[np.floating]
    terms: list[ProlateTerm]

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.flat.shape

    def sort(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return what `FourierOperator.sort` does."""
        return self.flat.sort(visibilities)

    def restore(self, visibilities: NDArray[Any]) -> NDArray[Any]:
        """Return what `FourierOperator.restore` does."""
        return self.flat.restore(visibilities)

    def degrid(self, image: NDArray[np.floating]) -> NDArray[np.complexfloating]:
        """Return the visibilities of an image, (visibility,), Jy. image: (ny, nx), Jy/pixel."""
        total, threads = np.zeros_like(self.phase), self.flat.threads
        for term in self.terms:
            visibilities = self.flat.degrid(term.times(self.x, image, threads))
            term.add(self.w, visibilities, total, threads, term.eigenvalue)
        return np.multiply(total, self.phase, out=total)

    def grid(self, visibilities: NDArray[np.complexfloating]) -> NDArray[np.floating]:
        """Return the adjoint of `degrid` applied to visibilities, (ny, nx), not normalised."""
        total, threads = np.zeros(self.shape, self.x.dtype), self.flat.threads
        turned = visibilities * self.phase.conj()
        for term in self.terms:
            part = self.flat.grid(term.times(self.w, turned, threads, term.eigenvalue.conjugate()))
            term.add(self.x, part, total, threads)
        return total

    def gradient(
        self, image: NDArray[np.floating], data: NDArray[np.complexfloating], weight: NDArray[np.floating]
    ) -> tuple[float, NDArray[np.floating]]:
        """Return what `FourierOperator.gradient` does, for the operator with w."""
        return chi_squared_and_gradient(self, image, data, weight)


def expanded_operator(
    flat: FourierOperator,
    uvw: NDArray[np.float64],
    wavenumber: NDArray[np.float64],
    x: NDArray[np.float64],
    centre: float,
    longest: float,
    terms: list[ProlateTerm],
) -> ExpandedOperator:
    """Plan the operator with an expansion of the w-term.

    Args:
        flat: the operator without w.
        uvw, wavenumber: that `flat` was planned for.
        x: centred n - 1 over its largest modulus, (ny, nx), in [-1, 1].
        centre: of n - 1.
        longest: largest |w|, wavelengths.
        terms: of the expansion.
    """
    precision = flat.uvgrid.precision
    w = flat.sort(np.multiply.outer(uvw[:, 2], wavenumber))
    np.negative(w, where=flat.plan.folded, out=w)
    phase = np.exp(2j * np.pi * centre * w).astype(np.result_type(precision, np.complex64))
    return ExpandedOperator(flat, (w / longest).astype(precision), phase, x.astype(precision), terms)
