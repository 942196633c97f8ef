"""Compare 32 train rows at once in the lanes of vector registers; used by numba kernels.

``README.md`` derives the encoding and counts the instructions. In short: a descriptor consists of 32 words of 16 bits.
Three words ``a``, ``b``, ``x`` have ``popcount(a) + popcount(b) + popcount(x) = popcount(s) + 2 * popcount(majority)``
with ``s = a ^ b ^ x``. The parity ``s`` of the XOR of two descriptors is the XOR of their parities. So both sides
are *encoded* once: every second word is replaced by the parity of all words up to it. The majority does not need the
third word: it is ``a & b`` where ``s`` is set and ``a | b`` elsewhere. This saves 15 of the 32 population counts and
additions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from s2fast_kernels.compiled import njit

if TYPE_CHECKING:
    import numpy.typing as npt

LANES = 32
"""Train rows compared in parallel: 32 lanes of 16 bits fill one AVX-512 register."""

WORDS_16 = 32
"""Number of 16-bit words in a descriptor."""

ROWS = WORDS_16 + 1
"""Rows of lanes of an encoded group or query: its words, then its tags."""

TAG_BITS = 6
"""Low bits of a 16-bit key that identify a row; the other 10 hold a distance of up to 512."""

BLOCK_GROUPS = 1 << TAG_BITS
"""Number of groups of `LANES` rows that a tag can distinguish: one block, 135 KB, which stays in the L2 cache."""

BLOCK_ROWS = BLOCK_GROUPS * LANES
"""Number of train rows in a block."""

NO_KEY = 0xFFFF
"""Key of a lane without a row, larger than all others: 512 << 6 | 63 is 32,831."""

TOGETHER = 3
"""Queries compared with a group while it is in registers; more are not faster."""

_LANE_TYPE = ir.VectorType(ir.IntType(16), LANES)

_MAJORITY = 0b11010100
"""Truth table of ``s ? a & b : a | b`` for vpternlog: its value at bit 4 a + 2 b + s."""


class Emitter:
    """Emits LLVM instructions on vectors of `LANES` unsigned 16-bit lanes."""

    def __init__(self, context: Any, builder: ir.IRBuilder) -> None:
        features = context.codegen().magic_tuple()[2].split(",")
        self._builder = builder
        self._has_ternary_logic = "+avx512f" in features
        self._counts_words = "+avx512bitalg" in features

    def constant(self, value: int) -> ir.Constant:
        """Return a constant repeated over the lanes."""
        return ir.Constant(_LANE_TYPE, [value] * LANES)

    def repeat(self, value: ir.Value) -> ir.Value:
        """Return a 16-bit value repeated over the lanes."""
        vector = self._builder.insert_element(ir.Constant(_LANE_TYPE, ir.Undefined), value, ir.IntType(32)(0))
        return self._builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), LANES), None))

    def call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        """Call an LLVM intrinsic."""
        function_type = ir.FunctionType(result, [operand.type for operand in operands])
        function = cgutils.get_or_insert_function(self._builder.module, function_type, name)
        return self._builder.call(function, operands)

    def minimum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Return the smaller value of every lane."""
        return self.call(f"llvm.umin.v{LANES}i16", _LANE_TYPE, x, y)

    def maximum(self, x: ir.Value, y: ir.Value) -> ir.Value:
        """Return the larger value of every lane."""
        return self.call(f"llvm.umax.v{LANES}i16", _LANE_TYPE, x, y)

    def smallest(self, x: ir.Value) -> ir.Value:
        """Return the smallest value of all lanes."""
        return self.call(f"llvm.vector.reduce.umin.v{LANES}i16", _LANE_TYPE.element, x)

    def majority(self, a: ir.Value, b: ir.Value, s: ir.Value) -> ir.Value:
        """Return the bitwise majority of a, b and a ^ b ^ s."""
        if self._has_ternary_logic:
            # LLVM 22 does not compile the expression below to one instruction.
            words = ir.VectorType(ir.IntType(64), 8)
            operands = [self._builder.bitcast(x, words) for x in (a, b, s)]
            table = ir.IntType(32)(_MAJORITY)
            result = self.call("llvm.x86.avx512.pternlog.q.512", words, *operands, table)
            return self._builder.bitcast(result, _LANE_TYPE)
        return self._builder.xor(b, self._builder.and_(self._builder.xor(a, s), self._builder.xor(a, b)))

    def count(self, x: ir.Value) -> ir.Value:
        """Count bits in a form that can be added up to 31 times; `total` converts such a sum to counts."""
        if self._counts_words:
            return self.call(f"llvm.ctpop.v{LANES}i16", _LANE_TYPE, x)
        # Otherwise count per byte (AVX2 by table lookup, NEON directly); the sums of the two bytes stay separate.
        byte_type = ir.VectorType(ir.IntType(8), 2 * LANES)
        counts = self.call(f"llvm.ctpop.v{2 * LANES}i8", byte_type, self._builder.bitcast(x, byte_type))
        return self._builder.bitcast(counts, _LANE_TYPE)

    def total(self, counts: ir.Value) -> ir.Value:
        """Return the bit count of every lane, from a sum of results of `count`."""
        if self._counts_words:
            return counts
        low_byte = self._builder.and_(counts, self.constant(0xFF))
        return self._builder.add(low_byte, self._builder.lshr(counts, self.constant(8)))

    def fold(self, keys: list[ir.Value], best_at: ir.Value, second_at: ir.Value) -> None:
        """Merge keys into the two smallest keys of every lane, stored in memory."""
        best, second = self._builder.load(best_at, align=64), self._builder.load(second_at, align=64)
        for key in keys:
            second = self.minimum(second, self.maximum(best, key))
            best = self.minimum(best, key)
        self._builder.store(best, best_at, align=64)
        self._builder.store(second, second_at, align=64)


