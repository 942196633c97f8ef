"""List the rows near a query, several at a time and without a branch, with vectors of AVX-512 or AVX2."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from s2fast_kernels.hamming_top2.paths import features

ROWS = 8 if "+avx512f" in features() else 4 if "+avx2" in features() else 0
"""Number of rows tested at once: float64 lanes of a vector; 0: other processors have no instruction that packs them."""

_INDEX, _FLOAT, _HALF = ir.IntType(64), ir.DoubleType(), ir.IntType(32)
_INDICES, _FLOATS = (ir.VectorType(element, max(1, ROWS)) for element in (_INDEX, _FLOAT))

_PACKING = [
    ir.Constant(
        ir.VectorType(_HALF, 8), [2 * lane + half for lane in (*lanes, *(4 - len(lanes)) * (0,)) for half in (0, 1)]
    )
    for lanes in (tuple(lane for lane in range(4) if bits >> lane & 1) for bits in range(16))
]
"""For every set of four lanes, the halves of those that are in it, first."""


@intrinsic
def list_near(
    _typing: Any, x: Any, y: Any, first: Any, end: Any, query: Any, place: Any, limit: Any, near: Any, count: Any
) -> Any:
    """Append those of up to `ROWS` rows to a list that are near a query; return how many, and where the rows lie.

    Parameters
    ----------
    x, y : (m,) float64
        Positions of the rows, ascending in x.
    first, end : uint64
        The rows from `first`; those from `end` on are not tested, but read: ``first + ROWS`` is at most m.
    query : uint64
        Number of the query.
    place : tuple of float64
        Its position x, y.
    limit : float64
        Greatest square of the distance of near rows.
    near : (n,) uint64
        The list, of ``query << 32 | row``; it is written up to ``count + ROWS``.
    count : uint64
        Its length.

    Returns
    -------
    uint64
        Number of near rows; 256 times the number of rows too far left, which come first; and 65536 if the rows after
        these are too far right, or none are left.
    """

    def emit(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        if not ROWS:  # the function that calls this must compile, but is not called
            return _INDEX(0)
        x, y, first, end, query, place, limit, near, count = operands

        def repeated(value: Any, vector: ir.VectorType) -> Any:
            single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
            return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(ir.IntType(32), ROWS), None))

        def address(array_type: Any, array: Any, at: Any, vector: ir.VectorType) -> Any:
            data = context.make_array(array_type)(context, builder, array).data
            return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())

        def call(name: str, result: ir.Type, *given: Any) -> Any:
            function_type = ir.FunctionType(result, [value.type for value in given])
            return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), given)

        def word(bits: Any) -> Any:
            return builder.zext(builder.bitcast(bits, ir.IntType(ROWS)), _INDEX)

        def number(bits: Any) -> Any:
            """Return how many bits are set."""
            return call("llvm.ctpop.i64", _INDEX, word(bits))

        def packed(values: Any, bits: Any) -> Any:
            """Return the values whose bit is set, then any others."""
            if ROWS == 8:
                return call(
                    "llvm.x86.avx512.mask.compress.v8i64", _INDICES, values, ir.Constant(_INDICES, [0] * 8), bits
                )
            halves = ir.VectorType(_HALF, 8)
            table = cgutils.global_constant(builder, "s2fast_packing", ir.Constant(ir.ArrayType(halves, 16), _PACKING))
            order = builder.load(builder.gep(table, [_INDEX(0), word(bits)]))
            moved = call("llvm.x86.avx2.permd", halves, builder.bitcast(values, halves), order)
            return builder.bitcast(moved, _INDICES)

        off = [
            builder.fsub(
                builder.load(address(kind, array, first, _FLOATS), align=8),
                repeated(builder.extract_value(place, axis), _FLOATS),
            )
            for axis, (kind, array) in enumerate(zip(signature.args[:2], (x, y), strict=True))
        ]
        across, down = (builder.fmul(part, part) for part in off)
        rows = builder.add(repeated(first, _INDICES), ir.Constant(_INDICES, list(range(ROWS))))
        given = builder.icmp_signed("<", rows, repeated(end, _INDICES))
        most = repeated(limit, _FLOATS)
        # The comparisons of the sweep by single rows, so that rounding decides alike.
        far = builder.and_(given, builder.fcmp_ordered(">", across, most))
        left = builder.and_(far, builder.fcmp_ordered("<", off[0], ir.Constant(_FLOATS, [0.0] * ROWS)))
        within = builder.and_(given, builder.fcmp_ordered("<=", builder.fadd(across, down), most))

        listed = builder.or_(rows, repeated(builder.shl(query, _INDEX(32)), _INDICES))
        builder.store(packed(listed, within), address(signature.args[7], near, count, _INDICES), align=8)

        too_far_left = number(left)
        ends = builder.or_(
            builder.icmp_unsigned("!=", number(far), too_far_left),
            builder.icmp_unsigned("<=", builder.sub(end, first), _INDEX(ROWS)),
        )
        found = builder.or_(number(within), builder.shl(too_far_left, _INDEX(8)))
        return builder.or_(found, builder.shl(builder.zext(ends, _INDEX), _INDEX(16)))

    return types.uint64(x, y, first, end, query, place, limit, near, count), emit
