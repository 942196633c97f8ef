"""Compiled loops over the matches of a pair: displacements, shares of a witness, votes; `voted` is all of them.

Constants are arguments: the cache of compiled code would not notice that one of another module has changed.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast.geometry.compiled_shares import shares
from s2fast.geometry.compiled_wide_votes import highest_by_rows
from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, empty_table, zeros, zeros_table

# Not plain numbers: see `compiled_arrays`.
_TWO, _THREE, _FOUR = np.int64(2), np.int64(3), np.int64(4)

_MOST_SIDE = 1024
"""Largest side of a table of votes, of 4 MB; row by row, a usual search area would take longer [bins]."""

Voted: TypeAlias = tuple[
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.int64],
    npt.NDArray[np.float64],
    tuple[float, float],
    tuple[int, int],
]
"""Result of `voted`."""


@njit("(f8[:,::1], f8[:,::1], f8[::1], i4[::1], i4[::1])", nogil=True)
def gathered(
    query_m: npt.NDArray[np.float64],
    train_m: npt.NDArray[np.float64],
    size_m: npt.NDArray[np.float64],
    query_row: npt.NDArray[np.int32],
    train_row: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return positions of either side, (k, 2) each, and the query's sizes of k matches."""
    count = len(query_row)
    here, there = empty_table(count, _TWO, np.float64), empty_table(count, _TWO, np.float64)
    size = empty(count, np.float64)
    for i in range(count):
        q, t = query_row[i], train_row[i]
        here[i, 0], here[i, 1] = query_m[q, 0], query_m[q, 1]
        there[i, 0], there[i, 1] = train_m[t, 0], train_m[t, 1]
        size[i] = size_m[q]
    return here, there, size


@njit("(f4[:,::1], f4[:,::1], i4[::1], i4[::1], i8)", nogil=True)
def moved_px(
    query_xy: npt.NDArray[np.float32],
    train_xy: npt.NDArray[np.float32],
    query_row: npt.NDArray[np.int32],
    train_row: npt.NDArray[np.int32],
    reduction: int,
) -> npt.NDArray[np.float32]:
    """Return train position minus query position of k matches on the tiles: (k, 2) [px]."""
    moved: npt.NDArray[np.float32] = empty_table(len(query_row), _TWO, np.float32)
    for i in range(len(query_row)):
        for axis in range(2):
            moved[i, axis] = (train_xy[train_row[i], axis] - query_xy[query_row[i], axis]) / np.float32(reduction)
    return moved


