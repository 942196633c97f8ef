"""`hamming_top2` on the CPU: 32 train rows side by side, carry-save population counts, the top-2 in registers.

``README.md`` derives the encoding and counts the instructions. In short: a descriptor is 32 words of 16 bits. Three
words ``a``, ``b``, ``x`` have ``popcount(a) + popcount(b) + popcount(x) = popcount(s) + 2 * popcount(majority)`` with
``s = a ^ b ^ x``. A parity such as ``s`` of the XOR of two descriptors is the XOR of their parities, so both sides are
*encoded* once, every second word replaced by the parity of all words up to it, and the majority needs no third word:
it is ``a & b`` where ``s`` is set and ``a | b`` elsewhere. That saves 15 of the 32 population counts and additions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, Top2

if TYPE_CHECKING:
    import numpy.typing as npt

_LANES = 32
"""Train rows compared side by side: 32 lanes of 16 bits are one AVX-512 register."""

_WORDS = 32
"""Words of 16 bits in a descriptor."""

_GROUP_BITS = 6
"""Bits of a 16-bit key that name the group within its block; a distance of up to 512 takes the other 10."""

_BLOCK_GROUPS = 1 << _GROUP_BITS
"""Groups of `_LANES` rows whose keys can be told apart: one block, 135 KB, stays in the level-2 cache."""

_NO_KEY = 0xFFFF
"""Key of a lane without a row. No distance reaches it: 512 << 6 | 63 is 32,831."""

_PANEL_BLOCKS = 128
"""Blocks encoded at a time: 17 MB, the memory a call takes above its operands and result."""

_TOGETHER = 3
"""Queries compared with a group while it is in registers; more spill."""

_TILE = 8 * _TOGETHER
"""Queries a thread takes through a panel at a time; each is 2 KB, its words repeated over the lanes."""

_LANE_TYPE = ir.VectorType(ir.IntType(16), _LANES)
_MAJORITY_TABLE = 0b11010100
"""Truth table of ``s ? a & b : a | b`` for vpternlog, the bit at 4 a + 2 b + s."""


class _Lanes:
    """Emits LLVM vector instructions over `_LANES` unsigned 16-bit lanes."""

    def __init__(self, context: Any, builder: ir.IRBuilder) -> None:
        self._builder = builder
        self._has_ternary_logic = "+avx512f" in context.codegen().magic_tuple()[2].split(",")

    def constant(self, value: int) -> ir.Constant:
        return ir.Constant(_LANE_TYPE, [value] * _LANES)

    def call(self, name: str, result: ir.Type, *operands: ir.Value) -> ir.Value:
        function_type = ir.FunctionType(result, [operand.type for operand in operands])
        function = cgutils.get_or_insert_function(self._builder.module, function_type, name)
        return self._builder.call(function, operands)

    def population(self, x: ir.Value) -> ir.Value:
        return self.call(f"llvm.ctpop.v{_LANES}i16", _LANE_TYPE, x)

    def smaller(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.call(f"llvm.umin.v{_LANES}i16", _LANE_TYPE, x, y)

    def larger(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self.call(f"llvm.umax.v{_LANES}i16", _LANE_TYPE, x, y)

    def smallest(self, x: ir.Value) -> ir.Value:
        return self.call(f"llvm.vector.reduce.umin.v{_LANES}i16", _LANE_TYPE.element, x)

    def majority(self, a: ir.Value, b: ir.Value, s: ir.Value) -> ir.Value:
        """Majority of a, b and a ^ b ^ s."""
        emit = self._builder
        if self._has_ternary_logic:
            # LLVM 22 does not find by itself that the expression below is one instruction.
            words = ir.VectorType(ir.IntType(64), 8)
            table = ir.Constant(ir.IntType(32), _MAJORITY_TABLE)
            operands = [emit.bitcast(x, words) for x in (a, b, s)]
            return emit.bitcast(self.call("llvm.x86.avx512.pternlog.q.512", words, *operands, table), _LANE_TYPE)
        return emit.xor(b, emit.and_(emit.xor(a, s), emit.xor(a, b)))


def _rows_at(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value) -> Any:
    """Address a C-contiguous uint16 array as rows of `_LANES` lanes; its memory is aligned to 64 bytes."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(data, _LANE_TYPE.as_pointer())


