"""`window_matches` as tensor operations on any torch device that has float64.

Every query row of a block of trials is a lane. Lanes find the strips of the train within reach, and in each strip the
rows within reach, by binary search with the arithmetic that decides whether rows are compared. All lanes advance
together, one train row at a time; lanes without a row left drop out. Every lane keeps the two smallest keys
``distance << 32 | row``, so that no list of candidates exists. The nearest rows of the lanes that pass the test then
search back in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from s2fast_kernels.hamming_top2.reference import NO_DISTANCE
from s2fast_kernels.window_matches.contract import MatchTest, WindowMatches
from s2fast_kernels.window_matches.device_rows import COLLECT_BYTES, NO_MATCH, Pool, Side, Trials
from s2fast_kernels.window_matches.resident import search_in_blocks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from s2fast_kernels.hamming_window_top2_both import WindowRows

_NO_KEY = 2**63 - 1

_BLOCK_ROWS = 1 << 18
"""Maximum number of query rows searched at once, of several trials."""

ROW_BYTES = 440 + COLLECT_BYTES
"""Memory per query row of a block: lanes, keys, and the words of the rows compared in one step."""


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Rows that search, and where."""

    at: torch.Tensor
    """(n,) own row in the pool."""
    x: torch.Tensor
    """(n,) own position, moved by the own side's offset."""
    y: torch.Tensor
    """(n,) the same."""
    first_strip: torch.Tensor
    """(n,) first strip of the searched scene."""
    stop_strip: torch.Tensor
    """(n,) strip after the last."""
    away_x: torch.Tensor
    """(n,) offset of the searched rows."""
    away_y: torch.Tensor
    """(n,) the same."""
    limit: torch.Tensor
    """(n,) square of the radius."""