def rows_of(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value) -> Callable[..., ir.Value]:
    """Return a function that computes the address of (item, rows per item, row).

    The array is C-contiguous uint16, with rows of `LANES`, aligned to 64 bytes.
    """
    data = builder.bitcast(context.make_array(array_type)(context, builder, array).data, _LANE_TYPE.as_pointer())

    def address(item: ir.Value, item_rows: int, row: int) -> ir.Value:
        return builder.gep(data, [builder.add(builder.mul(item, item.type(item_rows)), item.type(row))])

    return address


def _emit_distances(
    emit: Emitter, builder: ir.IRBuilder, train_row: Callable[[int], ir.Value], query_row: Callable[..., ir.Value]
) -> list[ir.Value]:
    """Return the distances of every lane's train row from each of `TOGETHER` queries, given encoded words."""

    def differ(number: int, word: int, row: ir.Value) -> ir.Value:
        return builder.xor(row, builder.load(query_row(number, word), align=64))

    together = range(TOGETHER)
    row = train_row(0)
    parity = [differ(number, 0, row) for number in together]
    twos = [emit.constant(0)] * TOGETHER
    for word in range(1, WORDS_16 - 1, 2):
        word_row, parity_row = train_row(word), train_row(word + 1)
        for number in together:
            difference, after = differ(number, word, word_row), differ(number, word + 1, parity_row)
            twos[number] = builder.add(twos[number], emit.count(emit.majority(parity[number], difference, after)))
            parity[number] = after
    row = train_row(WORDS_16 - 1)
    ones = [
        builder.add(emit.count(parity[number]), emit.count(differ(number, WORDS_16 - 1, row))) for number in together
    ]
    totals = [(emit.total(twos[number]), emit.total(ones[number])) for number in together]
    return [builder.add(builder.add(two, two), one) for two, one in totals]


def _emit_compare(context: Any, builder: ir.IRBuilder, signature: Any, operands: Any) -> ir.Value:
    """Emit the body of `compare` and `compare_both`."""
    emit = Emitter(context, builder)
    _, group, _, first, *_ = operands
    train_at, query_at, state_at = (rows_of(context, builder, signature.args[at], operands[at]) for at in (0, 2, 4))
    items = [builder.add(first, first.type(number)) for number in range(TOGETHER)]
    distances = _emit_distances(
        emit,
        builder,
        lambda row: builder.load(train_at(group, ROWS, row), align=64),
        lambda number, row: query_at(items[number], ROWS, row),
    )
    tag = builder.load(train_at(group, ROWS, WORDS_16), align=64)
    for item, distance in zip(items, distances, strict=True):
        shifted = builder.shl(distance, emit.constant(TAG_BITS))
        emit.fold([builder.or_(shifted, tag)], state_at(item, 2, 0), state_at(item, 2, 1))
        if len(operands) > 5:
            column_at = rows_of(context, builder, signature.args[5], operands[5])
            query_tag = builder.load(query_at(item, ROWS, WORDS_16), align=64)
            emit.fold([builder.or_(shifted, query_tag)], column_at(group, 2, 0), column_at(group, 2, 1))
    return context.get_dummy_value()


@intrinsic
def compare(_typing: Any, train: Any, group: Any, query: Any, first: Any, state: Any) -> Any:
    """Compare a group of train rows with `TOGETHER` queries from `first` on; update the two smallest keys per lane.

    train is (groups, ROWS, LANES) uint16, query (queries, ROWS, LANES), state (queries, 2, LANES). A key is
    ``distance << TAG_BITS | tag``, with the tag of the train row.
    """
    return types.void(train, group, query, first, state), _emit_compare


