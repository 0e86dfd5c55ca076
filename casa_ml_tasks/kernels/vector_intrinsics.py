"""Vectors of the processor for numba: what the compiler does not find by itself in loops over a patch of the uv grid.

All vectors have LANES real lanes. A vector of the grid is LANES/2 neighbouring cells, real and imaginary parts
interleaved; a vector of the kernel is the taps along one axis, then the taps along the other. Sizes that the compiler
must know travel as `unroll = (taps, powers)`, two tuples of which only the lengths matter.
"""

# mypy: disable-error-code="no-untyped-def, call-arg, var-annotated"

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import intrinsic, register_model

LANES = 16
HALF = LANES // 2

_LLVM = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_ALIGNMENT = {types.float32: 4, types.float64: 8}
_FAST = ("fast",)  # reassociate and contract to fused multiply-adds


class Vector(types.Type):
    """LANES numbers of one real type in registers."""

    def __init__(self, real: types.Type):
        self.real = real
        super().__init__(name=f"Vector({real}, {LANES})")


@register_model(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector):
        super().__init__(manager, vector, ir.VectorType(_LLVM[vector.real], LANES))


def _real(array: types.Array) -> types.Type:
    return getattr(array.dtype, "underlying_float", array.dtype)


def _lengths(unroll: Any) -> tuple[int, int]:
    return tuple(part.count for part in unroll)


def _pointer(context: Any, builder: Any, array: types.Array, value: Any, index: Any, lanes: int) -> Any:
    """Return a pointer to `lanes` reals of an array, from the real with this index."""
    real = _LLVM[_real(array)]
    data = builder.bitcast(cgutils.create_struct_proxy(array)(context, builder, value).data, real.as_pointer())
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(real, lanes).as_pointer())


