"""From a dirty cube to sources with shapes, spectra and lines, in the stages of DeepFocus.

The stages keep the names of the paper (Delli Veneri et al. 2023, MNRAS 518, 3407). What differs: shapes, fluxes and
their errors come from a fit with the exact normal operator, spectra from least squares with these shapes, and a source
stays only where the data need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.line_network import LineNetwork
from casa_ml_tasks.networks.network_grid import Proposal
from casa_ml_tasks.sources.dirty_cube import DirtyCube, Plane
from casa_ml_tasks.sources.gaussians import Gaussians
from casa_ml_tasks.sources.line_finder import SpectralFit, find_lines
from casa_ml_tasks.sources.looks import SEPARATE
from casa_ml_tasks.sources.plane_finder import PlaneSources, find_in_plane
from casa_ml_tasks.sources.reliability import probability
from casa_ml_tasks.sources.source_spectra import Spectra, source_spectra
from casa_ml_tasks.sources.trust import field_flags, source_flags

FOCUS_PROBABILITIES = (0.5,)  # of new sources in the channels of a line, one round
BETTER = 1.1  # S/N in the channels of a line over that of all channels, from which the shape is taken there


@dataclass(frozen=True)
class Networks:
    """The trained networks: of images, and of spectra."""

    images: ImageNetwork
    lines: LineNetwork


@dataclass(frozen=True)
class Shapes:
    """Sources with the channels in which each was seen best.

    Attributes:
        gaussians, errors: shapes with the flux in these channels, Jy.
        delta_chi2: rise of chi^2 without the source, (source,).
        network: the probability that the network gave, (source,).
        probability: that the source is real, (source,).
        at_bound: whether an axis is as large as the fit allows, (source,).
        unresolved: whether the minor axis is 0, as it is for half of all points, (source,).
        channels: first and last channel, inclusive, (source, 2).
    """

    gaussians: Gaussians
    errors: Gaussians
    delta_chi2: NDArray[np.floating]
    network: NDArray[np.floating]
    probability: NDArray[np.floating]
    at_bound: NDArray[np.bool_]
    unresolved: NDArray[np.bool_]
    channels: NDArray[np.intp]

    @classmethod
    def of_plane(cls, found: PlaneSources, first: int, last: int) -> Shapes:
        """Return what was found in the sum of some channels."""
        fitted = found.fitted
        channels = np.tile([first, last], (len(found), 1))
        at_bound = fitted.at_bound & ~fitted.unresolved
        of_fit = fitted.gaussians, fitted.errors, fitted.delta_chi2
        real = probability(found.probability, fitted.delta_chi2)
        return cls(*of_fit, found.probability, real, at_bound, fitted.unresolved, channels)

    def __len__(self) -> int:
        """How many."""
        return len(self.gaussians)

    @property
    def snr(self) -> NDArray[np.floating]:
        """Flux over its error, (source,)."""
        return self.gaussians.flux / self.errors.flux

    def chosen(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Shapes:
        """Return some of them."""
        return Shapes(
            self.gaussians.chosen(index),
            self.errors.chosen(index),
            self.delta_chi2[index],
            self.network[index],
            self.probability[index],
            self.at_bound[index],
            self.unresolved[index],
            self.channels[index],
        )

    @staticmethod
    def concatenated(first: Shapes, second: Shapes) -> Shapes:
        """Return both, the first ones first."""
        return Shapes(
            Gaussians.concatenated(first.gaussians, second.gaussians),
            Gaussians.concatenated(first.errors, second.errors),
            np.concatenate([first.delta_chi2, second.delta_chi2]),
            np.concatenate([first.network, second.network]),
            np.concatenate([first.probability, second.probability]),
            np.concatenate([first.at_bound, second.at_bound]),
            np.concatenate([first.unresolved, second.unresolved]),
            np.concatenate([first.channels, second.channels]),
        )


@dataclass(frozen=True)
class Found:
    """What was found in a cube.

    Attributes:
        shapes: of the sources, the most significant first.
        spectra: flux of each source in each channel with its error, Jy.
        spectral_fits: continuum and lines of each source; None of a cube with one channel.
        integrated: the sum of all channels.
        fluxes: of each source in the mean of all channels, with their errors, Jy, (source,) each.
        shape_errors: what the uncertain shape adds to the error of any flux of the source, relative to it, (source,).
        residual: of the sum of all channels, (ny, nx), Jy/beam.
        proposal: the network's first look at the sum of all channels.
        flags: what makes each source doubtful.
        field_flags: what makes the whole field doubtful.
    """

    shapes: Shapes
    spectra: Spectra
    spectral_fits: tuple[SpectralFit, ...] | None
    integrated: Plane
    fluxes: tuple[NDArray[np.floating], NDArray[np.floating]]
    shape_errors: NDArray[np.floating]
    residual: NDArray[np.floating]
    proposal: Proposal
    flags: tuple[tuple[str, ...], ...]
    field_flags: tuple[str, ...]

    def __len__(self) -> int:
        """How many sources."""
        return len(self.shapes)


def find_sources(cube: DirtyCube, networks: Networks, progress: Callable[[str], None] = lambda stage: None) -> Found:
    """Return the sources of a cube.

    Args:
        cube: dirty, with PSF and noise.
        networks: trained.
        progress: is told each stage as it begins.

    Raises:
        ValueError: the image is smaller than the network can judge.
    """
    last = len(cube.dirty) - 1
    progress("integrate")
    integrated = cube.integrated()
    progress("Blobs Finder")
    found = find_in_plane(integrated, networks.images)
    shapes = Shapes.of_plane(found, 0, last)
    if last:
        progress("spectra and lines")
        first_fits = _lines(_spectra(cube, shapes), networks.lines)
        progress("focus and deblending")
        shapes = focus(cube, shapes, first_fits, networks.images)
    shapes = shapes.chosen(np.argsort(-shapes.snr))
    progress("characterisation")
    spectra = _spectra(cube, shapes)
    fits = _lines(spectra, networks.lines) if last else None
    fluxes, shape_errors = _fluxes(spectra, shapes)
    residual = integrated.residual(replace(shapes.gaussians, flux=fluxes[0]).image(integrated.dirty.shape))
    return Found(
        shapes,
        spectra,
        fits,
        integrated,
        fluxes,
        shape_errors,
        residual,
        found.first_look.proposal,
        tuple(source_flags(integrated, shapes.gaussians, shapes.at_bound, residual, found.first_look)),
        field_flags(integrated, residual, found.first_look),
    )


def focus(cube: DirtyCube, shapes: Shapes, fits: Sequence[SpectralFit], network: ImageNetwork) -> Shapes:
    """Look at the channels of each line alone: shapes are taken where they are seen better, and new sources added.

    Args:
        cube: dirty.
        shapes: of the sum of all channels.
        fits: lines of each of these sources.
        network: for images.
    """
    for first, last in line_ranges(fits):
        channels = np.arange(len(cube.dirty))
        plane = cube.integrated(np.where((channels >= first) & (channels <= last), 1.0, 0.0))
        found = find_in_plane(plane, network, shapes.gaussians, FOCUS_PROBABILITIES)
        here = Shapes.of_plane(found, first, last)
        again = found.origin >= 0
        shapes = _with_better(shapes, here.chosen(again), found.origin[again])
        new = here.chosen(~again)
        apart = new.gaussians.distances(shapes.gaussians) > SEPARATE * cube.beam.mean
        shapes = Shapes.concatenated(shapes, new.chosen(apart))
    return shapes


def line_ranges(fits: Sequence[SpectralFit]) -> list[tuple[int, int]]:
    """Return the channels of all lines, first and last, inclusive; those that share half of the shorter are one."""
    ranges: list[tuple[int, int]] = []
    for first, last in sorted((line.first, line.last) for fit in fits for line in fit.lines):
        if ranges:
            low, high = ranges[-1]
            shared = min(high, last) - max(low, first) + 1
            if shared >= 0.5 * min(high - low + 1, last - first + 1):
                ranges[-1] = (min(low, first), max(high, last))
                continue
        ranges.append((first, last))
    return ranges


def _with_better(shapes: Shapes, here: Shapes, origin: NDArray[np.intp]) -> Shapes:
    """Return the shapes with those in their places that are seen better elsewhere."""
    better = here.snr > BETTER * shapes.snr[origin]
    order = np.arange(len(shapes))
    order[origin[better]] = len(shapes) + np.flatnonzero(better)
    network = shapes.network[origin]
    kept = replace(here, network=network, probability=probability(network, here.delta_chi2))
    return Shapes.concatenated(shapes, kept).chosen(order)


def _fluxes(
    spectra: Spectra, shapes: Shapes
) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]:
    """Return the mean fluxes with their errors, and what the shapes add to the relative error of any flux.

    Errors of spectra are those of known shapes. The fit has the error of the flux where the shape is as uncertain as it
    is, in the channels where the source was fitted.
    """
    flux, error = spectra.mean()
    relative = np.zeros(len(shapes))
    for number, (first, last) in enumerate(shapes.channels):
        known = 1 / np.sqrt(np.sum(spectra.error[number, first : last + 1] ** -2.0))
        added = np.maximum(shapes.errors.flux[number] ** 2 - known**2, 0)
        relative[number] = np.sqrt(added) / shapes.gaussians.flux[number]
    return (flux, np.hypot(error, relative * flux)), relative


def _spectra(cube: DirtyCube, shapes: Shapes) -> Spectra:
    return source_spectra(shapes.gaussians, cube.dirty, cube.psf, cube.noise)


def _lines(spectra: Spectra, network: LineNetwork) -> tuple[SpectralFit, ...]:
    return tuple(find_lines(flux, error, network) for flux, error in zip(spectra.flux, spectra.error, strict=True))