@intrinsic
def compare_both(_typing: Any, train: Any, group: Any, query: Any, first: Any, state: Any, columns: Any) -> Any:
    """Do the same as `compare`, and also update the two smallest keys of each train row, with the tag of the query.

    columns is (groups, 2, LANES) uint16.
    """
    return types.void(train, group, query, first, state, columns), _emit_compare


@intrinsic
def smallest_two(_typing: Any, state: Any, item: Any) -> Any:
    """Reduce the lanes of state[item] to (smallest key, its lowest lane, second-smallest key)."""

    def emit_smallest_two(context: Any, builder: ir.IRBuilder, signature: Any, operands: Any) -> ir.Value:
        emit = Emitter(context, builder)
        state_at = rows_of(context, builder, signature.args[0], operands[0])
        best, second = (builder.load(state_at(operands[1], 2, row), align=64) for row in (0, 1))
        key = emit.smallest(best)
        holders = builder.bitcast(builder.icmp_unsigned("==", best, emit.repeat(key)), ir.IntType(LANES))
        lane = emit.call(f"llvm.cttz.i{LANES}", holders.type, holders, ir.IntType(1)(1))
        # Exclude only the winner: an equal key in another lane belongs to another row.
        winner = builder.bitcast(builder.and_(holders, builder.neg(holders)), ir.VectorType(ir.IntType(1), LANES))
        others = builder.select(winner, emit.constant(NO_KEY), best)
        runner_up = emit.smallest(emit.minimum(second, others))
        numbers = [builder.zext(number, ir.IntType(64)) for number in (key, lane, runner_up)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(types.int64, 3)(state, item), emit_smallest_two


@njit()
def aligned(items: int, rows: int) -> npt.NDArray[np.uint16]:
    """Allocate (items, rows, LANES) uint16 aligned to 64 bytes; see `compiled_arrays` for constants as arguments."""
    size = items * rows * LANES
    memory = np.empty(size + 32, np.uint16)
    start = (-memory.ctypes.data % 64) // 2
    result: npt.NDArray[np.uint16] = memory[start : start + size].reshape((items, rows, LANES))
    return result


@njit()
def encode(row: npt.NDArray[np.uint64], words: npt.NDArray[np.uint16]) -> None:
    """Write the 32 words of one packed descriptor, replacing every second one by the parity of all words up to it."""
    parity = np.uint64(0)
    for word in range(WORDS_16):
        bits = (row[word // 4] >> np.uint64(16 * (word % 4))) & np.uint64(0xFFFF)
        parity ^= bits
        words[word] = parity if word % 2 == 0 else bits


@njit()
def encode_group(rows: npt.NDArray[np.uint64], tag: int, group: npt.NDArray[np.uint16]) -> None:
    """Encode up to LANES train rows into (ROWS, LANES), one per lane; lanes without a row get `NO_KEY`."""
    words = np.empty(WORDS_16, np.uint16)
    group[:] = NO_KEY
    for lane in range(len(rows)):
        encode(rows[lane], words)
        # Word by word: numba takes a quarter of the time to compile this that it takes for the slice.
        for word in range(WORDS_16):
            group[word, lane] = words[word]
        group[WORDS_16, lane] = tag


@njit()
def encode_queries(rows: npt.NDArray[np.uint64], queries: npt.NDArray[np.uint16]) -> None:
    """Encode query rows into (queries, ROWS, LANES), each repeated over the lanes; missing queries get `NO_KEY`."""
    words = np.empty(WORDS_16, np.uint16)
    queries[len(rows) :] = NO_KEY
    for item in range(len(rows)):
        encode(rows[item], words)
        for word in range(WORDS_16):
            queries[item, word, :] = words[word]
        queries[item, WORDS_16, :] = item


@njit()
def query_space(items: int) -> npt.NDArray[np.uint16]:
    """Allocate room for encoded queries."""
    space: npt.NDArray[np.uint16] = aligned(items, np.int64(ROWS))
    return space


@njit()
def compare_block(
    block: npt.NDArray[np.uint16],
    groups: int,
    queries: npt.NDArray[np.uint16],
    items: int,
    state: npt.NDArray[np.uint16],
) -> None:
    """Compare the groups of a block with encoded queries."""
    for item in range(0, items, TOGETHER):
        for group in range(groups):
            compare(block, group, queries, item, state)


@njit()
def compare_block_both(
    block: npt.NDArray[np.uint16],
    groups: int,
    queries: npt.NDArray[np.uint16],
    items: int,
    state: npt.NDArray[np.uint16],
    columns: npt.NDArray[np.uint16],
) -> None:
    """Do the same as `compare_block`, and also update the two smallest keys of each train row."""
    for item in range(0, items, TOGETHER):
        for group in range(groups):
            compare_both(block, group, queries, item, state, columns)
