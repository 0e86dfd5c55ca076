"""The band of the data by the frequencies that stand for it, as many as there are Taylor terms of the spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Band:
    r"""As many frequencies $\nu_k$ of the observed band as there are Taylor terms.

    Attributes:
        frequencies: $\nu_k / \nu_0$, (frequency,), increasing.
        weights: of the images there in the mean over the band, (frequency,).
    """

    frequencies: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of_moments(cls, moments: NDArray[np.floating]) -> Band:
        r"""Return the nodes of Gauss and Legendre on a band, uniform in $\ln \nu$, of the data's mean and variance.

        Args:
            moments: $\langle x^q \rangle$ over the weights, (2 terms - 1,): the peaks of the PSFs.

        Raises:
            ValueError: there are several terms and one frequency.
        """
        count = (len(moments) + 1) // 2
        nodes, weights = np.polynomial.legendre.leggauss(count)
        if count == 1:
            return cls(np.ones(1), np.ones(1))
        mean, square = np.asarray(moments[1:3], float) / moments[0]
        spread = np.log1p((square - mean**2) / (1 + mean) ** 2)
        if not spread > 1e-8:
            raise ValueError(f"nterms={count} needs visibilities of several frequencies; select more, or use nterms=1")
        return cls((1 + mean) * np.exp(np.sqrt(3 * spread) * nodes - spread / 2), weights / 2)

    @property
    def conversion(self) -> NDArray[np.float64]:
        """(term, frequency): from images at the frequencies to Taylor terms."""
        return np.asarray(np.linalg.inv(np.vander(self.frequencies - 1, increasing=True)), float)

    def terms(self, images: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the Taylor terms, (term, ...), of images at the frequencies, (frequency, ...)."""
        return np.tensordot(self.conversion, images, 1)

    def images(self, terms: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the images at the frequencies, (frequency, ...), of Taylor terms, (term, ...)."""
        return np.tensordot(np.vander(self.frequencies - 1, increasing=True), terms, 1)