@intrinsic
def _compare(_typing: Any, train: Any, group: Any, query: Any, first: Any, state: Any) -> Any:
    """Compare train[group] with `_TOGETHER` queries from first on; update the two smallest keys of every lane.

    train: (groups, _WORDS + 1, _LANES) uint16, query: (queries, _WORDS, _LANES), state: (queries, 2, _LANES).
    """

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, operands: Any) -> ir.Value:
        lanes = _Lanes(context, builder)
        index = signature.args[1]
        index_type = context.get_value_type(index)
        pointers = {at: _rows_at(context, builder, signature.args[at], operands[at]) for at in (0, 2, 4)}

        def address(operand: int, item: ir.Value, stride: int, row: int) -> ir.Value:
            offset = builder.add(builder.mul(item, index_type(stride)), index_type(row))
            return builder.gep(pointers[operand], [offset])

        def train_row(row: int) -> ir.Value:
            return builder.load(address(0, operands[1], _WORDS + 1, row), align=64)

        def query_item(number: int) -> ir.Value:
            return builder.add(operands[3], index_type(number))

        def differ(number: int, word: int, row: ir.Value) -> ir.Value:
            return builder.xor(row, builder.load(address(2, query_item(number), _WORDS, word), align=64))

        first_row = train_row(0)
        parity = [differ(number, 0, first_row) for number in range(_TOGETHER)]
        pairs = [lanes.constant(0)] * _TOGETHER
        for word in range(1, _WORDS - 1, 2):
            word_row, parity_row = train_row(word), train_row(word + 1)
            for number in range(_TOGETHER):
                difference = differ(number, word, word_row)
                after = differ(number, word + 1, parity_row)
                carry = lanes.majority(parity[number], difference, after)
                pairs[number] = builder.add(pairs[number], lanes.population(carry))
                parity[number] = after
        last_row, tag = train_row(_WORDS - 1), train_row(_WORDS)
        for number in range(_TOGETHER):
            singles = builder.add(
                lanes.population(parity[number]), lanes.population(differ(number, _WORDS - 1, last_row))
            )
            distance = builder.add(builder.add(pairs[number], pairs[number]), singles)
            key = builder.or_(builder.shl(distance, lanes.constant(_GROUP_BITS)), tag)
            best_at, second_at = (address(4, query_item(number), 2, row) for row in (0, 1))
            best, second = builder.load(best_at, align=64), builder.load(second_at, align=64)
            builder.store(lanes.smaller(best, key), best_at, align=64)
            builder.store(lanes.smaller(second, lanes.larger(best, key)), second_at, align=64)
        return context.get_dummy_value()

    return types.void(train, group, query, first, state), emit


