"""The bound that population counts alone set: one XOR, one count and one addition for every 64 bits, nothing else."""

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
"""Rows of one register each, held in the level-1 cache."""

_REGISTER = ir.VectorType(ir.IntType(64), WORDS)


@intrinsic
def _count_row(_typing: Any, rows: Any, row: Any, sums: Any) -> Any:
    """Add the population of rows[row] ^ rows[0 .. WORDS - 1] to as many accumulators: WORDS comparisons' worth."""

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
            place = builder.gep(pointers[1], [at])
            counted = builder.call(count, [builder.xor(train, query)])
            builder.store(builder.add(builder.load(place, align=8), counted), place, align=8)
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
    """Do the bound's work for about so many comparisons of 512 bits, on all threads; return how many it was.

    A register of one row's eight words stands for one word of eight rows, so every XOR, count and addition of a
    register is an eighth of eight comparisons.
    """
    threads = int(numba.get_num_threads())
    repeats = max(1, count // (threads * ROWS * WORDS))
    rows = np.random.default_rng(0).integers(0, 1 << 64, (ROWS, WORDS), dtype=np.uint64)
    _count(rows, repeats, threads)
    return repeats * threads * ROWS * WORDS
