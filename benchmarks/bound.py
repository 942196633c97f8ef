"""Upper bound of the search rate: only one XOR, one population count and one addition per 64 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    import numpy.typing as npt

WORDS = 8
ROWS = 32
"""Number of rows, one register each; they fit in the level-1 cache."""

_REGISTER = ir.VectorType(ir.IntType(64), WORDS)


@intrinsic
def _count_row(_typing: Any, rows: Any, row: Any, sums: Any) -> Any:
    """Add the population counts of rows[row] ^ rows[0 .. WORDS - 1] to WORDS accumulators: WORDS comparisons."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, operands: Any) -> ir.Value:
        pointers = []
        for at in (0, 2):
            data = context.make_array(signature.args[at])(context, builder, operands[at]).data
            pointers.append(builder.bitcast(data, _REGISTER.as_pointer()))
        count_type = ir.FunctionType(_REGISTER, [_REGISTER])
        count = cgutils.get_or_insert_function(builder.module, count_type, f"llvm.ctpop.v{WORDS}i64")
        train = builder.load(builder.gep(pointers[0], [operands[1]]), align=8)
        for word in range(WORDS):
            at = operands[1].type(word)
            query = builder.load(builder.gep(pointers[0], [at]), align=8)
            total = builder.gep(pointers[1], [at])
            counted = builder.call(count, [builder.xor(train, query)])
            builder.store(builder.add(builder.load(total, align=8), counted), total, align=8)
        return context.get_dummy_value()

    return types.void(rows, row, sums), emit


@numba.njit(parallel=True)
def _count(rows: npt.NDArray[np.uint64], repeats: int, threads: int) -> npt.NDArray[np.uint64]:
    totals = np.zeros(threads, np.uint64)
    for thread in numba.prange(threads):
        sums = np.zeros((WORDS, WORDS), np.uint64)
        for _ in range(repeats):
            for row in range(ROWS):
                _count_row(rows, row, sums)
        totals[thread] = sums.sum()
    return totals


def comparisons(count: int) -> int:
    """Do the work of about `count` comparisons of 512 bits on all threads; return their exact number.

    A register holds eight words, so each XOR, count and addition of registers is an eighth of the work of eight
    comparisons.
    """
    threads = int(numba.get_num_threads())
    repeats = max(1, count // (threads * ROWS * WORDS))
    rows = np.random.default_rng(0).integers(0, 1 << 64, (ROWS, WORDS), dtype=np.uint64)
    _count(rows, repeats, threads)
    return repeats * threads * ROWS * WORDS
