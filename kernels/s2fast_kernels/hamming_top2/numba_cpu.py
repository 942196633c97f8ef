"""`hamming_top2` on the CPU: 32 train rows in parallel, three queries at a time, the running top-2 in registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from s2fast_kernels.compiled import njit
from s2fast_kernels.hamming_top2.lanes import (
    BLOCK_GROUPS,
    BLOCK_ROWS,
    LANES,
    NO_KEY,
    TAG_BITS,
    aligned,
    smallest_two,
)
from s2fast_kernels.hamming_top2.paths import (
    TOGETHER,
    TRAIN_ROWS,
    compare_block,
    encode_group,
    encode_queries,
    query_space,
)
from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, Top2

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

_PANEL_BLOCKS = 128
"""Blocks encoded at a time: 17 MB, nearly all of a call's memory besides its operands and result."""

_TILE = 8 * TOGETHER
"""Queries that a thread compares with a block while the block is in its cache; each takes 2 KB."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks of up to `BLOCK_ROWS` consecutive rows of one train scene; blocks of a scene are in order."""

    scene: npt.NDArray[np.int64]
    """(blocks,) number of the scene."""

    start: npt.NDArray[np.int64]
    """(blocks,) first row, relative to the scene."""

    rows: npt.NDArray[np.int64]
    """(blocks,) number of rows, at least 1."""


def panels(train_offsets: npt.NDArray[np.int64], panel_blocks: int) -> Iterator[Blocks]:
    """Split every scene into blocks, and yield `panel_blocks` of them at a time."""
    scene_rows = np.diff(train_offsets)
    scene_blocks = -(-scene_rows // BLOCK_ROWS)
    scene = np.repeat(np.arange(len(scene_rows)), scene_blocks)
    start = (np.arange(len(scene)) - np.repeat(np.cumsum(scene_blocks) - scene_blocks, scene_blocks)) * BLOCK_ROWS
    rows = np.minimum(scene_rows[scene] - start, BLOCK_ROWS)
    for first in range(0, len(scene), panel_blocks):
        part = slice(first, first + panel_blocks)
        yield Blocks(scene[part], start[part], rows[part])


@njit("(u8[:, ::1], i8[::1], i8[::1])", parallel=True, nogil=True)
def encode_panel(
    train: npt.NDArray[np.uint64], starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint16]:
    """Encode blocks, given by their first row in train: (blocks, BLOCK_GROUPS, TRAIN_ROWS, LANES).

    A row's tag is the number of its group. One group after an odd number of them is empty; others beyond the end of a
    block stay uninitialised and are not read.
    """
    groups = aligned(len(starts) * BLOCK_GROUPS, np.int64(TRAIN_ROWS))
    for block in numba.prange(len(starts)):
        stop = starts[block] + rows[block]
        for group in range(-(-rows[block] // (2 * LANES)) * 2):
            first = min(starts[block] + group * LANES, stop)
            last = min(first + LANES, stop)
            encode_group(train[first:last], group, groups[block * BLOCK_GROUPS + group])
    panel: npt.NDArray[np.uint16] = groups.reshape((len(starts), BLOCK_GROUPS, TRAIN_ROWS, LANES))
    return panel


@njit()
def distance_of(key: int) -> np.uint16:
    """Return the distance in a key [bits], 65535 for `NO_KEY`."""
    return np.uint16(NO_DISTANCE) if key == NO_KEY else np.uint16(key >> TAG_BITS)


@njit()
def fold_rows(
    state: npt.NDArray[np.uint16],
    start: int,
    index: npt.NDArray[np.int32],
    best: npt.NDArray[np.uint16],
    second: npt.NDArray[np.uint16],
) -> None:
    """Merge the neighbours of len(index) queries in one block, from row `start` on, into those of earlier blocks."""
    for item in range(len(index)):
        key, lane, runner_up = smallest_two(state, item)
        nearest = distance_of(key)
        # A later block needs a smaller distance to win, since ties go to the lower row.
        if nearest < best[item]:
            index[item] = start + (key & (BLOCK_GROUPS - 1)) * LANES + lane
            second[item] = min(best[item], distance_of(runner_up))
            best[item] = nearest
        else:
            second[item] = min(second[item], nearest)


@njit(
    "(u8[:, ::1], u2[:, :, :, ::1], i8[::1], i8[::1], i8[::1], i4[:, ::1], u2[:, ::1], u2[:, ::1])",
    parallel=True,
    nogil=True,
)
def _search_panel(
    query: npt.NDArray[np.uint64],
    panel: npt.NDArray[np.uint16],
    scene: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    index: npt.NDArray[np.int32],
    best: npt.NDArray[np.uint16],
    second: npt.NDArray[np.uint16],
) -> None:
    """Merge the neighbours found in a panel's blocks into the result."""
    for tile in numba.prange(-(-len(query) // _TILE)):
        first = tile * _TILE
        last = min(first + _TILE, len(query))
        queries, state = query_space(np.int64(_TILE)), aligned(np.int64(_TILE), np.int64(2))
        encode_queries(query[first:last], queries)
        for block in range(len(scene)):
            state[:] = NO_KEY
            compare_block(panel[block], -(-rows[block] // LANES), queries, last - first, state)
            at = scene[block]
            fold_rows(state, start[block], index[first:last, at], best[first:last, at], second[first:last, at])


def hamming_top2(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], train_offsets: npt.NDArray[np.int64]
) -> Top2:
    """Search all scenes, a panel of encoded blocks at a time; see the package for the contract."""
    result = Top2.empty(len(query), len(train_offsets) - 1)
    if len(query) == 0:
        return result
    for blocks in panels(train_offsets, _PANEL_BLOCKS):
        _search_panel(
            query,
            # Not assigned to a variable, which would keep this panel in memory while the next one is encoded.
            encode_panel(train, train_offsets[blocks.scene] + blocks.start, blocks.rows),
            blocks.scene,
            blocks.start,
            blocks.rows,
            result.index,
            result.best,
            result.second,
        )
    return result
