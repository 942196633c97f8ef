"""`hamming_window_top2_both` on the CPU: a sweep along x over pairs of strips of the two scenes.

The sweep lists rows near each other, which are then compared in the order of the list: neither waits for the other, and
little depends on a branch that is hard to predict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty
from s2fast_kernels.hamming_top2.reference import Top2
from s2fast_kernels.hamming_window_top2.numba_cpu import NO_KEY, distance
from s2fast_kernels.hamming_window_top2_both import several_rows

if TYPE_CHECKING:
    from s2fast_kernels.hamming_window_top2_both.rows import WindowRows

Rows: TypeAlias = tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""Descriptors, x, y and row numbers of a `WindowRows`."""

Strips: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Group, start and y range of the strips of a `WindowRows`."""

Keys: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""(2, n) two smallest keys ``distance << 32 | row`` of the rows of the query, and (2, m) those of the train; (1, m) if
only the smallest of the train is wanted."""

Near: TypeAlias = npt.NDArray[np.uint64]
"""Pairs of rows within the radius: ``query << 32 | train``, sorted indices."""

_AT_ONCE = 4096
"""Number of listed pairs that are compared together, while the list is in the first cache."""

_TOGETHER = 3
"""Number of consecutive queries whose sweeps start at the same train row, so that the processor can begin one before it
knows where another would start."""


@njit(nogil=True)
def _signed_square(difference: float) -> float:
    """Return the square of a difference with its sign; monotonic in the difference, also after rounding."""
    return difference * abs(difference)


@njit(nogil=True)
def _list_near(
    query: Rows,
    query_range: tuple[int, int],
    train: Rows,
    train_range: tuple[int, int],
    away: tuple[float, float],
    limit: float,
    near: Near,
    count: np.uint64,
    keys: Keys,
) -> np.uint64:
    """List the pairs of rows of two strips, both sorted by x, whose squared distance is at most `limit`.

    Of those listed, `count` wait for being compared, as all do once there are `_AT_ONCE`. Return how many wait then.
    """
    # Indices without a sign: numba tests others at every access for being negative.
    first, end = np.uint64(train_range[0]), np.uint64(train_range[1])
    for q in range(np.uint64(query_range[0]), np.uint64(query_range[1])):
        x, y = query[1][q] + away[0], query[2][q] + away[1]
        # Train rows too far left of this query are too far left of all following ones.
        while first < end and _signed_square(train[1][first] - x) < -limit:
            first += np.uint64(1)
        for t in range(first, end):
            dx = train[1][t] - x
            if dx * dx > limit:
                break
            dy = train[2][t] - y
            # A branch would often be predicted wrongly.
            near[count] = q << np.uint64(32) | t
            count += np.uint64(dx * dx + dy * dy <= limit)
        if count >= _AT_ONCE:
            _compare(query, train, near, count, keys)
            count = np.uint64(0)
    return count


@njit(nogil=True)
def _list_near_several(
    query: Rows,
    query_range: tuple[int, int],
    train: Rows,
    train_range: tuple[int, int],
    away: tuple[float, float],
    limit: float,
    near: Near,
    count: np.uint64,
    keys: Keys,
) -> np.uint64:
    """Do what `_list_near` does, with `several_rows.ROWS` train rows at once; so many must exist after the strip."""
    first, end = np.uint64(train_range[0]), np.uint64(train_range[1])
    q, stop = np.uint64(query_range[0]), np.uint64(query_range[1])
    # Queries too far left of the first train row have nothing near.
    while q < stop and _signed_square(train[1][first] - (query[1][q] + away[0])) > limit:
        q += np.uint64(1)
    while q < stop and first < end:
        left, last = np.uint64(0), min(stop, q + np.uint64(_TOGETHER))
        while q < last:
            place = query[1][q] + away[0], query[2][q] + away[1]
            at, left = first, np.uint64(0)
            while at < end:
                found = several_rows.list_near(train[1], train[2], at, end, q, place, limit, near, count)
                count += found & np.uint64(0xFF)
                left += found >> np.uint64(8) & np.uint64(0xFF)
                if found >> np.uint64(16):
                    break
                at += np.uint64(several_rows.ROWS)
            q += np.uint64(1)
            if count >= _AT_ONCE:
                _compare(query, train, near, count, keys)
                count = np.uint64(0)
        first += left
    return count


