"""`window_matches` on a GPU: one launch per block of trials, with the running top-2 of both directions in registers.

Every lane of a program is a query row of one trial. It finds the strips of the train within reach, and in each strip
the rows within reach, by binary search with the arithmetic that decides whether rows are compared; then it compares
these rows one after another and keeps the two smallest keys ``distance << 32 | row``. The nearest rows of the lanes
that pass the test search back in the same program. Nothing is written but the match of every query row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from s2fast_kernels.hamming_top2.reference import NO_DISTANCE
from s2fast_kernels.window_matches import device_rows
from s2fast_kernels.window_matches.contract import MatchTest, WindowMatches
from s2fast_kernels.window_matches.device_rows import COLLECT_BYTES, Pool, Trials
from s2fast_kernels.window_matches.resident import search_in_blocks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from s2fast_kernels.hamming_window_top2_both import WindowRows

WORDS = tl.constexpr(16)
"""Words of 32 bits per descriptor."""

NO_KEY = tl.constexpr(2**63 - 1)
NO_BITS = tl.constexpr(NO_DISTANCE)
NO_MATCH = tl.constexpr(device_rows.NO_MATCH)
ROW_BITS = tl.constexpr(32)
ROW_MASK = tl.constexpr(2**32 - 1)

_BLOCK_ROWS = 1 << 23
"""Maximum number of query rows per launch of several trials."""

ROW_BYTES = 12 + COLLECT_BYTES
"""Memory per query row of a launch: the result, and its matches."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """Compile-time parameters of the kernel."""

    rows: int
    """Query rows per program."""

    warps: int
    """Warps per program."""


TILING = Tiling(32, 1)
"""Selected from the reports of ``python -m benchmarks static``."""


@triton.jit
def _far_before(difference: tl.tensor, limit: tl.tensor) -> tl.tensor:
    return (difference < 0) & (difference * difference > limit)


@triton.jit
def _far_after(difference: tl.tensor, limit: tl.tensor) -> tl.tensor:
    return (difference > 0) & (difference * difference > limit)


@triton.jit
def _population(words: tl.tensor) -> tl.tensor:
    """Return the number of set bits of int32 words; LLVM recognises this form and emits the instruction."""
    bits = words.to(tl.uint32, bitcast=True)
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return ((bits * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def _strips_in_reach(
    first: tl.tensor, stop: tl.tensor, group: tl.tensor, y: tl.tensor, away_y: tl.tensor, limit: tl.tensor,
    strip_group: tl.tensor, strip_low: tl.tensor, strip_high: tl.tensor, steps: tl.tensor,
) -> tl.tensor:  # fmt: skip
    """Return the first strip within reach of every lane, and the strip after the last, among [first, stop)."""
    low, high = first, stop
    low_stop, high_stop = first, stop
    for _ in range(steps):
        middle = (low + high) // 2
        is_open = low < high
        other = tl.load(strip_group + middle, mask=is_open, other=0)
        edge = tl.load(strip_high + middle, mask=is_open, other=0.0) + away_y - y
        below = is_open & ((other < group) | ((other == group) & _far_before(edge, limit)))
        low = tl.where(below, middle + 1, low)
        high = tl.where(below, high, tl.where(is_open, middle, high))
        middle = (low_stop + high_stop) // 2
        is_open = low_stop < high_stop
        other = tl.load(strip_group + middle, mask=is_open, other=0)
        edge = tl.load(strip_low + middle, mask=is_open, other=0.0) + away_y - y
        after = (other > group) | ((other == group) & _far_after(edge, limit))
        low_stop = tl.where(is_open & (after == 0), middle + 1, low_stop)
        high_stop = tl.where(is_open & after, middle, high_stop)
    return low, low_stop


@triton.jit
def _rows_in_reach(
    first: tl.tensor, stop: tl.tensor, x: tl.tensor, away_x: tl.tensor, limit: tl.tensor,
    row_x: tl.tensor, steps: tl.tensor,
) -> tl.tensor:  # fmt: skip
    """Return the first row of [first, stop) within reach of every lane along x, and the row after the last."""
    low, high = first, stop
    low_stop, high_stop = first, stop
    for _ in range(steps):
        middle = (low + high) // 2
        is_open = low < high
        before = is_open & _far_before(tl.load(row_x + middle, mask=is_open, other=0.0) + away_x - x, limit)
        low = tl.where(before, middle + 1, low)
        high = tl.where(before, high, tl.where(is_open, middle, high))
        middle = (low_stop + high_stop) // 2
        is_open = low_stop < high_stop
        after = _far_after(tl.load(row_x + middle, mask=is_open, other=0.0) + away_x - x, limit)
        low_stop = tl.where(is_open & (after == 0), middle + 1, low_stop)
        high_stop = tl.where(is_open & after, middle, high_stop)
    return low, low_stop


@triton.jit
def _nearest_two(
    at: tl.tensor, active: tl.tensor, own_x: tl.tensor, own_y: tl.tensor, other_x: tl.tensor, other_y: tl.tensor,
    limit: tl.tensor, first_strip: tl.tensor, strips: tl.tensor,
    words: tl.tensor, x: tl.tensor, y: tl.tensor, row: tl.tensor, group: tl.tensor,
    strip_group: tl.tensor, strip_first: tl.tensor, strip_stop: tl.tensor, strip_low: tl.tensor, strip_high: tl.tensor,
    strip_steps: tl.tensor, row_steps: tl.tensor,
) -> tl.tensor:  # fmt: skip
    """Return the smallest key, the second-smallest and the pool's row of the first, for the active lanes.

    The lanes' rows are moved by `own`, the rows of the searched strips by `other`.
    """
    word = tl.arange(0, WORDS)
    own_words = tl.load(words + at[:, None] * WORDS + word[None, :], mask=active[:, None], other=0)
    own_group = tl.load(group + at, mask=active, other=0)
    lane_x = tl.load(x + at, mask=active, other=0.0) + own_x
    lane_y = tl.load(y + at, mask=active, other=0.0) + own_y
    first = tl.zeros_like(at) + first_strip
    strip, stop_strip = _strips_in_reach(
        first, tl.where(active, first + strips, first), own_group, lane_y, other_y, limit,
        strip_group, strip_low, strip_high, strip_steps,
    )  # fmt: skip
    best = tl.zeros_like(at) + NO_KEY
    second = tl.zeros_like(at) + NO_KEY
    nearest = tl.zeros_like(at)
    for _ in range(tl.max(stop_strip - strip, axis=0)):
        here = strip < stop_strip
        begin = tl.load(strip_first + strip, mask=here, other=0)
        end = tl.load(strip_stop + strip, mask=here, other=0)
        other, end = _rows_in_reach(begin, end, lane_x, other_x, limit, x, row_steps)
        for _ in range(tl.max(end - other, axis=0)):
            inside = other < end
            dx = tl.load(x + other, mask=inside, other=0.0) + other_x - lane_x
            dy = tl.load(y + other, mask=inside, other=0.0) + other_y - lane_y
            near = inside & (dx * dx + dy * dy <= limit)
            others = tl.load(words + other[:, None] * WORDS + word[None, :], mask=near[:, None], other=0)
            distance = tl.sum(_population(own_words ^ others), axis=1).to(tl.int64)
            key = (distance << ROW_BITS) | tl.load(row + other, mask=near, other=0)
            key = tl.where(near, key, NO_KEY)
            nearest = tl.where(key < best, other, nearest)
            second = tl.minimum(second, tl.maximum(best, key))
            best = tl.minimum(best, key)
            other += 1
        strip += 1
    return best, second, nearest


@triton.jit
def match_kernel(
    words: tl.tensor, x: tl.tensor, y: tl.tensor, row: tl.tensor, group: tl.tensor,
    strip_group: tl.tensor, strip_first: tl.tensor, strip_stop: tl.tensor, strip_low: tl.tensor, strip_high: tl.tensor,
    query_row: tl.tensor, query_rows: tl.tensor, query_strip: tl.tensor, query_strips: tl.tensor,
    train_strip: tl.tensor, train_strips: tl.tensor, away: tl.tensor, limits: tl.tensor, starts: tl.tensor,
    ratio: tl.tensor, train_row_out: tl.tensor, distance_out: tl.tensor, second_out: tl.tensor,
    blocks: tl.tensor, max_distance: tl.tensor, strip_steps: tl.tensor, row_steps: tl.tensor,
    mutual: tl.constexpr, tile_rows: tl.constexpr,
) -> None:  # fmt: skip
    """Find the match of a tile of query rows of one trial."""
    trial = (tl.program_id(0) // blocks).to(tl.int64)
    lane = (tl.program_id(0) % blocks) * tile_rows + tl.arange(0, tile_rows)
    active = lane < tl.load(query_rows + trial)
    at = tl.load(query_row + trial) + lane
    away_x, away_y = tl.load(away + 2 * trial), tl.load(away + 2 * trial + 1)
    limit = tl.load(limits + trial)
    best, second, nearest = _nearest_two(
        at, active, away_x, away_y, 0.0, 0.0, limit, tl.load(train_strip + trial), tl.load(train_strips + trial),
        words, x, y, row, group, strip_group, strip_first, strip_stop, strip_low, strip_high, strip_steps, row_steps,
    )  # fmt: skip
    found = best != NO_KEY
    distance = (best >> ROW_BITS).to(tl.int32)
    second_distance = tl.where(second == NO_KEY, NO_BITS, second >> ROW_BITS).to(tl.int32)
    below = distance.to(tl.float64) < tl.load(ratio) * second_distance.to(tl.float64)
    good = found & ((second == NO_KEY) | below) & (distance <= max_distance)
    own_row = tl.load(row + at, mask=active, other=0)
    if mutual:
        back, _, _ = _nearest_two(
            tl.where(good, nearest, at), good, 0.0, 0.0, away_x, away_y, limit,
            tl.load(query_strip + trial), tl.load(query_strips + trial),
            words, x, y, row, group, strip_group, strip_first, strip_stop, strip_low, strip_high,
            strip_steps, row_steps,
        )  # fmt: skip
        good = good & ((back & ROW_MASK) == own_row)
    out = tl.load(starts + trial) + own_row
    tl.store(train_row_out + out, tl.where(good, (best & ROW_MASK).to(tl.int32), NO_MATCH), mask=active)
    tl.store(distance_out + out, distance, mask=active & good)
    tl.store(second_out + out, second_distance, mask=active & good)


def _search(
    pool: Pool, trials: Trials, test: MatchTest, tiling: Tiling
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Search a block of trials in one launch; see `s2fast_kernels.window_matches.device_rows.Search`."""
    train_row, distance, second = torch.empty((3, trials.count), dtype=torch.int32, device=pool.x.device)
    blocks = triton.cdiv(trials.most_queries, tiling.rows)
    if blocks:
        query, train = trials.query, trials.train
        match_kernel[(blocks * len(trials.start),)](
            pool.words, pool.x, pool.y, pool.row, pool.group,
            pool.strip_group, pool.strip_first, pool.strip_stop, pool.strip_low, pool.strip_high,
            query.first_row, query.rows, query.first_strip, query.strips,
            train.first_strip, train.strips, trials.away, trials.limit, trials.start,
            trials.ratio,  # a tensor, because Triton passes numbers as float32
            train_row, distance, second,
            blocks, test.max_distance, trials.most_strips.bit_length(), trials.most_rows.bit_length(),
            mutual=test.mutual, tile_rows=tiling.rows, num_warps=tiling.warps, enable_fp_fusion=False,
        )  # fmt: skip
    return train_row, distance, second


def window_matches(
    pairs: Sequence[tuple[WindowRows, WindowRows]],
    away: npt.NDArray[np.float64],
    test: MatchTest,
    *,
    device: str | torch.device | None = None,
    tiling: Tiling = TILING,
    most: int = _BLOCK_ROWS,
) -> WindowMatches:
    """Search blocks of trials of at most `most` query rows, each in one launch; see the package for the contract.

    The default is the current CUDA device. Triton's interpreter runs the kernel on the CPU device.
    """
    device = torch.device(device or "cuda")
    return search_in_blocks(pairs, away, test, partial(_search, tiling=tiling), device, ROW_BYTES, most)
