"""Compiled search for the highest peaks of votes: `highest_votes`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, empty_table, filled, zeros, zeros_table

_ONE, _TWO, _THREE = np.int64(1), np.int64(2), np.int64(3)  # not plain numbers: see `compiled_arrays`

_MOST_SIDE = 1024
"""Largest side of a table of votes, of 4 MB; row by row, a usual search area would take longer [bins]."""


@njit(nogil=True)
def _bins(
    moved: npt.NDArray[np.float64], share: npt.NDArray[np.float64], half: int, bin_px: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return row, column and votes of the bins that have some, row by row; see `highest_votes`."""
    count, side = len(moved), 2 * half + 1
    row_of, column_of, order = empty(count, np.int64), empty(count, np.int64), empty(count, np.int64)
    end = zeros(side + 1, np.int64)
    for i in range(count):
        row_of[i] = int(np.rint(moved[i, 1] / bin_px)) + half
        column_of[i] = int(np.rint(moved[i, 0] / bin_px)) + half
        end[row_of[i] + 1] += 1
    for row in range(side):
        end[row + 1] += end[row]
    for i in range(count):
        order[end[row_of[i]]] = i
        end[row_of[i]] += 1
    rows, columns, votes = empty(count, np.int64), empty(count, np.int64), empty(count, np.float32)
    sums, start, found = zeros(side, np.float64), 0, 0
    for row in range(side):
        left, right = side, -1
        for i in order[start : end[row]]:
            sums[column_of[i]] += share[i]
            left, right = min(left, column_of[i]), max(right, column_of[i])
        start = end[row]
        for column in range(left, right + 1):
            total = np.float32(sums[column])
            sums[column] = 0
            if total != 0:
                rows[found], columns[found], votes[found] = row, column, total
                found += 1
    return rows[:found], columns[:found], votes[:found]


@njit(nogil=True)
def _table(
    bins: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]],
    side: int,
    spans: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """Return the votes of every place, with a margin of half a disc."""
    rows, columns, votes = bins
    padded: npt.NDArray[np.float32] = zeros_table(side + len(spans) - 1, side + len(spans) - 1, np.float32)
    # Bin by bin: every sum gets its terms in the order in which cv2.filter2D adds them, without the zeros.
    for i in range(len(rows)):
        for down in range(len(spans)):
            line = padded[rows[i] + down, columns[i] + spans[down, 0] : columns[i] + spans[down, 1]]
            for c in range(len(line)):
                line[c] += votes[i]
    return padded


@njit(nogil=True)
def _highest(padded: npt.NDArray[np.float32], margin: int) -> tuple[int, int]:
    """Return row and column of the first largest value within the margin, counted from there; none is negative."""
    # Numbers that are not negative are ordered as their bits, whose maximum is found several at a time.
    bits = padded.view(np.int32)
    best, row, column = np.int32(-1), 0, margin
    for r in range(margin, padded.shape[0] - margin):
        line, most = bits[r, margin : padded.shape[1] - margin], np.int32(-1)
        for c in range(len(line)):
            most = line[c] if line[c] > most else most
        if most > best:
            best, row = most, r
    while bits[row, column] != best:
        column += 1
    return row - margin, column - margin


@njit(nogil=True)
def _clear(padded: npt.NDArray[np.float32], row: int, column: int, apart: float) -> None:
    """Set all votes nearer than `apart` bins to a place to zero."""
    around = int(apart) + 1
    for r in range(max(0, row - around), min(padded.shape[0], row + around + 1)):
        for c in range(max(0, column - around), min(padded.shape[1], column + around + 1)):
            if (r - row) * (r - row) + (c - column) * (c - column) < apart * apart:
                padded[r, c] = 0


@njit(nogil=True)
def _highest_by_rows(
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
        Result of `_bins`.
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


@njit("(f8[:,::1], f8[::1], i8, f8, f4[:,::1], f8)", nogil=True)
def highest_votes(
    moved: npt.NDArray[np.float64],
    share: npt.NDArray[np.float64],
    half: int,
    bin_px: float,
    disc: npt.NDArray[np.float32],
    apart: float,
) -> npt.NDArray[np.float64]:
    """Return the highest peak of the votes, and the highest at least `apart` from it: (2, 3) x, y, votes.

    Parameters
    ----------
    moved : (k, 2) float64
        Displacements within the search area [px].
    share : (k,) float64
        Weight of each.
    half
        Bins from the middle of the search area to its edge.
    bin_px
        Side of a bin [px].
    disc : (d, d) float32
        1 for the bins whose votes are counted together, else 0; d is odd, and the ones of a row are neighbours.
    apart
        Minimum distance of the second peak [px].
    """
    spans: npt.NDArray[np.int64] = zeros_table(len(disc), _TWO, np.int64)
    for down in range(len(disc)):
        for right in range(len(disc)):
            if disc[down, right] != 0:
                spans[down, 0] = right if spans[down, 1] == 0 else spans[down, 0]
                spans[down, 1] = right + 1
    bins, side, reach, unit = _bins(moved, share, half, bin_px), 2 * half + 1, len(disc) // 2, apart / bin_px
    found: npt.NDArray[np.float64] = empty_table(_TWO, _THREE, np.float64)
    by_rows, row, column = side > _MOST_SIDE, -1, -1
    padded = _table(bins, side, spans) if not by_rows else zeros_table(_ONE, _ONE, np.float32)
    for number in range(2):
        if by_rows:
            row, column, votes = _highest_by_rows(bins, side, spans, (row, column), unit)
        else:
            if number == 1:
                _clear(padded, row + reach, column + reach, unit)
            row, column = _highest(padded, reach)
            votes = padded[row + reach, column + reach]
        found[number, 0], found[number, 1], found[number, 2] = bin_px * (column - half), bin_px * (row - half), votes
    return found
