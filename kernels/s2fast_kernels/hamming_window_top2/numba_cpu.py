"""`hamming_window_top2` on the CPU: train rows are sorted into a grid, and each query searches the cells in reach."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from s2fast_kernels.compiled import njit
from s2fast_kernels.features import WORDS
from s2fast_kernels.hamming_top2.reference import Top2

if TYPE_CHECKING:
    import numpy.typing as npt

NO_KEY = (1 << 63) - 1
"""Larger than every ``distance << 32 | row``."""

_PART = 256
"""Number of rows whose positions are tested before the near ones are compared."""

_CHUNK = 64
"""Queries per task of a thread; they share the buffer for the list of near rows."""


@intrinsic
def popcount(_typing: Any, word: Any) -> Any:
    """Return the number of set bits of a uint64."""

    def emit(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        return _call(builder, "llvm.ctpop.i64", context.get_value_type(signature.args[0]), *operands)

    return types.int64(word), emit


@intrinsic
def distance(_typing: Any, query: Any, query_at: Any, train: Any, train_at: Any) -> Any:
    """Return the Hamming distance of a row of one C-contiguous (n, 8) uint64 array to a row of another [bits].

    The bits of all words are counted at once where the processor does so, by table lookups with AVX2, and word by word
    elsewhere.
    """

    def emit(context: Any, builder: Any, signature: Any, operands: Any) -> Any:
        word = ir.IntType(64)
        words = ir.VectorType(word, WORDS)
        rows = []
        for array_type, array, at in zip(signature.args[::2], operands[::2], operands[1::2], strict=True):
            data = context.make_array(array_type)(context, builder, array).data
            rows.append(builder.gep(builder.bitcast(data, words.as_pointer()), [at]))

        def differing(part: ir.Type, number: int) -> Any:
            """Return the differing bits of a part of the rows."""
            at = [builder.gep(builder.bitcast(row, part.as_pointer()), [word(number)]) for row in rows]
            return builder.xor(*(builder.load(address, align=8) for address in at))

        has = context.codegen().magic_tuple()[2].split(",")
        if "+avx512vpopcntdq" in has:
            counts = _call(builder, f"llvm.ctpop.v{WORDS}i64", words, differing(words, 0))
            return _call(builder, f"llvm.vector.reduce.add.v{WORDS}i64", word, counts)
        if "+avx2" in has:
            half = ir.VectorType(word, WORDS // 2)
            return _bits_by_table(builder, [differing(half, number) for number in range(2)])
        each = [_call(builder, "llvm.ctpop.i64", word, differing(word, number)) for number in range(WORDS)]
        return functools.reduce(builder.add, each)

    return types.int64(query, query_at, train, train_at), emit


def _bits_by_table(builder: Any, parts: Sequence[ir.Value]) -> ir.Value:
    """Return the number of set bits of vectors of four words: each half of a byte is looked up in a table."""
    words, octets = ir.VectorType(ir.IntType(64), 4), ir.VectorType(ir.IntType(8), 32)
    table, low = (
        ir.Constant(octets, values) for values in (2 * [bin(half).count("1") for half in range(16)], [15] * 32)
    )
    counts = [
        _call(builder, "llvm.x86.avx2.pshuf.b", octets, table, builder.and_(builder.bitcast(half, octets), low))
        for part in parts
        for half in (part, builder.lshr(part, ir.Constant(words, [4] * 4)))
    ]
    sums = _call(builder, "llvm.x86.avx2.psad.bw", words, functools.reduce(builder.add, counts), octets([0] * 32))
    return _call(builder, "llvm.vector.reduce.add.v4i64", ir.IntType(64), sums)


def _call(builder: Any, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
    """Call an LLVM intrinsic."""
    function_type = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), operands)


def _grid(
    extent: npt.NDArray[np.float64], rows: int, radius: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return (2,) cell sizes and (2,) cell counts for the (2,) extent of the train rows.

    Cells are as large as the radius, or larger if there would be more cells than about four times the rows.
    """
    most = 2 * int(np.ceil(np.sqrt(rows)))
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.where(extent > 0, extent / radius, 1.0)
    counts = np.clip(wanted, 1, most).astype(np.int64)
    return np.where(extent > 0, extent, 1.0) / counts, counts


@njit()
def _cell_of(position: float, origin: float, size: float, count: int) -> int:
    """Return the cell of a position along one axis, or the nearest cell if it is outside; monotonic in the position."""
    cell = (position - origin) / size
    return int(min(max(cell, 0.0), count - 1.0))


