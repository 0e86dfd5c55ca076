"""Is the residual image noise? Its moments and outliers, in units of the noise that is expected."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from casa_ml_tasks.quantities import with_error

PRIMARY_BEAM = 0.2  # the residual is judged where the response to the sky is above
OUTLIER = 5.0  # standard deviations


@dataclass(frozen=True)
class ImageResidual:
    """The residual over the expected noise, z, of the pixels inside the primary beam; noise alone has 0, 1, 0, 0.

    Attributes:
        pixels: how many.
        beams: solid angles of the beam in their area. Pixels of one beam are not independent, so this is about how
            many independent values there are, and a test that counts pixels would be far too sure of itself.
        mean, deviation, skewness, kurtosis: of z; the kurtosis is the excess over a Gaussian's.
        largest: the z of largest modulus.
        outliers: pixels with |z| > 5.
    """

    pixels: int
    beams: float
    mean: float
    deviation: float
    skewness: float
    kurtosis: float
    largest: float
    outliers: int

    def expected_largest(self) -> float:
        """Median of the largest |z| among so many independent values of noise."""
        return float(stats.norm.isf(0.5 * (1 - 0.5 ** (1 / max(self.beams, 1)))))

    def sentences(self) -> str:
        """What a reader should know."""
        beams = max(self.beams, 1)
        deviation = with_error(self.deviation, self.deviation / (2 * beams) ** 0.5)
        mean = with_error(self.mean, self.deviation / beams**0.5)
        how_many = float(f"{beams:.2g}")
        return (
            f"Where the primary beam is above {PRIMARY_BEAM:g}, the residual image has {deviation} times the expected "
            f"noise (standard deviation). Its mean is {mean} sigma, its skewness {self.skewness:+.2f} and its excess "
            f"kurtosis {self.kurtosis:+.2f}; pure noise has 1, 0, 0 and 0. Pixels beyond {OUTLIER:g} sigma: "
            f"{self.outliers} of {self.pixels}. The largest residual is {self.largest:+.1f} sigma; pure noise in "
            f"so many beams (about {how_many:.0f}) would reach about {self.expected_largest():.1f} sigma."
        )

    def as_numbers(self) -> dict[str, float]:
        """Every attribute."""
        return asdict(self)


def inside_primary_beam(
    residual: NDArray[np.floating], primary_beam: NDArray[np.floating] | None
) -> NDArray[np.floating]:
    """The unmasked pixels where the primary beam is above 0.2, as one row; images of any one shape."""
    inside = np.isfinite(residual)
    if primary_beam is not None:
        inside &= np.nan_to_num(primary_beam) > PRIMARY_BEAM
    return residual[inside]


def image_residual(
    residual: NDArray[np.floating], primary_beam: NDArray[np.floating] | None, noise: float, beam_area: float
) -> ImageResidual | None:
    """Judge the residual image; None where there is no noise to compare with, or fewer than two pixels.

    Args:
        residual: (..., y, x), Jy/beam, NaN where masked.
        primary_beam: of the same shape, 1 at its maximum; None where it is not known.
        noise: standard deviation, Jy/beam.
        beam_area: solid angle of the beam, pixels.
    """
    values = inside_primary_beam(residual, primary_beam)
    if values.size < 2 or not noise > 0:
        return None
    z = values.astype(np.float64) / noise
    deviation = float(z.std())
    skewness, kurtosis = (float(stats.skew(z)), float(stats.kurtosis(z))) if deviation > 0 else (0.0, 0.0)
    return ImageResidual(
        pixels=z.size,
        beams=z.size / max(beam_area, 1.0),
        mean=float(z.mean()),
        deviation=deviation,
        skewness=skewness,
        kurtosis=kurtosis,
        largest=float(z[np.abs(z).argmax()]),
        outliers=int(np.count_nonzero(np.abs(z) > OUTLIER)),
    )
