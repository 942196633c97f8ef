"""Compiled search for the highest votes in wide areas, row by row: see `s2fast.geometry.compiled_votes`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, filled, zeros, zeros_table

_ONE = np.int64(1)  # not a plain number: see `compiled_arrays`


@njit(nogil=True)
def highest_by_rows(
    bins: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]],
    side: int,
    spans: npt.NDArray[np.int64],
    taken: tuple[int, int],
    apart: float,
) -> tuple[int, int, float]:
    """Return row, column and votes of the first highest place at least `apart` bins from one that is taken.

    A table of all places of a wide search area would take gigabytes: only as many rows are kept as the disc has.

    Parameters
    ----------
    bins
        Row, column and votes of the bins that have some, row by row.
    side
        Rows and columns of the search area.
    spans : (d, 2) int64
        First column, and last plus one, of every row of the disc.
    taken
        Row and column of a place; negative if none is taken.
    apart
        Distance [bins].
    """
    rows, columns, votes = bins
    count, reach = len(spans), len(spans) // 2
    width, ring = side + 2 * reach, _ONE
    while ring < count:
        ring *= 2  # a power of two, whose remainders take no division
    kept: npt.NDArray[np.float32] = zeros_table(ring, width, np.float32)
    # Numbers that are not negative are ordered as their bits, whose maximum is found several at a time.
    bits = kept.view(np.int32)
    left, right = filled(ring, width, np.int64), zeros(ring, np.int64)
    best, best_row, best_column, following = np.int32(0), 0, 0, 0
    for row in range(width):
        while following < len(rows) and rows[following] == row:
            # Every sum gets its terms in the order in which cv2.filter2D adds them, without the zeros.
            for down in range(count):
                at = (row + down) & (ring - 1)
                first, last = columns[following] + spans[down, 0], columns[following] + spans[down, 1]
                line = kept[at, first:last]
                for c in range(len(line)):
                    line[c] += votes[following]
                left[at], right[at] = min(left[at], first), max(right[at], last)
            following += 1
        at = row & (ring - 1)
        if left[at] >= right[at]:
            continue
        if taken[0] >= 0 and abs(row - reach - taken[0]) < apart:
            for c in range(left[at], right[at]):
                dy, dx = row - reach - taken[0], c - reach - taken[1]
                if dy * dy + dx * dx < apart * apart:
                    kept[at, c] = 0
        if reach <= row < side + reach:
            places, most = bits[at, max(left[at], reach) : min(right[at], side + reach)], np.int32(0)
            for c in range(len(places)):
                most = places[c] if places[c] > most else most
            if most > best:
                best, best_row, best_column = most, row - reach, max(left[at], reach)
                while bits[at, best_column] != best:
                    best_column += 1
                best_column -= reach
        for c in range(left[at], right[at]):
            kept[at, c] = 0
        left[at], right[at] = width, 0
    value = empty(1, np.int32)
    value[0] = best
    return best_row, best_column, value.view(np.float32)[0]
