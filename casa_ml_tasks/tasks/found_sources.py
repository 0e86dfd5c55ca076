"""Find the sources of a dirty cube, and tell the user how far it is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from casatasks import casalog
from numpy.typing import NDArray
from tqdm import tqdm

from casa_ml_tasks.data.casa_image import Beam as SkyBeam
from casa_ml_tasks.data.image_axes import ImageAxes
from casa_ml_tasks.networks.network_grid import NetworkView
from casa_ml_tasks.networks.trained import load_image_network, load_line_network
from casa_ml_tasks.quantities import quantity
from casa_ml_tasks.sources.dirty_cube import Beam, DirtyCube
from casa_ml_tasks.sources.finder import Found, Networks, find_sources
from casa_ml_tasks.sources.products import model_cube
from casa_ml_tasks.sources.trust import LARGEST_NOISE_RATIO, robust_rms

STAGES = 5  # of a cube; an image has fewer
MOST_LOGGED = 20  # sources
#: Noise that is measured in the image anew changes what is found, as long as it falls by more than this factor.
SETTLED, MOST_TIMES = 1.05, 3


@cache
def networks_of(folder: str) -> Networks:
    """Return the trained networks of a folder, or of the package where it is ''.

    Raises:
        ValueError: weights are missing, damaged or of another architecture.
    """
    where = Path(folder) if folder else None
    return Networks(load_image_network(where), load_line_network(where))


def dirty_cube(
    dirty: NDArray[np.floating],
    psf: NDArray[np.floating],
    noise: NDArray[np.floating],
    beam: SkyBeam,
    axes: ImageAxes,
) -> DirtyCube:
    """Return a dirty cube as the finder takes it.

    Args:
        dirty: (channel, ny, nx), Jy/beam.
        psf: (channel or 1, 2 ny, 2 nx).
        noise: (channel,), Jy/beam; not finite where a channel has no data.
        beam: on the sky.
        axes: of the image.
    """
    has_data = np.isfinite(noise)
    ny, nx = dirty.shape[1:]
    return DirtyCube(
        np.where(has_data[:, None, None], dirty, 0).astype(np.float32),
        psf,
        np.where(has_data, noise, np.inf),
        in_pixels(beam, axes, (ny, nx)),
        axes.frequencies,
    )


def in_pixels(beam: SkyBeam, axes: ImageAxes, shape: tuple[int, int]) -> Beam:
    """Return a beam of the sky in the pixels in the middle of an image."""
    jacobian = axes.jacobians(shape[1] // 2, shape[0] // 2)[0]
    pixel = float(np.sqrt(abs(np.linalg.det(jacobian))))
    x, y = np.linalg.solve(jacobian, [np.sin(np.radians(beam.angle)), np.cos(np.radians(beam.angle))])
    return Beam(beam.major / pixel, beam.minor / pixel, float(np.arctan2(y, x)))


def check_size(cube: DirtyCube, networks: Networks) -> None:
    """Check that the image is large enough for the network.

    Raises:
        ValueError: it is not.
    """
    NetworkView(networks.images, cube.psf[0], cube.beam.mean)


def sources_of(cube: DirtyCube, networks: Networks, task: str) -> Found:
    """Return the sources; a bar and the CASA log tell how far it is and what there is."""
    with tqdm(desc="sources", total=STAGES, leave=False, disable=None) as bar:

        def show(stage: str) -> None:
            bar.set_postfix_str(stage)
            bar.update()

        found = find_sources(cube, networks, show)
    _log(found, task)
    return found


def sources_of_visibilities(cube: DirtyCube, networks: Networks, task: str) -> tuple[Found, DirtyCube]:
    """Return the sources of an image whose weights state its noise, and the cube with the noise that counts.

    Where the sources leave clearly more than the weights say, in all channels together, the noise of each channel is
    what they leave, and they are looked for again: a channel at the edge of the band may be ten times as noisy as its
    weights.
    """
    found = sources_of(cube, networks, task)
    if robust_rms(found.residual) < LARGEST_NOISE_RATIO * found.integrated.noise:
        return found, cube
    blank = np.isinf(cube.noise)
    noise = np.maximum(cube.noise, _measured(cube.residual(model_cube(found)), blank))
    ratio = np.where(blank, 1, noise / cube.noise)
    worst = int(np.argmax(ratio))
    flag = (
        f"the noise is {np.median(ratio[~blank]):.2f} times what the weights say, {ratio[worst]:.1f} times in channel "
        f"{worst}: errors of calibration and emission that is no Gaussian are counted as noise"
    )
    casalog.post(f"{flag}; the sources are looked for again", "INFO", task)
    again = replace(cube, noise=noise)
    found = sources_of(again, networks, task)
    return replace(found, field_flags=(flag, *found.field_flags)), again


def sources_and_noise(
    dirty: NDArray[np.floating],
    psf: NDArray[np.floating],
    blank: NDArray[np.bool_],
    beam: SkyBeam,
    axes: ImageAxes,
    networks: Networks,
    task: str,
) -> tuple[Found, DirtyCube, NDArray[np.float32]]:
    """Return the sources of an image whose noise is not known, with the cube and its residual.

    The noise of each channel is 1.4826 times the median absolute deviation: of the dirty image, and then of what the
    sources leave, until it falls no more. The residual is (channel, ny, nx), Jy/beam.

    Args:
        dirty, psf, beam, axes: as those of `dirty_cube`.
        blank: whether a channel has no data, (channel,).
        networks: trained.
        task: name in the log.
    """
    noise = _measured(dirty, blank)
    for _ in range(MOST_TIMES):
        cube = dirty_cube(dirty, psf, noise, beam, axes)
        found = sources_of(cube, networks, task)
        residual = cube.residual(model_cube(found))
        measured = _measured(residual, blank)
        fell = float(np.median(noise[~blank] / measured[~blank]))
        if fell < SETTLED:
            break
        noise = measured
        casalog.post(
            f"the noise is {quantity(float(np.median(noise[~blank])), 'Jy/beam')} without these sources, "
            f"{fell:.2f} times less than with them: they are looked for again",
            "INFO",
            task,
        )
    return found, cube, residual


def _measured(image: NDArray[np.floating], blank: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the noise of each channel, infinite where it is blank."""
    return np.array([np.inf if is_blank else robust_rms(each) for each, is_blank in zip(image, blank, strict=True)])


def _log(found: Found, task: str) -> None:
    lines = sum(len(fit.lines) for fit in found.spectral_fits or ())
    casalog.post(f"found {len(found)} sources, {lines} spectral lines", "INFO", task)
    shapes = found.shapes
    for number in range(min(len(found), MOST_LOGGED)):
        flux, error = found.fluxes[0][number], found.fluxes[1][number]
        casalog.post(
            f"source {number + 1} at pixel [{shapes.gaussians.x[number]:.1f}, {shapes.gaussians.y[number]:.1f}]: "
            f"{quantity(float(flux), 'Jy')} +- {quantity(float(error), 'Jy', 2)}, S/N {shapes.snr[number]:.1f}, "
            f"probability {shapes.probability[number]:.2f}"
            + (f", flags {', '.join(found.flags[number])}" if found.flags[number] else ""),
            "INFO",
            task,
        )
    if len(found) > MOST_LOGGED:
        casalog.post(f"and {len(found) - MOST_LOGGED} fainter ones, see the catalogue", "INFO", task)
