"""Compare 64 train rows with two queries at once by table lookups; for processors that cannot count bits of vectors.

``README.md`` derives the method and counts the instructions. In short: a query has one table for each of its 128
nibbles (4 bits), and the train row's nibble selects the number of differing bits: ``vpshufb`` replaces XOR, mask, shift
and count. A byte of a table holds the numbers of *two* queries, one per half. Three lookups are added without a carry
into the upper half. The sum of all bytes modulo 256 and the sum of their upper halves give both distances; upper halves
are summed by a tree of averages, each of which is exact since its operands are multiples of an even number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from s2fast_kernels.compiled import njit
from s2fast_kernels.hamming_top2.lanes import LANES, NO_KEY, TAG_BITS, Emitter, aligned, rows_of

if TYPE_CHECKING:
    import numpy.typing as npt

TOGETHER = 2
"""Queries compared at once: one per half of a byte."""

NIBBLES = 128
"""Number of nibbles in a descriptor."""

TRAIN_ROWS = NIBBLES // 2 + 1
"""Rows of 64 bytes of an encoded group: two nibbles of every train row each, then the tags."""

_TABLE_ROWS = NIBBLES // 4
_PAIR_ROWS = _TABLE_ROWS + TOGETHER
"""Rows of 64 bytes of two encoded queries: four tables each, then one row of tags for each query."""

_GROUPS = 2
"""Groups compared with a table while it is in a register; more do not fit."""

_PARTS = (63, 60)
"""Nibbles summed in bytes: multiples of 3, and at most 63, since 4 bits of each may differ. They cover the 486 bits of
AKAZE; the other nibbles are compared only if a bit of them is set."""

_USUAL = sum(_PARTS)

_DIFFERENCES = np.array(
    [[(one ^ two).bit_count() | (one ^ two ^ 1).bit_count() << 8 for two in range(0, 16, 2)] for one in range(16)],
    np.uint16,
)
"""(16, 8): the number of bits in which a nibble differs from each of the 16 nibbles, one per byte."""

_BYTES = ir.VectorType(ir.IntType(8), 32)
_TABLE = ir.VectorType(ir.IntType(8), 16)
_WORDS = ir.VectorType(ir.IntType(16), 16)
_INDEX = ir.IntType(32)
_UPPER = ir.Constant(_BYTES, [0xF0] * 32)
_TWICE = ir.Constant(ir.VectorType(_INDEX, 32), list(range(16)) * 2)
_BOTH_HALVES = ir.Constant(ir.VectorType(_INDEX, LANES), list(range(LANES)))


class _UpperSum:
    """The sum of the upper halves of bytes, by averages: (a + b) / 2 of two multiples of 16 is a multiple of 8."""

    def __init__(self, emit: Emitter, builder: ir.IRBuilder) -> None:
        self._emit, self._builder = emit, builder
        self._sums: list[tuple[int, ir.Value]] = []

    def _average(self, x: ir.Value, y: ir.Value) -> ir.Value:
        return self._emit.call("llvm.x86.avx2.pavg.b", _BYTES, x, y)

    def add(self, upper: ir.Value) -> None:
        """Add bytes whose lower halves are zero; merge the sums that are equally scaled."""
        scale = 16
        while self._sums and self._sums[-1][0] == scale and scale > 1:
            upper = self._average(self._sums.pop()[1], upper)
            scale //= 2
        self._sums.append((scale, upper))

    def total(self) -> ir.Value:
        """Return the sum of everything added, modulo 256."""
        zero = ir.Constant(_BYTES, None)
        scale, total = self._sums.pop()
        while scale > 1:
            if self._sums and self._sums[-1][0] == scale:
                total = self._average(self._sums.pop()[1], total)
            else:
                total = self._average(total, zero)
            scale //= 2
        for _, other in self._sums:
            total = self._builder.add(total, other)
        return total


class Lookups:
    """Emits the comparison of `_GROUPS` groups with one pair of queries."""

    def __init__(self, emit: Emitter, builder: ir.IRBuilder, pair: ir.Value, groups: list[ir.Value]) -> None:
        """Use the addresses of an encoded pair and of encoded groups."""
        self._emit, self._builder = emit, builder
        self._pair = builder.bitcast(pair, _TABLE.as_pointer())
        self._groups = [builder.bitcast(group, _BYTES.as_pointer()) for group in groups]

    def _look_up(self, nibble: int) -> list[ir.Value]:
        """Return the differing bits of one nibble, for each group."""
        at = [_INDEX(nibble)]
        table = self._builder.load(self._builder.gep(self._pair, at), align=16)
        table = self._builder.shuffle_vector(table, table, _TWICE)
        rows = [self._builder.load(self._builder.gep(group, at), align=32) for group in self._groups]
        return [self._emit.call("llvm.x86.avx2.pshuf.b", _BYTES, table, row) for row in rows]

    def sums(self, start: int, stop: int) -> list[tuple[ir.Value, ir.Value]]:
        """Return, for each group, the bytes of both queries' distances over up to 63 nibbles."""
        builder = self._builder
        wholes: list[ir.Value] = []
        uppers = [_UpperSum(self._emit, builder) for _ in self._groups]
        for first in range(start, stop, 3):
            found = self._look_up(first)
            for nibble in range(first + 1, min(first + 3, stop)):
                found = [builder.add(x, y) for x, y in zip(found, self._look_up(nibble), strict=True)]
            wholes = [builder.add(x, y) for x, y in zip(wholes, found, strict=True)] if wholes else found
            for upper, x in zip(uppers, found, strict=True):
                upper.add(builder.and_(x, _UPPER))
        results = []
        for whole, upper in zip(wholes, uppers, strict=True):
            total = upper.total()
            words = builder.shl(builder.bitcast(total, _WORDS), ir.Constant(_WORDS, [4] * 16))
            shifted = builder.and_(builder.bitcast(words, _BYTES), _UPPER)
            results.append((builder.sub(whole, shifted), total))
        return results

    def widen(self, sums: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return the bytes of rows 0 to 15 and of rows 16 to 31, as 16-bit words."""
        words = self._builder.bitcast(sums, _WORDS)
        low = self._builder.and_(words, ir.Constant(_WORDS, [0xFF] * 16))
        return low, self._builder.lshr(words, ir.Constant(_WORDS, [8] * 16))

    def distances(self, wide: ir.Value) -> list[list[ir.Value]]:
        """Return the distances of `LANES` rows, by query and group; `wide`: some bit beyond the usual ones is set."""
        builder = self._builder
        halves: dict[tuple[int, int, int], ir.Value] = {}

        def merge(parts: list[tuple[ir.Value, ir.Value]]) -> None:
            for group, part in enumerate(parts):
                for query in range(TOGETHER):
                    for half, words in enumerate(self.widen(part[query])):
                        key = (query, group, half)
                        halves[key] = builder.add(halves[key], words) if key in halves else words

        start = 0
        for nibbles in _PARTS:
            merge(self.sums(start, start + nibbles))
            start += nibbles
        usual, before = dict(halves), builder.basic_block
        with builder.if_then(wide, likely=False):
            merge(self.sums(start, NIBBLES))
            inside = builder.basic_block
        for key, value in halves.items():
            joined = builder.phi(_WORDS)
            joined.add_incoming(usual[key], before)
            joined.add_incoming(value, inside)
            halves[key] = joined
        return [
            [
                builder.shuffle_vector(halves[query, group, 0], halves[query, group, 1], _BOTH_HALVES)
                for group in range(_GROUPS)
            ]
            for query in range(TOGETHER)
        ]


def _emit_compare(context: Any, builder: ir.IRBuilder, signature: Any, operands: Any) -> ir.Value:
    """Emit the body of `_compare` and `_compare_both`."""
    emit = Emitter(context, builder)
    _, first_group, _, pair, wide, _, *_ = operands
    rows: list[Callable[..., ir.Value]] = [
        rows_of(context, builder, signature.args[at], operands[at]) for at in (0, 2, 5)
    ]
    train_at, query_at, state_at = rows
    groups = [builder.add(first_group, first_group.type(number)) for number in range(_GROUPS)]
    lookups = Lookups(
        emit, builder, query_at(pair, _PAIR_ROWS, 0), [train_at(group, TRAIN_ROWS, 0) for group in groups]
    )
    distances = lookups.distances(builder.icmp_signed("!=", wide, wide.type(0)))
    tags = [builder.load(train_at(group, TRAIN_ROWS, TRAIN_ROWS - 1), align=64) for group in groups]
    for query in range(TOGETHER):
        item = builder.add(builder.mul(pair, pair.type(TOGETHER)), pair.type(query))
        shifted = [builder.shl(distance, emit.constant(TAG_BITS)) for distance in distances[query]]
        keys = [builder.or_(distance, tag) for distance, tag in zip(shifted, tags, strict=True)]
        emit.fold(keys, state_at(item, 2, 0), state_at(item, 2, 1))
        if len(operands) > 6:
            column_at = rows_of(context, builder, signature.args[6], operands[6])
            query_tag = builder.load(query_at(pair, _PAIR_ROWS, _TABLE_ROWS + query), align=64)
            for group, distance in zip(groups, shifted, strict=True):
                emit.fold([builder.or_(distance, query_tag)], column_at(group, 2, 0), column_at(group, 2, 1))
    return context.get_dummy_value()


@intrinsic
def _compare(_typing: Any, train: Any, group: Any, query: Any, pair: Any, wide: Any, state: Any) -> Any:
    """Compare two groups of train rows from `group` on with a pair of queries; update the two smallest keys per lane.

    train is (groups, TRAIN_ROWS, LANES) uint16, query (pairs, rows, LANES), state (queries, 2, LANES). A key is
    ``distance << TAG_BITS | tag``, with the tag of the train row.
    """
    return types.void(train, group, query, pair, wide, state), _emit_compare


@intrinsic
def _compare_both(
    _typing: Any, train: Any, group: Any, query: Any, pair: Any, wide: Any, state: Any, columns: Any
) -> Any:
    """Do the same as `_compare`, and also update the two smallest keys of each train row, with the tag of the query.

    columns is (groups, 2, LANES) uint16.
    """
    return types.void(train, group, query, pair, wide, state, columns), _emit_compare


@njit()
def query_space(items: int) -> npt.NDArray[np.uint16]:
    """Allocate room for encoded queries."""
    space: npt.NDArray[np.uint16] = aligned(-(-items // TOGETHER), np.int64(_PAIR_ROWS))
    return space


@njit()
def _nibble(row: npt.NDArray[np.uint64], number: int) -> np.uint64:
    nibble: np.uint64 = (row[number // 16] >> np.uint64(4 * (number % 16))) & np.uint64(15)
    return nibble


@njit()
def encode_group(rows: npt.NDArray[np.uint64], tag: int, group: npt.NDArray[np.uint16]) -> None:
    """Encode up to LANES train rows into (TRAIN_ROWS, LANES); lanes without a row get the tag `NO_KEY`.

    Row r < 16 has the lower bytes of the words r, row r >= 16 the upper bytes of the words r - 16.
    """
    group[: TRAIN_ROWS - 1] = 0
    group[TRAIN_ROWS - 1] = NO_KEY
    for lane in range(len(rows)):
        shift, column = 8 * (lane // 16), lane % 16
        for number in range(NIBBLES):
            bits = np.uint16(_nibble(rows[lane], number) << np.uint64(shift))
            group[number // 2, 16 * (number % 2) + column] |= bits
        group[TRAIN_ROWS - 1, lane] = tag


@njit()
def encode_queries(rows: npt.NDArray[np.uint64], queries: npt.NDArray[np.uint16]) -> None:
    """Encode query rows into (pairs, rows, LANES); missing queries get the tag `NO_KEY`."""
    for pair in range(len(queries)):
        encoded = queries[pair]
        encoded[:] = 0
        encoded[_TABLE_ROWS:] = NO_KEY
        for query in range(TOGETHER):
            item = pair * TOGETHER + query
            if item < len(rows):
                encoded[_TABLE_ROWS + query] = item
                for number in range(NIBBLES):
                    table = _DIFFERENCES[_nibble(rows[item], number)]
                    first = 8 * (number % 4)
                    for entry in range(8):
                        encoded[number // 4, first + entry] |= table[entry] << np.uint16(4 * query)


@njit()
def _query_is_wide(pairs: npt.NDArray[np.uint16]) -> bool:
    """Return whether a query has a bit beyond the usual ones: its tables then differ from zero at nibble 0."""
    found = np.uint16(0)
    for pair in range(len(pairs)):
        for number in range(_USUAL, NIBBLES):
            found |= pairs[pair, number // 4, 8 * (number % 4)] & np.uint16(0xFF)
    return bool(found != 0)


@njit()
def _groups_are_wide(groups: npt.NDArray[np.uint16]) -> bool:
    """Return whether a row of the groups has a bit beyond the usual ones."""
    found = np.uint16(0)
    for group in range(len(groups)):
        for number in range(_USUAL, NIBBLES):
            for column in range(16):
                found |= groups[group, number // 2, 16 * (number % 2) + column]
    return bool(found != 0)


@njit()
def compare_block(
    block: npt.NDArray[np.uint16],
    groups: int,
    queries: npt.NDArray[np.uint16],
    items: int,
    state: npt.NDArray[np.uint16],
) -> None:
    """Compare the groups of a block with encoded queries. The group after an odd number of groups must be empty."""
    pairs = -(-items // TOGETHER)
    query_is_wide = _query_is_wide(queries[:pairs])
    for group in range(0, groups, _GROUPS):
        wide = np.int64(query_is_wide or _groups_are_wide(block[group : group + _GROUPS]))
        for pair in range(pairs):
            _compare(block, group, queries, pair, wide, state)


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
    pairs = -(-items // TOGETHER)
    query_is_wide = _query_is_wide(queries[:pairs])
    for group in range(0, groups, _GROUPS):
        wide = np.int64(query_is_wide or _groups_are_wide(block[group : group + _GROUPS]))
        for pair in range(pairs):
            _compare_both(block, group, queries, pair, wide, state, columns)
