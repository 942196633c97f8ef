"""`window_matches` on the CPU: trials are searched in threads, each by the sweep of `hamming_window_top2_both`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, empty_table, filled
from s2fast_kernels.hamming_top2.reference import NO_DISTANCE
from s2fast_kernels.hamming_window_top2.numba_cpu import NO_KEY
from s2fast_kernels.hamming_window_top2_both.numba_cpu import Rows, Strips, search, sorted_operands
from s2fast_kernels.threads import map_in_threads
from s2fast_kernels.window_matches.contract import Columns, MatchTest, WindowMatches

if TYPE_CHECKING:
    from s2fast_kernels.hamming_window_top2_both import WindowRows

_OPERANDS = "Tuple((u8[:,::1], f8[::1], f8[::1], i8[::1])), Tuple((i8[::1], i8[::1], f8[:,::1]))"
"""Numba's types of `sorted_operands`."""

_ONE, _TWO, _NOWHERE = np.int64(1), np.int64(2), np.int64(-1)  # not plain numbers: see `compiled_arrays`


@njit(nogil=True)
def _passes(best: int, second: int, ratio: float, max_distance: int) -> bool:
    """Apply the cap and the ratio test to the keys of a row's two nearest neighbours, without a branch."""
    within: bool = (best != NO_KEY) & (best >> 32 <= max_distance)
    return within & ((second == NO_KEY) | (best >> 32 < ratio * (second >> 32)))


@njit(nogil=True)
def _selected(
    rows: npt.NDArray[np.int64],
    keys: npt.NDArray[np.int64],
    train_rows: npt.NDArray[np.int64],
    train_keys: npt.NDArray[np.int64],
    ratio: float,
    max_distance: int,
    mutual: bool,
) -> Columns:
    """Return the rows that pass, in the caller's order, from the (2, n) and (1, m) smallest keys."""
    nearest = empty(len(train_rows), np.int32)
    if mutual:
        for t in range(len(train_rows)):
            nearest[train_rows[t]] = train_keys[0, t] & 0xFFFFFFFF
    # Lists that grow only if a test holds: branches would often be predicted wrongly.
    listed, passing = empty(len(rows), np.int32), 0
    for q in range(len(rows)):
        listed[passing] = q
        passing += _passes(keys[0, q], keys[1, q], ratio, max_distance)
    # The sorted index of each of the caller's rows that is a good match.
    at = filled(len(rows), _NOWHERE, np.int32)
    for i in range(passing):
        q = listed[i]
        if not mutual or nearest[keys[0, q] & 0xFFFFFFFF] == rows[q]:
            at[rows[q]] = q
    count = 0
    for row in range(len(rows)):
        listed[count] = row
        count += at[row] >= 0
    query_row, train_row = empty(count, np.int32), empty(count, np.int32)
    distance, second = empty(count, np.uint16), empty(count, np.uint16)
    for i in range(count):
        row = listed[i]
        best, after = keys[0, at[row]], keys[1, at[row]]
        query_row[i], train_row[i] = row, best & 0xFFFFFFFF
        distance[i] = best >> 32
        second[i] = NO_DISTANCE if after == NO_KEY else after >> 32
    return query_row, train_row, distance, second


@njit(
    f"({_OPERANDS}, {_OPERANDS}, UniTuple(f8, 2), f8, f8, i8, b1)",
    nogil=True,
)
def _trial(
    query: Rows,
    query_strips: Strips,
    train: Rows,
    train_strips: Strips,
    away: tuple[float, float],
    radius: float,
    ratio: float,
    max_distance: int,
    mutual: bool,
) -> Columns:
    """Search one train at one place, and select."""
    keys, train_keys = empty_table(_TWO, len(query[3]), np.int64), empty_table(_ONE, len(train[3]), np.int64)
    for smallest in (keys, train_keys):
        for k in range(len(smallest)):
            for i in range(smallest.shape[1]):
                smallest[k, i] = NO_KEY
    search(query, query_strips, train, train_strips, away, radius, (keys, train_keys))
    found: Columns = _selected(query[3], keys, train[3], train_keys, ratio, max_distance, mutual)
    return found


def window_matches(
    pairs: Sequence[tuple[WindowRows, WindowRows]], away: npt.NDArray[np.float64], test: MatchTest
) -> WindowMatches:
    """Search the trials in threads; see the package for the contract."""
    selection = float(test.ratio), int(test.max_distance), bool(test.mutual)

    def trial(number: int) -> Columns:
        pair, place = divmod(number, away.shape[1])
        query, train = pairs[pair]
        x, y = away[pair, place]
        columns: Columns = _trial(
            *sorted_operands(query), *sorted_operands(train), (float(x), float(y)), query.radius, *selection
        )
        return columns

    return WindowMatches.of(map_in_threads(trial, range(away.shape[0] * away.shape[1])))