@njit(nogil=True)
def displacements(
    query_m: npt.NDArray[np.float64],
    train_m: npt.NDArray[np.float64],
    on_ground: npt.NDArray[np.bool_],
    east: float,
    north: float,
    grid: float,
    searched: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Return the displacements minus the expected one, which are within reach, and the rows of those on ground.

    Parameters
    ----------
    query_m, train_m : (k, 2) float64
        Positions [m].
    on_ground : (k,) bool
        Matches that may be evidence.
    east, north
        Expected displacement [m].
    grid
        Pixel size [m].
    searched
        Radius of the search area [px].

    Returns
    -------
    moved : (k, 2) float64
        Displacements minus the expected one [px].
    within : (k,) bool
        Displacements within the search area.
    rows : (r,) int64
        Rows within the search area and on ground.
    """
    count = len(query_m)
    moved, within = empty_table(count, _TWO, np.float64), empty(count, np.bool_)
    rows = empty(count, np.int64)
    found = 0
    for i in range(count):
        moved[i, 0] = (train_m[i, 0] - query_m[i, 0] - east) / grid
        moved[i, 1] = (train_m[i, 1] - query_m[i, 1] - north) / grid
        within[i] = np.hypot(moved[i, 0], moved[i, 1]) <= searched
        if within[i] and on_ground[i]:
            rows[found] = i
            found += 1
    return moved, within, rows[:found]


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
    if side > _MOST_SIDE:
        row, column = -1, -1
        for number in range(2):
            row, column, votes = highest_by_rows(bins, side, spans, (row, column), unit)
            found[number, 0], found[number, 1] = bin_px * (column - half), bin_px * (row - half)
            found[number, 2] = votes
        return found
    padded = _table(bins, side, spans)
    for number in range(2):
        row, column = _highest(padded, reach)
        votes = padded[row + reach, column + reach]
        found[number, 0], found[number, 1] = bin_px * (column - half), bin_px * (row - half)
        found[number, 2] = votes
        _clear(padded, row + reach, column + reach, unit)
    return found


@njit(
    "(f8[:,::1], f8[:,::1], f8[::1], u2[::1], b1[::1], UniTuple(f8, 2), f8, f8, f8, i8, f8, f8, i8, f8, f4[:,::1], f8)",
    nogil=True,
)
def voted(
    query_m: npt.NDArray[np.float64],
    train_m: npt.NDArray[np.float64],
    size: npt.NDArray[np.float64],
    distance: npt.NDArray[np.uint16],
    on_ground: npt.NDArray[np.bool_],
    expected: tuple[float, float],
    grid: float,
    searched: float,
    least: float,
    strict_bits: int,
    reach: float,
    half_correlation: float,
    half: int,
    bin_px: float,
    disc: npt.NDArray[np.float32],
    apart: float,
) -> Voted:
    """Compute the votes of a pair's matches, without returning to Python between the steps.

    Parameters
    ----------
    query_m, train_m, size, distance, on_ground
        (k,) or (k, 2) columns of `s2fast.geometry.evidence.Evidence`.
    expected
        Expected displacement, east and north [m].
    grid
        Pixel size [m].
    searched
        Radius of the search area [px].
    least
        With fewer matches there are no votes.
    strict_bits
        Matches up to this Hamming distance also vote alone [bits].
    reach
        Matches farther apart are independent [mean diameters of all].
    half_correlation
        See `shares`.
    half, bin_px, disc, apart
        See `highest_votes`.

    Returns
    -------
    at, points : (r, 2) float64
        Positions [m] and displacements [px] of the matches within the search area and on ground.
    diameter, share : (r,) float64
        Their sizes [m] and their shares in the votes; with fewer than `least`, `share` is unknown.
    moved : (k, 2) float64
        Displacements of all matches [px].
    rows : (r,) int64
        Which of them are within the search area and on ground.
    peaks : (4, 3) float64
        Peaks of the votes of all, and of those alone up to `strict_bits`, as `highest_votes` returns them.
    totals : tuple of float
        Witnesses among all, and among those alone.
    counts : tuple of int
        Matches within the search area, on ground or not; matches up to `strict_bits` among the r.
    """
    moved, within, rows = displacements(query_m, train_m, on_ground, expected[0], expected[1], grid, searched)
    count, reached, strict = len(rows), 0, 0
    for i in range(len(within)):
        reached += within[i]
    at, points = empty_table(count, _TWO, np.float64), empty_table(count, _TWO, np.float64)
    diameter, near, sum_of_sizes = empty(count, np.float64), empty(count, np.bool_), 0.0
    for i in range(count):
        row = rows[i]
        for axis in range(2):
            at[i, axis], points[i, axis] = query_m[row, axis], moved[row, axis]
        diameter[i], near[i] = size[row], distance[row] <= strict_bits
        sum_of_sizes += diameter[i]
        strict += near[i]
    peaks = zeros_table(_FOUR, _THREE, np.float64)
    if count < least:
        return at, points, diameter, diameter, moved, rows, peaks, (0.0, 0.0), (reached, strict)
    every, alone = shares(at, diameter, near, reach * (sum_of_sizes / count), half_correlation)
    total, strict_total = 0.0, 0.0
    for i in range(count):
        total += every[i]
        strict_total += alone[i]
    for part in range(2 if strict < count else 1):
        found = highest_votes(points, every if part == 0 else alone, half, bin_px, disc, apart)
        for number in range(2):
            for column in range(3):
                peaks[2 * part + number, column] = found[number, column]
    return at, points, diameter, every, moved, rows, peaks, (total, strict_total), (reached, strict)