@njit("(f8[:, ::1], f8[::1], f8[::1], i8[::1])")
def _sort_into_cells(
    train_xy: npt.NDArray[np.float64],
    origin: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sort rows by cell, in row-major order: return (cells + 1,) starts of the cells and (m,) sorted row numbers."""
    cells = np.empty(len(train_xy), np.int64)
    starts = np.zeros(counts[0] * counts[1] + 1, np.int64)
    for row in range(len(train_xy)):
        x = _cell_of(train_xy[row, 0], origin[0], size[0], counts[0])
        y = _cell_of(train_xy[row, 1], origin[1], size[1], counts[1])
        cells[row] = y * counts[0] + x
        starts[cells[row] + 1] += 1
    starts = np.cumsum(starts)
    order = np.empty(len(train_xy), np.int64)
    free = starts[:-1].copy()
    for row in range(len(train_xy)):
        order[free[cells[row]]] = row
        free[cells[row]] += 1
    return starts, order


@njit(
    "(u8[:, ::1], f8[:, ::1], u8[:, ::1], f8[:, ::1], i8[::1], i8[::1],"
    " Tuple((f8[::1], f8[::1], i8[::1])), f8, f8, Tuple((i4[:, ::1], u2[:, ::1], u2[:, ::1])))",
    parallel=True,
    nogil=True,
)
def _search(
    query: npt.NDArray[np.uint64],
    query_xy: npt.NDArray[np.float64],
    train: npt.NDArray[np.uint64],
    train_xy: npt.NDArray[np.float64],
    order: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    grid: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]],
    radius: float,
    reach: float,
    result: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.uint16]],
) -> None:
    """Search the cells within reach of every query; train and train_xy are sorted by cell."""
    origin, size, counts = grid
    index, best_out, second_out = result
    for chunk in numba.prange(-(-len(query) // _CHUNK)):
        listed = np.empty(_PART, np.int64)
        for row in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(query))):
            x, y = query_xy[row, 0], query_xy[row, 1]
            first = _cell_of(x - reach, origin[0], size[0], counts[0])
            last = _cell_of(x + reach, origin[0], size[0], counts[0])
            best, second = NO_KEY, NO_KEY
            for cell_y in range(
                _cell_of(y - reach, origin[1], size[1], counts[1]),
                _cell_of(y + reach, origin[1], size[1], counts[1]) + 1,
            ):
                # Neighbouring cells of one row of the grid are contiguous.
                start, stop = starts[cell_y * counts[0] + first], starts[cell_y * counts[0] + last + 1]
                for part in range(start, stop, _PART):
                    # Branch prediction would often fail here: list the near rows without a branch, then compare them.
                    near = 0
                    for at in range(part, min(part + _PART, stop)):
                        dx, dy = train_xy[at, 0] - x, train_xy[at, 1] - y
                        listed[near] = at
                        near += dx * dx + dy * dy <= radius * radius
                    for i in range(near):
                        at = listed[i]
                        key = distance(query, row, train, at) << 32 | order[at]
                        second = min(second, max(best, key))
                        best = min(best, key)
            if best != NO_KEY:
                index[row, 0] = best & 0xFFFFFFFF
                best_out[row, 0] = best >> 32
            if second != NO_KEY:
                second_out[row, 0] = second >> 32


def hamming_window_top2(
    query: npt.NDArray[np.uint64],
    query_xy: npt.NDArray[np.float64],
    train: npt.NDArray[np.uint64],
    train_xy: npt.NDArray[np.float64],
    radius: float,
) -> Top2:
    """Search the cells near each query; see the package for the contract."""
    result = Top2.empty(len(query), 1)
    if len(query) == 0 or len(train) == 0:
        return result
    # Reduce column by column: NumPy is twenty times slower along the long axis of a narrow array.
    origin = np.array([axis.min() for axis in train_xy.T])
    end = np.array([axis.max() for axis in train_xy.T])
    size, counts = _grid(end - origin, len(train_xy), radius)
    starts, order = _sort_into_cells(train_xy, origin, size, counts)
    # A row within the radius as computed may be slightly farther, due to rounding; its cell must be searched too.
    largest = max(np.abs(train_xy).max(), np.abs(query_xy).max(), radius)
    reach = radius + 8 * float(np.spacing(largest))
    _search(
        query,
        query_xy,
        train[order],
        train_xy[order],
        order,
        starts,
        (origin, size, counts),
        radius,
        reach,
        (result.index, result.best, result.second),
    )
    return result
