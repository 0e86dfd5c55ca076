"""Degridding and gridding, cell by cell of the uv grid.

Visibilities whose kernels cover the same patch of the grid are neighbours in memory. A patch is loaded into registers
once for all of them (degridding), or summed in registers and added to the grid once (gridding).

Common arguments: `grid` flat, complex, `stride` cells a row; `offset` of the part of the patch
that is visited; `cells` (cell,) where each patch begins; `starts`
(cell + 1,) its first visibility; `first` to `last` the cells of this call; `position` (2 visibilities,) the
visibility's distance to its patch, row and column in turn, in [-1, 1); `coefficients` and `unroll` as
`vector_intrinsics.kernel_values` wants them.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"

from __future__ import annotations

from casa_ml_tasks.kernels.compiled import compiled
from casa_ml_tasks.kernels.vector_intrinsics import (
    add_outer_product,
    add_patch,
    empty_patch,
    kernel_values,
    load_patch,
    weighted_sum,
)


@compiled
def degrid(grid, stride, offset, cells, starts, first, last, position, coefficients, unroll, visibilities, accumulate):
    """Interpolate `visibilities` from the grid; add to what they hold if `accumulate`."""
    for cell in range(first, last):
        patch = load_patch(grid, cells[cell] + offset, stride, unroll)
        for k in range(starts[cell], starts[cell + 1]):
            real, imaginary = weighted_sum(patch, kernel_values(coefficients, position, k, unroll))
            if accumulate:
                visibilities[k] += complex(real, imaginary)
            else:
                visibilities[k] = complex(real, imaginary)


@compiled
def grid(grid, stride, offset, cells, starts, first, last, position, coefficients, unroll, visibilities):
    """Add `visibilities` to the grid."""
    for cell in range(first, last):
        patch = empty_patch(grid, unroll)
        for k in range(starts[cell], starts[cell + 1]):
            kernel = kernel_values(coefficients, position, k, unroll)
            patch = add_outer_product(patch, kernel, visibilities[k].real, visibilities[k].imag)
        add_patch(grid, cells[cell] + offset, stride, patch, unroll)
