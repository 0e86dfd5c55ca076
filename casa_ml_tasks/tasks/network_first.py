"""The network for images before another minor cycle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from casa_ml_tasks.engine.protocols import Image, MinorCycle
from casa_ml_tasks.minor.deepfocus.minor_cycle import NetworkFirst
from casa_ml_tasks.minor.deepfocus.proposed_steps import Proposes
from casa_ml_tasks.networks.image_network import ImageNetwork
from casa_ml_tasks.networks.network_grid import NetworkView


def network_first(
    psf: Image,
    areas: NDArray[np.floating],
    noise: NDArray[np.floating],
    finishing: Callable[[Image], MinorCycle],
    positive: NDArray[np.bool_],
    support: Callable[[], NDArray[np.bool_]],
    network: ImageNetwork,
) -> NetworkFirst:
    """Return the minor cycle that begins with the network and is finished by another.

    Args:
        psf: of one pointing, (channel, stokes, 2 ny, 2 nx), Jy/beam.
        areas: solid angles of the CLEAN beams, (channel,), pixels.
        noise: of the dirty images, (channel, stokes), Jy/beam.
        finishing: makes the minor cycle that goes on, as `NetworkFirst` has it.
        positive: whether the model of each Stokes plane is kept from being negative, (stokes,).
        support: tells where the model may differ from zero, (channel, stokes, ny, nx).
        network: trained.

    Raises:
        ValueError: the image is too small for the network.
    """
    beams = beam_widths(areas)

    def view(channel: int, stokes: int) -> Proposes:
        """Return the network's view of one plane."""
        seen = NetworkView(network, psf[channel, stokes], beams[channel])
        return lambda residual, model: seen(residual, model).model

    view(*widest_plane(psf, beams))  # raises what any other would
    return NetworkFirst(psf, noise, view, finishing, positive, support)


def beam_widths(areas: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the geometric means of the axes of Gaussian beams of these solid angles, FWHM, pixels."""
    return np.sqrt(4 * np.log(2) / np.pi * areas)


def widest_plane(psf: NDArray[np.floating], beams: NDArray[np.floating]) -> tuple[int, int]:
    """Return channel and Stokes plane of the widest beam, of those that have data."""
    has_data = psf.any(axis=(-2, -1))
    width = np.where(has_data, beams[:, None], 0.0)
    channel, stokes = np.unravel_index(int(width.argmax()), width.shape)
    return int(channel), int(stokes)