@intrinsic
def _reduce(_typing: Any, state: Any, item: Any) -> Any:
    """Reduce the lanes of state[item] to (smallest key, its lowest lane, second-smallest key)."""

    def emit(context: Any, builder: ir.IRBuilder, signature: Any, operands: Any) -> ir.Value:
        lanes = _Lanes(context, builder)
        index_type = context.get_value_type(signature.args[1])
        rows = _rows_at(context, builder, signature.args[0], operands[0])
        at = builder.mul(operands[1], index_type(2))
        best = builder.load(builder.gep(rows, [at]), align=64)
        second = builder.load(builder.gep(rows, [builder.add(at, index_type(1))]), align=64)
        key = lanes.smallest(best)
        keys = builder.insert_element(ir.Constant(_LANE_TYPE, ir.Undefined), key, ir.IntType(32)(0))
        keys = builder.shuffle_vector(keys, keys, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES))
        holders = builder.bitcast(builder.icmp_unsigned("==", best, keys), ir.IntType(_LANES))
        lane = lanes.call(f"llvm.cttz.i{_LANES}", holders.type, holders, ir.IntType(1)(1))
        # The winner leaves its lane; equal keys in other lanes stay, they are other rows.
        winner = builder.and_(holders, builder.neg(holders))
        winner = builder.bitcast(winner, ir.VectorType(ir.IntType(1), _LANES))
        others = builder.select(winner, lanes.constant(_NO_KEY), best)
        runner_up = lanes.smallest(lanes.smaller(second, others))
        numbers = [builder.zext(x, ir.IntType(64)) for x in (key, lane, runner_up)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(types.int64, 3)(state, item), emit


@numba.njit(cache=True)
def _aligned(items: int, rows: int) -> npt.NDArray[np.uint16]:
    """Allocate (items, rows, _LANES) uint16 aligned to 64 bytes."""
    size = items * rows * _LANES
    memory = np.empty(size + 32, np.uint16)
    start = (-memory.ctypes.data % 64) // 2
    aligned: npt.NDArray[np.uint16] = memory[start : start + size].reshape((items, rows, _LANES))
    return aligned


@numba.njit(cache=True)
def _encode(row: npt.NDArray[np.uint64], words: npt.NDArray[np.uint16]) -> None:
    """Write the 32 words of one packed descriptor, every second one replaced by the parity of all words up to it."""
    parity = np.uint64(0)
    for word in range(_WORDS):
        bits = (row[word // 4] >> np.uint64(16 * (word % 4))) & np.uint64(0xFFFF)
        parity ^= bits
        words[word] = parity if word % 2 == 0 else bits


@numba.njit(cache=True, parallel=True, nogil=True)
def _encode_panel(
    train: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint16]:
    """Encode blocks of train rows side by side: (blocks * _BLOCK_GROUPS, _WORDS + 1, _LANES).

    The row after the words is what `_compare` writes under the distance: the group's number, or all ones where the
    block has ended.
    """
    panel: npt.NDArray[np.uint16] = _aligned(len(starts) * _BLOCK_GROUPS, _WORDS + 1)
    for block in numba.prange(len(starts)):
        words = np.empty(_WORDS, np.uint16)
        for group in range(-(-rows[block] // _LANES)):
            lanes = panel[block * _BLOCK_GROUPS + group]
            for lane in range(_LANES):
                row = group * _LANES + lane
                if row < rows[block]:
                    _encode(train[starts[block] + row], words)
                    lanes[:_WORDS, lane] = words
                    lanes[_WORDS, lane] = group
                else:
                    lanes[:, lane] = _NO_KEY
    return panel


@numba.njit(cache=True, parallel=True, nogil=True)
def _search_panel(
    query: npt.NDArray[np.uint64],
    panel: npt.NDArray[np.uint16],
    scenes: npt.NDArray[np.int64],
    first_rows: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    index: npt.NDArray[np.int32],
    best: npt.NDArray[np.uint16],
    second: npt.NDArray[np.uint16],
) -> None:
    """Fold the neighbours found in a panel's blocks into the result; a scene's blocks come in the order of its rows."""
    n = len(query)
    for tile in numba.prange(-(-n // _TILE)):
        first = tile * _TILE
        items = min(_TILE, n - first)
        lanes = _aligned(_TILE, _WORDS)
        state = _aligned(_TILE, 2)
        words = np.empty(_WORDS, np.uint16)
        for item in range(_TILE):
            _encode(query[min(first + item, n - 1)], words)
            for word in range(_WORDS):
                lanes[item, word, :] = words[word]
        for block in range(len(scenes)):
            state[:] = _NO_KEY
            for item in range(0, items, _TOGETHER):
                for group in range(-(-rows[block] // _LANES)):
                    _compare(panel, block * _BLOCK_GROUPS + group, lanes, item, state)
            scene = scenes[block]
            for item in range(items):
                key, lane, runner_up = _reduce(state, item)
                nearest = np.uint16(key >> _GROUP_BITS)
                next_nearest = np.uint16(runner_up >> _GROUP_BITS) if runner_up != _NO_KEY else np.uint16(NO_DISTANCE)
                at = first + item
                if nearest < best[at, scene]:
                    index[at, scene] = first_rows[block] + (key & (_BLOCK_GROUPS - 1)) * _LANES + lane
                    second[at, scene] = min(best[at, scene], next_nearest)
                    best[at, scene] = nearest
                else:
                    second[at, scene] = min(second[at, scene], nearest)


def hamming_top2(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], train_offsets: npt.NDArray[np.int64]
) -> Top2:
    """Search all scenes in panels of encoded blocks; see the package for the contract."""
    scene_count = len(train_offsets) - 1
    result = Top2.empty(len(query), scene_count)
    if len(query) == 0:
        return result
    block_rows = _BLOCK_GROUPS * _LANES
    scene_rows = np.diff(train_offsets)
    scene_blocks = -(-scene_rows // block_rows)
    scenes = np.repeat(np.arange(scene_count), scene_blocks)
    numbers = np.arange(len(scenes)) - np.repeat(np.cumsum(scene_blocks) - scene_blocks, scene_blocks)
    first_rows = numbers * block_rows
    rows = np.minimum(scene_rows[scenes] - first_rows, block_rows)
    for start in range(0, len(scenes), _PANEL_BLOCKS):
        part = slice(start, start + _PANEL_BLOCKS)
        panel = _encode_panel(train, train_offsets[scenes[part]] + first_rows[part], rows[part])
        _search_panel(
            query, panel, scenes[part], first_rows[part], rows[part], result.index, result.best, result.second
        )
    return result
