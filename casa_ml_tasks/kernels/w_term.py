r"""The operator with its w-term, exp(2 pi i w (n - 1)), to a requested accuracy, in the cheaper of two ways.

A short sum of flat operators (`w_expansion`) where the largest phase is some radians, planes of w (`w_stacking`) where
it is large.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from casa_ml_tasks.kernels.fourier_operator import FlatOperator, FourierOperator, covering_grid
from casa_ml_tasks.kernels.gridding_kernel import (
    OVERSAMPLINGS,
    PIXEL_COST,
    SUPPORTS,
    GriddingKernel,
    choose_kernel,
    expected_error,
    kaiser_bessel,
)
from casa_ml_tasks.kernels.prolate import prolate_terms
from casa_ml_tasks.kernels.threads import available_cores
from casa_ml_tasks.kernels.uv_grid import UVGrid
from casa_ml_tasks.kernels.uv_plan import UVPlan
from casa_ml_tasks.kernels.w_expansion import ExpandedOperator, expanded_operator
from casa_ml_tasks.kernels.w_stacking import StackedOperator, stacked_operator

#: Shares of the tolerance; the squares of the errors in uv and w add.
SHARE_OF_UV, SHARE_OF_W = 0.8, 0.5
TERM_COST = 3  # of a visibility's or a pixel's factor, in kernel rows
COMPLEX_COST = 3  # of a plane's complex image, in FFTs of real ones
ROW_COST = 12  # of one visibility on one plane, in kernel rows
MOST_TERMS = 64

MeasurementOperator = FlatOperator | ExpandedOperator | StackedOperator


def wide_field_operator(
    uvw: NDArray[np.float64],
    wavenumber: ArrayLike,
    shape: tuple[int, int],
    cell: float,
    tolerance: float = 1e-5,
    precision: DTypeLike = np.float32,
    usable: NDArray[np.bool_] | None = None,
    threads: int = 0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> MeasurementOperator:
    """Plan the operator with its w-term: none where it is within the tolerance, else the cheaper of two ways.

    Arguments, order of visibilities and errors are those of `fourier_operator`; ValueError also where w is not finite
    or the image reaches beyond the celestial sphere. Of an image whose middle has an offset, direction cosines l and m,
    from the direction that w is measured along, the baselines have to be `pointing_view.turned_baselines`.
    """
    uvw = np.asarray(uvw, np.float64)
    wavenumber = np.atleast_1d(np.asarray(wavenumber, np.float64))
    usable = np.ones((len(uvw), wavenumber.size), bool) if usable is None else usable
    threads = threads or available_cores()
    count, pixels = int(np.count_nonzero(usable)), shape[0] * shape[1]
    with np.errstate(invalid="ignore"):
        lengths = np.abs(uvw[:, 2]) * np.where(usable, wavenumber, 0).max(axis=1)
    longest = float(np.max(lengths, where=usable.any(axis=1), initial=0))
    if not np.isfinite(longest):
        raise ValueError("w of usable rows is NaN or infinite")
    x, centre, radius = _n_minus_one(shape, cell, offset)

    def gridded(kernel: GriddingKernel) -> UVGrid:
        return covering_grid(uvw, wavenumber, shape, cell, kernel, precision, usable)

    largest_phase = 2 * np.pi * longest * radius
    kernel = choose_kernel(SHARE_OF_UV * tolerance, np.dtype(precision), count, pixels)
    w_kernel, planes = _w_kernel(longest * radius, SHARE_OF_W * tolerance, count, pixels)
    visits, images = count * w_kernel.support, pixels * planes * COMPLEX_COST
    plane_kernel = choose_kernel(SHARE_OF_UV * tolerance, np.dtype(precision), visits, images)
    term_cost = kernel.cost(count, pixels) + TERM_COST * (count + pixels)
    affordable = plane_kernel.cost(visits, images) / term_cost
    if 2 / np.pi * largest_phase < min(affordable, MOST_TERMS):
        terms = prolate_terms(largest_phase, SHARE_OF_W * tolerance)
        if len(terms) <= affordable:
            uvgrid = gridded(kernel)
            flat = FourierOperator(UVPlan.make(uvw, wavenumber, usable, uvgrid, threads), uvgrid, threads)
            if len(terms) == 1:
                return flat
            return expanded_operator(flat, uvw, wavenumber, x / radius, centre, longest, terms)
    return stacked_operator(uvw, wavenumber, usable, gridded(plane_kernel), w_kernel, x, centre, radius, threads)


def _n_minus_one(
    shape: tuple[int, int], cell: float, offset: tuple[float, float]
) -> tuple[NDArray[np.float64], float, float]:
    """Return x = n - 1 - c over the image, (ny, nx), its centre c and its largest modulus R.

    About an offset, n - 1 is less its value and its gradient there: n is concave, so that it is not above 0.
    """
    (l0, m0), (ny, nx) = offset, shape
    l, m = -(np.arange(nx) - nx // 2) * cell, (np.arange(ny) - ny // 2)[:, None] * cell  # noqa: E741
    squared, at_offset = (l0 + l) ** 2 + (m0 + m) ** 2, l0**2 + m0**2
    if squared.max() >= 1:
        raise ValueError(f"an image of {shape} pixels of {cell:.3g} radians reaches beyond the celestial sphere")
    n_minus_one = _n_minus_one_at(squared) - _n_minus_one_at(at_offset) + (l0 * l + m0 * m) / np.sqrt(1 - at_offset)
    centre = float(n_minus_one.min() / 2)
    return n_minus_one - centre, centre, -centre


def _n_minus_one_at(squared: ArrayLike) -> NDArray[np.float64]:
    """Return n - 1 where l^2 + m^2 is given."""
    return -np.asarray(squared) / (1 + np.sqrt(1 - np.asarray(squared)))


def _w_kernel(extent: float, tolerance: float, count: int, pixels: int) -> tuple[GriddingKernel, int]:
    """Return the cheapest kernel along w, and the number of planes. extent: largest |w| times R, turns."""

    def planes(choice: tuple[int, float]) -> int:
        support, oversampling = choice
        return int(np.ceil(4 * extent * oversampling)) + support

    choices = [(W, s) for W in SUPPORTS for s in OVERSAMPLINGS if expected_error(W, s) <= tolerance]
    if not choices:
        choices = [(max(SUPPORTS), max(OVERSAMPLINGS))]

    def cost(choice: tuple[int, float]) -> float:
        return choice[0] * count * ROW_COST + planes(choice) * pixels * PIXEL_COST * COMPLEX_COST

    best = min(choices, key=cost)
    return kaiser_bessel(*best, tolerance), planes(best)