@njit(nogil=True)
def _compare(query: Rows, train: Rows, near: Near, count: np.uint64, keys: Keys) -> None:
    """Merge the keys of listed pairs of rows into the smallest keys of either row."""
    best, second, train_best = keys[0][0], keys[0][1], keys[1][0]
    several, train_second = len(keys[1]) > 1, keys[1][len(keys[1]) - 1]
    for i in range(count):
        q, t = near[i] >> np.uint64(32), near[i] & np.uint64(0xFFFFFFFF)
        bits = distance(query[0], q, train[0], t) << 32
        key = bits | train[3][t]
        second[q] = min(second[q], max(best[q], key))
        best[q] = min(best[q], key)
        key = bits | query[3][q]
        if several:
            train_second[t] = min(train_second[t], max(train_best[t], key))
        train_best[t] = min(train_best[t], key)


@njit(nogil=True)
def search(
    query: Rows,
    query_strips: Strips,
    train: Rows,
    train_strips: Strips,
    away: tuple[float, float],
    radius: float,
    keys: Keys,
) -> None:
    """Sweep every strip of the query along the strips of its group within reach.

    Strips and rows are skipped by the same arithmetic that decides whether rows are compared. Rounded differences,
    squares and sums are monotonic in their operands, so no rows within the radius are skipped.
    """
    limit = radius * radius
    group, start, bounds = query_strips
    train_group, train_start, train_bounds = train_strips
    near, count = empty(_AT_ONCE + len(train[3]) + several_rows.ROWS, np.uint64), np.uint64(0)
    first = 0
    for strip in range(len(group)):
        low, high = bounds[strip, 0] + away[1], bounds[strip, 1] + away[1]
        while first < len(train_group) and (
            train_group[first] < group[strip]
            or (train_group[first] == group[strip] and _signed_square(train_bounds[first, 1] - low) < -limit)
        ):
            first += 1
        for other in range(first, len(train_group)):
            if train_group[other] != group[strip] or _signed_square(train_bounds[other, 0] - high) > limit:
                break
            query_range, train_range = (start[strip], start[strip + 1]), (train_start[other], train_start[other + 1])
            if several_rows.ROWS and train_range[1] + several_rows.ROWS <= len(train[3]):
                count = _list_near_several(query, query_range, train, train_range, away, limit, near, count, keys)
            else:
                count = _list_near(query, query_range, train, train_range, away, limit, near, count, keys)
    _compare(query, train, near, count, keys)


@njit(nogil=True)
def _write(
    rows: npt.NDArray[np.int64],
    keys: npt.NDArray[np.int64],
    result: tuple[npt.NDArray[np.int32], npt.NDArray[np.uint16], npt.NDArray[np.uint16]],
) -> None:
    """Unpack the (2, n) keys into the result, in the caller's order."""
    index, best, second = result
    for i in range(len(rows)):
        if keys[0, i] != NO_KEY:
            index[rows[i], 0] = keys[0, i] & 0xFFFFFFFF
            best[rows[i], 0] = keys[0, i] >> 32
        if keys[1, i] != NO_KEY:
            second[rows[i], 0] = keys[1, i] >> 32


def sorted_operands(rows: WindowRows) -> tuple[Rows, Strips]:
    """Return the arrays of the rows as compiled code takes them."""
    return (rows.descriptors, rows.x, rows.y, rows.row), (rows.strip_group, rows.strip_start, rows.strip_y)


def hamming_window_top2_both(query: WindowRows, train: WindowRows, away: tuple[float, float]) -> tuple[Top2, Top2]:
    """Search, then write the neighbours in the caller's order; see the package for the contract."""
    keys, train_keys = (np.full((2, len(rows)), NO_KEY, np.int64) for rows in (query, train))
    search(*sorted_operands(query), *sorted_operands(train), away, query.radius, (keys, train_keys))
    forward, backward = Top2.empty(len(query), 1), Top2.empty(len(train), 1)
    for rows, found, top2 in ((query, keys, forward), (train, train_keys, backward)):
        _write(rows.row, found, (top2.index, top2.best, top2.second))
    return forward, backward
