"""`hamming_window_top2_both` on the CPU: a sweep along x over pairs of strips of the two scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.features import WORDS
from s2fast_kernels.hamming_top2.reference import Top2
from s2fast_kernels.hamming_window_top2.numba_cpu import NO_KEY, popcount

if TYPE_CHECKING:
    from s2fast_kernels.hamming_window_top2_both.rows import WindowRows

Rows: TypeAlias = tuple[npt.NDArray[np.uint64], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""Descriptors, x, y and row numbers of a `WindowRows`."""

Strips: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Group, start and y range of the strips of a `WindowRows`."""


@njit(nogil=True)
def _signed_square(difference: float) -> float:
    """Return the square of a difference with its sign; monotonic in the difference, also after rounding."""
    return difference * abs(difference)


@njit(nogil=True)
def _fold(key: int, at: int, best: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> None:
    """Merge a key into the two smallest keys of a row."""
    second[at] = min(second[at], max(best[at], key))
    best[at] = min(best[at], key)


@njit(nogil=True)
def _sweep(
    query: Rows,
    query_range: tuple[int, int],
    train: Rows,
    train_range: tuple[int, int],
    away: tuple[float, float],
    limit: float,
    keys: npt.NDArray[np.int64],
    train_keys: npt.NDArray[np.int64],
) -> None:
    """Compare the rows of two strips, both sorted by x, whose squared distance is at most `limit`."""
    first, end = train_range
    for q in range(query_range[0], query_range[1]):
        x, y = query[1][q] + away[0], query[2][q] + away[1]
        # Train rows too far left of this query are too far left of all following ones.
        while first < end and _signed_square(train[1][first] - x) < -limit:
            first += 1
        for t in range(first, end):
            dx = train[1][t] - x
            if dx * dx > limit:
                break
            dy = train[2][t] - y
            if dx * dx + dy * dy <= limit:
                distance = 0
                for word in range(WORDS):
                    distance += popcount(query[0][q, word] ^ train[0][t, word])
                _fold(distance << 32 | train[3][t], q, keys[0], keys[1])
                _fold(distance << 32 | query[3][q], t, train_keys[0], train_keys[1])


@njit(nogil=True)
def search(
    query: Rows,
    query_strips: Strips,
    train: Rows,
    train_strips: Strips,
    away: tuple[float, float],
    radius: float,
    keys: npt.NDArray[np.int64],
    train_keys: npt.NDArray[np.int64],
) -> None:
    """Sweep every strip of the query along the strips of its group within reach.

    Strips and rows are skipped by the same arithmetic that decides whether rows are compared. Rounded differences,
    squares and sums are monotonic in their operands, so no rows within the radius are skipped.
    """
    limit = radius * radius
    group, start, bounds = query_strips
    train_group, train_start, train_bounds = train_strips
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
            _sweep(query, query_range, train, train_range, away, limit, keys, train_keys)


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
    search(*sorted_operands(query), *sorted_operands(train), away, query.radius, keys, train_keys)
    forward, backward = Top2.empty(len(query), 1), Top2.empty(len(train), 1)
    for rows, found, top2 in ((query, keys, forward), (train, train_keys, backward)):
        _write(rows.row, found, (top2.index, top2.best, top2.second))
    return forward, backward
