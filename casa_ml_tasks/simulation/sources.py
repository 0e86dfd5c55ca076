"""Skies of points and Gaussians, and what an interferometer measures of them, in closed form."""

from dataclasses import dataclass, replace

import numpy as np
from casatasks import imhead
from numpy.typing import NDArray
from scipy.constants import arcsecond, speed_of_light

from casa_ml_tasks.kernels.primary_beams import ALMA_12M

REFERENCE = 230e9  # Hz, of the fluxes


@dataclass(frozen=True)
class Source:
    """A Gaussian, or a point where `size` is 0.

    Attributes:
        flux: at `REFERENCE`, Jy.
        east, north: from the phase centre, arcsec.
        size: standard deviation, arcsec; of an ellipse along its major axis.
        polarisation: Q, U and V over I.
        index: alpha; the flux goes with frequency^alpha.
        ratio: of the minor axis to the major one.
        angle: position angle of the major axis from North through East, radians.
    """

    flux: float
    east: float
    north: float
    size: float = 0.0
    polarisation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    index: float = 0.0
    ratio: float = 1.0
    angle: float = 0.0

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Second moments along East and North, (2, 2), arcsec^2."""
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        axes = np.array([[sine, cosine], [cosine, -sine]])
        return axes * np.array([self.size, self.ratio * self.size]) ** 2 @ axes.T


def direct_sum(
    uvw: NDArray[np.floating], frequencies: NDArray[np.floating], sources: tuple[Source, ...]
) -> NDArray[np.complex128]:
    r"""$V(u,v) = \sum I \exp(2\pi i(ul+vm))$, term by term, with a Gaussian's envelope $\exp(-2\pi^2 u^T C u)$.

    Args:
        uvw: (3, row), metres.
        frequencies: (channel,), Hz.
        sources: what the sky consists of.

    Returns:
        (channel, row), complex, Jy.
    """
    u, v = (np.multiply.outer(frequencies / speed_of_light, axis) for axis in uvw[:2])
    visibility = np.zeros(u.shape, complex)
    for source in sources:
        phase = 2 * np.pi * (u * source.east + v * source.north) * arcsecond
        (east, both), (_, north) = source.covariance * arcsecond**2
        envelope = np.exp(-2 * np.pi**2 * (east * u**2 + 2 * both * u * v + north * v**2))
        spectrum = (frequencies / REFERENCE)[:, None] ** source.index
        visibility += source.flux * spectrum * envelope * np.exp(1j * phase)
    return visibility


def correlations_of(
    uvw: NDArray[np.floating], frequencies: NDArray[np.floating], sources: tuple[Source, ...], names: tuple[str, ...]
) -> NDArray[np.complex128]:
    """What perfect feeds measure: XX = I + Q, XY = U + iV, RR = I + V, RL = Q + iU.

    Args:
        uvw: (3, row), metres.
        frequencies: (channel,), Hz.
        sources: what the sky consists of.
        names: of the correlations, all of linear or all of circular feeds.

    Returns:
        (correlation, channel, row), complex, Jy.
    """

    def polarised(which: int) -> NDArray[np.complex128]:
        parts = tuple(replace(each, flux=each.flux * each.polarisation[which]) for each in sources)
        return direct_sum(uvw, frequencies, parts)

    i, (q, u, v) = direct_sum(uvw, frequencies, sources), map(polarised, range(3))
    linear = {"XX": i + q, "XY": u + 1j * v, "YX": u - 1j * v, "YY": i - q}
    circular = {"RR": i + v, "RL": q + 1j * u, "LR": q - 1j * u, "LL": i - v}
    return np.stack([(linear | circular)[name] for name in names])


def seen_from(pointing: tuple[float, float], sources: tuple[Source, ...], frequency: float) -> tuple[Source, ...]:
    """The sources as one pointing sees them, through the primary beam of a 12 m antenna of ALMA.

    Args:
        pointing: arcsec east and north of the phase centre.
        sources: relative to the phase centre.
        frequency: of the beam, Hz.

    Returns:
        The sources relative to the pointing, their fluxes multiplied by the beam at their centres.
    """

    def seen(source: Source) -> Source:
        east, north = source.east - pointing[0], source.north - pointing[1]
        beam = float(ALMA_12M.power(np.hypot(east, north) * arcsecond, frequency))
        return replace(source, east=east, north=north, flux=beam * source.flux)

    return tuple(map(seen, sources))


def restored_terms(imagename: str, sources: tuple[Source, ...]) -> NDArray[np.float64]:
    """The first two Taylor terms of the sources, convolved with the CLEAN beam of an image: (2, ny, nx), Jy/beam.

    Args:
        imagename: of products of deconvolver='mtmfs'.
        sources: what the sky consists of.
    """
    head = imhead(f"{imagename}.image.tt0", mode="list")
    nx, ny = head["shape"][:2]
    y, x = np.mgrid[:ny, :nx]
    cell = head["cdelt2"] / arcsecond
    north, east = (y - ny // 2) * cell, (nx // 2 - x) * cell
    angle = np.radians(head["beampa"]["value"])
    axes = np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
    widths = np.array([head["beammajor"]["value"], head["beamminor"]["value"]]) / np.sqrt(8 * np.log(2))
    beam = axes.T * widths**2 @ axes
    terms = np.zeros((2, ny, nx))
    for source in sources:
        covariance = beam + source.covariance
        offset = np.stack([east - source.east, north - source.north])
        distance = np.einsum("i...,ij,j...", offset, np.linalg.inv(covariance), offset)
        flux = source.flux * (head["crval4"] / REFERENCE) ** source.index
        peak = flux * np.sqrt(np.linalg.det(beam) / np.linalg.det(covariance))
        terms += np.array([1, source.index])[:, None, None] * peak * np.exp(-distance / 2)
    return terms
