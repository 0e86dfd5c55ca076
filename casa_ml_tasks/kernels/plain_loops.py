"""The loops of `patch_loops`, argument for argument, without vector intrinsics: for reading, and for comparison."""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"

from __future__ import annotations

import numpy as np

from casa_ml_tasks.kernels.compiled import compiled
from casa_ml_tasks.kernels.vector_intrinsics import HALF, LANES


@compiled
def _kernel_values(coefficients, position, k, taps):
    """Write LANES taps by Horner's rule: along rows in the first half, along columns in the second."""
    for lane in range(LANES):
        t = position[2 * k + lane // HALF]
        total = coefficients[lane]
        for power in range(LANES, coefficients.size, LANES):
            total = total * t + coefficients[power + lane]
        taps[lane] = total


@compiled
def _weighted_sum(grid, corner, stride, rows, taps):
    total = grid.dtype.type(0)
    for row in range(rows):
        for column in range(HALF):
            total += taps[row] * taps[HALF + column] * grid[corner + row * stride + column]
    return total


@compiled
def _add_outer_product(grid, corner, stride, rows, taps, visibility):
    for row in range(rows):
        for column in range(HALF):
            grid[corner + row * stride + column] += taps[row] * taps[HALF + column] * visibility


@compiled
def degrid(grid, stride, offset, cells, starts, first, last, position, coefficients, unroll, visibilities, accumulate):
    """Interpolate `visibilities` from the grid; add to what they hold if `accumulate`."""
    taps = np.empty(LANES, coefficients.dtype)
    for cell in range(first, last):
        for k in range(starts[cell], starts[cell + 1]):
            _kernel_values(coefficients, position, k, taps)
            value = _weighted_sum(grid, cells[cell] + offset, stride, len(unroll[0]), taps)
            visibilities[k] = visibilities[k] + value if accumulate else value


@compiled
def grid(grid, stride, offset, cells, starts, first, last, position, coefficients, unroll, visibilities):
    """Add `visibilities` to the grid."""
    taps = np.empty(LANES, coefficients.dtype)
    for cell in range(first, last):
        for k in range(starts[cell], starts[cell + 1]):
            _kernel_values(coefficients, position, k, taps)
            _add_outer_product(grid, cells[cell] + offset, stride, len(unroll[0]), taps, visibilities[k])
