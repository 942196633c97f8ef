"""`hamming_top2_both` on the CPU: the comparisons of `hamming_top2`, reduced along both axes."""

from __future__ import annotations

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
)
from s2fast_kernels.hamming_top2.numba_cpu import distance_of, encode_panel, fold_rows, panels
from s2fast_kernels.hamming_top2.paths import TOGETHER, compare_block_both, encode_queries, query_space
from s2fast_kernels.hamming_top2.reference import NO_DISTANCE, NO_ROW, Top2

if TYPE_CHECKING:
    import numpy.typing as npt

_TILE = (1 << TAG_BITS) // TOGETHER * TOGETHER
"""Queries that a thread compares with a block before merging the columns: as many as a tag can distinguish."""

_PANEL_BLOCKS = 128
"""Maximum number of blocks encoded at a time: 17 MB."""

_PRIVATE_BLOCKS = 2048
"""Maximum of blocks times threads: each thread keeps the neighbours of every row of the panel, 32 MB in total."""


@njit()
def _fold_columns(
    columns: npt.NDArray[np.uint16],
    first_query: int,
    index: npt.NDArray[np.int32],
    best: npt.NDArray[np.uint16],
    second: npt.NDArray[np.uint16],
) -> None:
    """Merge each train row's neighbours in one tile of queries into those of earlier tiles."""
    for row in range(len(index)):
        group, lane = row // LANES, row % LANES
        key, runner_up = columns[group, 0, lane], columns[group, 1, lane]
        nearest = distance_of(key)
        if nearest < best[row]:
            index[row] = first_query + (key & ((1 << TAG_BITS) - 1))
            second[row] = min(best[row], distance_of(runner_up))
            best[row] = nearest
        else:
            second[row] = min(second[row], nearest)


@njit(
    "(u8[:, ::1], u2[:, :, :, ::1], i8[::1], i8[::1], i8[::1], Tuple((i4[:, ::1], u2[:, ::1], u2[:, ::1])), "
    "Tuple((i4[:, :, ::1], u2[:, :, ::1], u2[:, :, ::1])))",
    parallel=True,
    nogil=True,
)
def _search_panel(
    query: npt.NDArray[np.uint64],
    panel: npt.NDArray[np.uint16],
    scene: npt.NDArray[np.int64],
    start: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    forward: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.uint16]],
    backward: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.uint16]],
) -> None:
    """Merge the neighbours found in a panel's blocks into forward (n, s) and backward (parts, blocks, BLOCK_ROWS).

    A part is a range of consecutive tiles processed by one thread, so that no two threads write the same rows.
    """
    index, best, second = forward
    parts = len(backward[0])
    tiles = -(-len(query) // _TILE)
    for part in numba.prange(parts):
        queries, state = query_space(np.int64(_TILE)), aligned(np.int64(_TILE), np.int64(2))
        columns = aligned(np.int64(BLOCK_GROUPS), np.int64(2))
        column_index, column_best, column_second = backward[0][part], backward[1][part], backward[2][part]
        for tile in range(part * tiles // parts, (part + 1) * tiles // parts):
            first = tile * _TILE
            last = min(first + _TILE, len(query))
            encode_queries(query[first:last], queries)
            for block in range(len(scene)):
                state[:] = NO_KEY
                columns[:] = NO_KEY
                groups = -(-rows[block] // LANES)
                compare_block_both(panel[block], groups, queries, last - first, state, columns)
                at, count = scene[block], rows[block]
                fold_rows(state, start[block], index[first:last, at], best[first:last, at], second[first:last, at])
                _fold_columns(
                    columns,
                    first,
                    column_index[block, :count],
                    column_best[block, :count],
                    column_second[block, :count],
                )


def _join(parts: Top2, rows: npt.NDArray[np.int64]) -> Top2:
    """Merge (parts, blocks, BLOCK_ROWS) neighbours to one per row; lower parts have lower query rows."""
    index, best, second = parts.index[0], parts.best[0], parts.second[0]
    for part in range(1, len(parts.index)):
        nearer = parts.best[part] < best
        second = np.minimum(np.where(nearer, parts.second[part], second), np.maximum(best, parts.best[part]))
        index = np.where(nearer, parts.index[part], index)
        best = np.minimum(best, parts.best[part])
    used = np.arange(BLOCK_ROWS) < rows[:, None]
    return Top2(index[used][:, None], best[used][:, None], second[used][:, None])


def hamming_top2_both(
    query: npt.NDArray[np.uint64], train: npt.NDArray[np.uint64], train_offsets: npt.NDArray[np.int64]
) -> tuple[Top2, Top2]:
    """Search all scenes, a panel of encoded blocks at a time; see the package for the contract."""
    forward, backward = Top2.empty(len(query), len(train_offsets) - 1), Top2.empty(len(train), 1)
    if len(query) == 0:
        return forward, backward
    threads = numba.get_num_threads()
    for blocks in panels(train_offsets, min(_PANEL_BLOCKS, max(1, _PRIVATE_BLOCKS // threads))):
        first = train_offsets[blocks.scene] + blocks.start
        shape = (threads, len(blocks.rows), BLOCK_ROWS)
        parts = Top2(np.full(shape, NO_ROW, np.int32), *(np.full(shape, NO_DISTANCE, np.uint16) for _ in range(2)))
        _search_panel(
            query,
            encode_panel(train, first, blocks.rows),
            blocks.scene,
            blocks.start,
            blocks.rows,
            (forward.index, forward.best, forward.second),
            (parts.index, parts.best, parts.second),
        )
        found = _join(parts, blocks.rows)
        # Blocks are contiguous: empty scenes have no blocks.
        panel_rows = slice(first[0], first[0] + len(found.index))
        backward.index[panel_rows], backward.best[panel_rows] = found.index, found.best
        backward.second[panel_rows] = found.second
    return forward, backward
