"""How well interpolations predict the visibilities of a sky in another frame: `python -m benchmarks.frames`.

A sky in TAN pixels, turned by 20 degrees, becomes an image in SIN pixels of the same size. What interpolates brightness
needs a sky without detail between pixels; what renders each pixel as a point does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.measure import print_table
from casa_ml_tasks.kernels.reprojection import PointwiseSky
from casa_ml_tasks.simulation.direct_fourier import relative_error, visibilities_of

PIXELS, MARGIN = 64, 20
CELL = 1e-4  # radians
LONGEST = 0.25  # cycles a pixel
REPEATS = 10
BEAM = 4.0  # pixels, full width at half maximum


def main() -> None:
    """Print the table."""
    rng = np.random.default_rng(1)
    positions = _positions(np.indices((PIXELS, PIXELS)) - PIXELS / 2)
    uvw = np.zeros((200, 3))
    uvw[:, :2] = rng.uniform(-LONGEST, LONGEST, (200, 2)) / CELL
    y, x = (positions - PIXELS // 2 - MARGIN) * CELL
    phasor = np.exp(2j * np.pi * (np.multiply.outer(uvw[:, 1], y) - np.multiply.outer(uvw[:, 0], x)))
    window = np.multiply.outer(np.kaiser(PIXELS, 14), np.kaiser(PIXELS, 14))
    noise = rng.normal(size=(PIXELS, PIXELS))
    smooth = gaussian_filter(noise, BEAM / np.sqrt(8 * np.log(2))) * window
    skies = {f"beam of {BEAM:g} pixels": smooth, "noise in each pixel": noise * window}
    print_table(("weights", *skies, "[ms]"), _rows(positions, skies, uvw, phasor))


def _rows(
    positions: NDArray[np.float64],
    skies: dict[str, NDArray[np.float64]],
    uvw: NDArray[np.float64],
    phasor: NDArray[np.complex128],
) -> Iterator[list[str]]:
    for name, method in _methods(positions).items():
        found = [visibilities_of(method(sky), uvw, CELL) for sky in skies.values()]
        errors = [
            relative_error(each, np.tensordot(phasor, sky, 2)) for each, sky in zip(found, skies.values(), strict=True)
        ]
        start = time.perf_counter()
        for _ in range(REPEATS):
            method(next(iter(skies.values())))
        milliseconds = 1e3 * (time.perf_counter() - start) / REPEATS
        yield [name, *(f"{error:.1e}" for error in errors), f"{milliseconds:.1f}"]


def _positions(lags: NDArray[np.floating]) -> NDArray[np.float64]:
    """Where TAN pixels at some lags from the centre are in the image: turned, and nearer by the cosine."""
    angle = np.radians(20)
    turned = np.tensordot([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], lags, 1)
    return turned / np.sqrt(1 + CELL**2 * (turned**2).sum(axis=0)) + PIXELS // 2 + MARGIN


def _methods(positions: NDArray[np.float64]) -> dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    shape = (PIXELS + 2 * MARGIN, PIXELS + 2 * MARGIN)
    offset = np.indices(shape) - PIXELS // 2 - MARGIN
    squared = CELL**2 * (offset**2).sum(axis=0)
    angle = np.radians(20)
    tangent = offset / np.sqrt(1 - squared)
    back = np.tensordot([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], tangent, 1) + PIXELS / 2
    # Solid angles: cell^2 / n of the image over cell^2 n^3 of the sky, n the cosine of the distance from the centre.
    area = (1 - squared) ** -2

    def of_order(order: int, prefilter: bool) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        return lambda sky: area * map_coordinates(sky, back, order=order, mode="constant", prefilter=prefilter)

    def pointwise(tolerance: float) -> tuple[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
        reprojection = PointwiseSky.at(positions, shape, LONGEST, tolerance)
        width = reprojection.of_rows.shape[-1] // 2
        name = f"points, {width} x {width} for {tolerance:.0e}"
        return name, lambda sky: np.asarray(reprojection(jnp.asarray(sky)))

    return {
        "brightness, linear, 2 x 2": of_order(1, True),
        "brightness, cubic spline through all pixels": of_order(3, True),
        **dict(pointwise(tolerance) for tolerance in (1e-2, 1e-3, 1e-4, 1e-5)),
    }


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