def _shuffle(builder: Any, vector: Any, lanes: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _times(builder: Any, index: Any, factor: int) -> Any:
    return builder.mul(index, ir.Constant(index.type, factor))


def _rows(builder: Any, offset: Any, stride: Any, count: int) -> list[Any]:
    """Return the indices, in reals, of the rows of a patch that begins at a complex cell of the grid."""
    cells = [builder.add(offset, _times(builder, stride, row)) for row in range(count)]
    return [_times(builder, cell, 2) for cell in cells]


def _align_stack(builder: Any) -> None:
    """Make the function align its stack: registers that spill across cache lines take up to twice the time.

    An aligned variable does it, which the assembler (an empty instruction) claims to use.
    """
    variable = cgutils.alloca_once(builder, ir.VectorType(ir.IntType(64), 8))
    variable.align = 64
    claim = ir.FunctionType(ir.VoidType(), [variable.type])
    builder.asm(claim, "", "r", [variable], side_effect=True)


@intrinsic
def load_patch(typing_context, grid, offset, stride, unroll):
    """Return the rows of the patch of the grid at `offset`, a tuple of Vectors."""
    support, _ = _lengths(unroll)
    patch = types.UniTuple(Vector(_real(grid)), support)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers = [
            _pointer(context, builder, grid, arguments[0], row, LANES)
            for row in _rows(builder, arguments[1], arguments[2], support)
        ]
        _align_stack(builder)
        loaded = [builder.load(pointer, align=_ALIGNMENT[_real(grid)]) for pointer in pointers]
        return context.make_tuple(builder, patch, loaded)

    return patch(grid, types.intp, types.intp, unroll), generate


@intrinsic
def add_patch(typing_context, grid, offset, stride, patch, unroll):
    """Add the rows of a patch to the grid at `offset`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = cgutils.unpack_tuple(builder, arguments[3])
        for index, row in zip(_rows(builder, arguments[1], arguments[2], len(rows)), rows, strict=True):
            pointer = _pointer(context, builder, grid, arguments[0], index, LANES)
            before = builder.load(pointer, align=_ALIGNMENT[_real(grid)])
            builder.store(builder.fadd(before, row, flags=_FAST), pointer, align=_ALIGNMENT[_real(grid)])
        return context.get_dummy_value()

    return types.void(grid, types.intp, types.intp, patch, unroll), generate


@intrinsic
def empty_patch(typing_context, grid, unroll):
    """Return a patch of zeros."""
    support, _ = _lengths(unroll)
    patch = types.UniTuple(Vector(_real(grid)), support)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _align_stack(builder)
        zero = ir.Constant(ir.VectorType(_LLVM[_real(grid)], LANES), [0.0] * LANES)
        return context.make_tuple(builder, patch, [zero] * support)

    return patch(grid, unroll), generate


@intrinsic
def kernel_values(typing_context, coefficients, position, index, unroll):
    """Return the kernel's taps around a visibility by Horner's rule, along rows and columns at once.

    coefficients: (powers, LANES), flat; position: (row, column) of all visibilities, flat; index: of this one.
    """
    real = _real(position)
    vector = Vector(real)
    _, powers = _lengths(unroll)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pair = _times(builder, arguments[2], 2)
        pointer = _pointer(context, builder, position, arguments[1], pair, 2)
        t = _shuffle(builder, builder.load(pointer, align=_ALIGNMENT[real]), [0] * HALF + [1] * HALF)
        total = None
        for power in range(powers):
            index = ir.Constant(ir.IntType(64), power * LANES)
            pointer = _pointer(context, builder, coefficients, arguments[0], index, LANES)
            coefficient = builder.load(pointer, align=_ALIGNMENT[real])
            product = None if total is None else builder.fmul(total, t, flags=_FAST)
            total = coefficient if product is None else builder.fadd(product, coefficient, flags=_FAST)
        return total

    return vector(coefficients, position, types.intp, unroll), generate


@intrinsic
def weighted_sum(typing_context, patch, kernel):
    r"""Return the visibility $\sum_{rc} \phi_r \phi_c G_{rc}$ as a pair (real, imaginary)."""
    pair = types.UniTuple(kernel.real, 2)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kernel = arguments[1]
        partial: list[Any] = []
        for row, cells in enumerate(cgutils.unpack_tuple(builder, arguments[0])):
            product = builder.fmul(_shuffle(builder, kernel, [row] * LANES), cells, flags=_FAST)
            if row < 2:  # two chains of sums, so that the processor need not wait for the last
                partial.append(product)
            else:
                partial[row % 2] = builder.fadd(partial[row % 2], product, flags=_FAST)
        total = builder.fadd(*partial, flags=_FAST)
        total = builder.fmul(total, _shuffle(builder, kernel, _COLUMN_TAPS), flags=_FAST)
        for lanes in (LANES // 2, LANES // 4, LANES // 8):
            upper = _shuffle(builder, total, range(lanes, 2 * lanes))
            total = builder.fadd(_shuffle(builder, total, range(lanes)), upper, flags=_FAST)
        parts = [builder.extract_element(total, ir.Constant(ir.IntType(32), part)) for part in range(2)]
        return context.make_tuple(builder, pair, parts)

    return pair(patch, kernel), generate


@intrinsic
def add_outer_product(typing_context, patch, kernel, real, imaginary):
    r"""Return the patch with $\phi_r \phi_c V$ added to every cell: the adjoint of `weighted_sum`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kernel = arguments[1]
        visibility = ir.Constant(kernel.type, ir.Undefined)
        for part in range(2):
            visibility = builder.insert_element(visibility, arguments[2 + part], ir.Constant(ir.IntType(32), part))
        along_row = builder.fmul(
            _shuffle(builder, visibility, [0, 1] * HALF), _shuffle(builder, kernel, _COLUMN_TAPS), flags=_FAST
        )
        rows = [
            builder.fadd(
                cells, builder.fmul(_shuffle(builder, kernel, [row] * LANES), along_row, flags=_FAST), flags=_FAST
            )
            for row, cells in enumerate(cgutils.unpack_tuple(builder, arguments[0]))
        ]
        return context.make_tuple(builder, patch, rows)

    return patch(patch, kernel, kernel.real, kernel.real), generate


_COLUMN_TAPS = [HALF + lane // 2 for lane in range(LANES)]  # each tap for a real and an imaginary part