def _far_before(difference: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    return (difference < 0) & (difference * difference > limit)


def _far_after(difference: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    return (difference > 0) & (difference * difference > limit)


def _first_without(
    first: torch.Tensor, stop: torch.Tensor, holds: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return the first index in [first, stop) of every lane for which a condition does not hold; it holds before that.

    ``holds(lanes, indices)`` takes the numbers of some lanes and an index of each.
    """
    first, stop = first.clone(), stop.clone()
    while len(lanes := torch.nonzero(first < stop)[:, 0]):
        middle = (first[lanes] + stop[lanes]) >> 1
        before = holds(lanes, middle)
        first[lanes] = torch.where(before, middle + 1, first[lanes])
        stop[lanes] = torch.where(before, stop[lanes], middle)
    return first


def _population(words: torch.Tensor) -> torch.Tensor:
    """Return the number of set bits of every word: int32 in, int32 out."""
    words = words - ((words >> 1) & 0x55555555)
    words = (words & 0x33333333) + ((words >> 2) & 0x33333333)
    words = (words + (words >> 4)) & 0x0F0F0F0F
    return (words * 0x01010101) >> 24


def _left_of(pool: Pool, lanes: _Lanes, numbers: torch.Tensor, some: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Return which rows are too far left of some of the lanes of these numbers."""
    lane = numbers[some]
    return _far_before(pool.x[row] + lanes.away_x[lane] - lanes.x[lane], lanes.limit[lane])


def _not_right_of(
    pool: Pool, lanes: _Lanes, numbers: torch.Tensor, some: torch.Tensor, row: torch.Tensor
) -> torch.Tensor:
    """Return which rows are not too far right of some of the lanes of these numbers."""
    lane = numbers[some]
    return ~_far_after(pool.x[row] + lanes.away_x[lane] - lanes.x[lane], lanes.limit[lane])


def _nearest_two(pool: Pool, lanes: _Lanes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the smallest key, the second-smallest and the pool's row of the first, for every lane."""
    group = pool.group[lanes.at]

    def below(lane: torch.Tensor, strip: torch.Tensor) -> torch.Tensor:
        edge = pool.strip_high[strip] + lanes.away_y[lane] - lanes.y[lane]
        other = pool.strip_group[strip]
        return (other < group[lane]) | ((other == group[lane]) & _far_before(edge, lanes.limit[lane]))

    def up_to(lane: torch.Tensor, strip: torch.Tensor) -> torch.Tensor:
        edge = pool.strip_low[strip] + lanes.away_y[lane] - lanes.y[lane]
        other = pool.strip_group[strip]
        return (other < group[lane]) | ((other == group[lane]) & ~_far_after(edge, lanes.limit[lane]))

    best = torch.full_like(lanes.at, _NO_KEY)
    second, nearest = best.clone(), torch.zeros_like(lanes.at)
    strip = _first_without(lanes.first_strip, lanes.stop_strip, below)
    stop_strip = _first_without(strip, lanes.stop_strip, up_to)
    while len(in_strip := torch.nonzero(strip < stop_strip)[:, 0]):
        here = strip[in_strip]
        first, stop = pool.strip_first[here], pool.strip_stop[here]
        first = _first_without(first, stop, partial(_left_of, pool, lanes, in_strip))
        stop = _first_without(first, stop, partial(_not_right_of, pool, lanes, in_strip))
        lane, row = in_strip, first
        while len(left_over := torch.nonzero(row < stop)[:, 0]):
            lane, row, stop = lane[left_over], row[left_over], stop[left_over]
            dx = pool.x[row] + lanes.away_x[lane] - lanes.x[lane]
            dy = pool.y[row] + lanes.away_y[lane] - lanes.y[lane]
            near = torch.nonzero(dx * dx + dy * dy <= lanes.limit[lane])[:, 0]
            to, found = lane[near], row[near]
            distance = _population(pool.words[found] ^ pool.words[lanes.at[to]]).sum(dim=1)
            key = distance << 32 | pool.row[found]
            nearest[to] = torch.where(key < best[to], found, nearest[to])
            second[to] = torch.minimum(second[to], torch.maximum(best[to], key))
            best[to] = torch.minimum(best[to], key)
            row = row + 1
        strip = strip + 1
    return best, second, nearest


def _lanes(at: torch.Tensor, pool: Pool, trial: torch.Tensor, trials: Trials, *, backward: bool) -> _Lanes:
    """Return lanes for rows of the pool in their trials: the query's, or `backward` the train's."""
    away = trials.away[trial]
    still = torch.zeros_like(away)
    own, other = (still, away) if backward else (away, still)
    searched: Side = trials.query if backward else trials.train
    first = searched.first_strip[trial]
    return _Lanes(
        at,
        pool.x[at] + own[:, 0],
        pool.y[at] + own[:, 1],
        first,
        first + searched.strips[trial],
        other[:, 0],
        other[:, 1],
        trials.limit[trial],
    )


def search(pool: Pool, trials: Trials, test: MatchTest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Search a block of trials; see `s2fast_kernels.window_matches.device_rows.Search`."""
    numbers = torch.arange(len(trials.start), device=trials.start.device)
    trial = torch.repeat_interleave(numbers, trials.query.rows)
    at = trials.query.first_row[trial] + torch.arange(trials.count, device=trial.device) - trials.start[trial]
    best, second, nearest = _nearest_two(pool, _lanes(at, pool, trial, trials, backward=False))
    lone, distance = second == _NO_KEY, best >> 32
    second_distance = torch.where(lone, NO_DISTANCE, second >> 32)
    good = lone | (distance.to(torch.float64) < test.ratio * second_distance.to(torch.float64))
    good &= (best != _NO_KEY) & (distance <= test.max_distance)
    if test.mutual:
        passed = torch.nonzero(good)[:, 0]
        back, _, _ = _nearest_two(pool, _lanes(nearest[passed], pool, trial[passed], trials, backward=True))
        good[passed] = back & 0xFFFFFFFF == pool.row[at[passed]]
    place = trials.start[trial] + pool.row[at]
    train_row = torch.full_like(at, NO_MATCH)
    train_row[place] = torch.where(good, best & 0xFFFFFFFF, NO_MATCH)
    in_order = torch.empty_like(at), torch.empty_like(at)
    for column, values in zip(in_order, (distance, second_distance), strict=True):
        column[place] = values
    return train_row, *in_order


def window_matches(
    pairs: Sequence[tuple[WindowRows, WindowRows]],
    away: npt.NDArray[np.float64],
    test: MatchTest,
    *,
    device: str | torch.device = "cpu",
    most: int = _BLOCK_ROWS,
) -> WindowMatches:
    """Search blocks of trials of at most `most` query rows; see the package for the contract."""
    return search_in_blocks(pairs, away, test, search, torch.device(device), ROW_BYTES, most)
