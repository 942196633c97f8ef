"""Compiled loops over the matches of a pair: displacements, shares of a witness, votes; `voted` is all of them.

Constants are arguments: the cache of compiled code would not notice that one of another module has changed.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, empty_table, zeros, zeros_table

_TWO, _THREE, _FOUR = np.int64(2), np.int64(3), np.int64(4)  # not plain numbers: see `compiled_arrays`

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
def _cells(
    at: npt.NDArray[np.float64], reach: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], int, int]:
    """Sort positions into cells at least as wide as `reach`: cell of each, start of each cell, order, columns, rows."""
    count = len(at)
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for i in range(count):
        low_x, high_x = min(low_x, at[i, 0]), max(high_x, at[i, 0])
        low_y, high_y = min(low_y, at[i, 1]), max(high_y, at[i, 1])
    # A little wider than the reach, so that rounding never separates neighbours by two cells.
    most = 2 * int(np.sqrt(count)) + 1
    across, down = 1, 1
    if reach > 0:
        across = max(1, int(min((high_x - low_x) / reach * (1 - 1e-6), float(most))))
        down = max(1, int(min((high_y - low_y) / reach * (1 - 1e-6), float(most))))
    scale_x = across / (high_x - low_x) if high_x > low_x else 0.0
    scale_y = down / (high_y - low_y) if high_y > low_y else 0.0
    cell = empty(count, np.int64)
    start = zeros(across * down + 1, np.int64)
    for i in range(count):
        column = min(across - 1, int((at[i, 0] - low_x) * scale_x))
        row = min(down - 1, int((at[i, 1] - low_y) * scale_y))
        cell[i] = row * across + column
        start[cell[i] + 1] += 1
    for c in range(across * down):
        start[c + 1] += start[c]
    order, filled = empty(count, np.int64), empty(across * down, np.int64)
    for c in range(across * down):
        filled[c] = start[c]
    for i in range(count):
        order[filled[cell[i]]] = i
        filled[cell[i]] += 1
    return cell, start, order, across, down


@njit(nogil=True)
def shares(
    at: npt.NDArray[np.float64], size: npt.NDArray[np.float64], near: npt.NDArray[np.bool_], reach: float, half: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the shares of `NeighbourCorrelation.shares`, among all matches and among those that are `near`.

    Parameters
    ----------
    at : (k, 2) float64
        Positions [m].
    size : (k,) float64
        Diameters [m].
    near : (k,) bool
        The matches that count in the second result.
    reach
        Matches farther apart are independent [m].
    half
        Distance at which the correlation falls to one half [mean diameters].
    """
    count = len(at)
    every, strict = zeros(count, np.float64), zeros(count, np.float64)
    _, start, order, across, down = _cells(at, reach)
    limit, scale = reach * reach, half * half
    for row in range(down):
        for column in range(across):
            c = row * across + column
            for a in range(start[c], start[c + 1]):
                i = order[a]
                # The rest of this cell and the next, then the three cells of the next row: every pair once.
                for part in range(2):
                    if part == 0:
                        first, end = a + 1, start[c + 2] if column + 1 < across else start[c + 1]
                    elif row + 1 < down:
                        below = c + across
                        first = start[below - 1] if column > 0 else start[below]
                        end = start[below + 2] if column + 1 < across else start[below + 1]
                    else:
                        break
                    for b in range(first, end):
                        j = order[b]
                        dx, dy = at[i, 0] - at[j, 0], at[i, 1] - at[j, 1]
                        squared = dx * dx + dy * dy
                        if squared <= limit:
                            one, other = min(i, j), max(i, j)
                            both = 1 / (1 + squared / (scale * size[one] * size[other]))
                            every[i] += both
                            every[j] += both
                            if near[i] and near[j]:
                                strict[i] += both
                                strict[j] += both
    for i in range(count):
        every[i] = 1 / (1 + every[i])
        strict[i] = 1 / (1 + strict[i]) if near[i] else 0.0
    return every, strict


@njit(nogil=True)
def _highest(padded: npt.NDArray[np.float32], margin: int) -> tuple[int, int]:
    """Return row and column of the first largest value within the margin, counted from there; none is negative."""
    # Numbers that are not negative are ordered as their bits, whose maximum is found several at a time.
    bits = padded.view(np.int32)
    end = padded.shape[1] - margin
    best, row, column = np.int32(-1), 0, 0
    for r in range(margin, padded.shape[0] - margin):
        most = np.int32(-1)
        for c in range(margin, end):
            most = max(most, bits[r, c])
        if most > best:
            best, row, column = most, r, margin
            while bits[row, column] != best:
                column += 1
    return row - margin, column - margin


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
    side, reach = 2 * half + 1, len(disc) // 2
    sums = zeros_table(side, side, np.float64)
    for i in range(len(moved)):
        sums[int(np.rint(moved[i, 1] / bin_px)) + half, int(np.rint(moved[i, 0] / bin_px)) + half] += share[i]
    padded = zeros_table(side + 2 * reach, side + 2 * reach, np.float32)
    first, end = zeros(len(disc), np.int64), zeros(len(disc), np.int64)
    for down in range(len(disc)):
        for right in range(len(disc)):
            if disc[down, right] != 0:
                first[down] = right if end[down] == 0 else first[down]
                end[down] = right + 1
    # Bin by bin: every sum gets its terms in the order in which cv2.filter2D adds them, without the zeros.
    for row in range(side):
        for column in range(side):
            count = np.float32(sums[row, column])
            if count != 0:
                for down in range(len(disc)):
                    for right in range(first[down], end[down]):
                        padded[row + down, column + right] += count
    votes = padded[reach : side + reach, reach : side + reach]
    found: npt.NDArray[np.float64] = empty_table(_TWO, _THREE, np.float64)
    around = int(apart / bin_px) + 1
    for number in range(2):
        row, column = _highest(padded, reach)
        x, y = bin_px * (column - half), bin_px * (row - half)
        found[number, 0], found[number, 1], found[number, 2] = x, y, votes[row, column]
        if number == 0:
            for r in range(max(0, row - around), min(side, row + around + 1)):
                for c in range(max(0, column - around), min(side, column + around + 1)):
                    dy, dx = bin_px * (r - half) - y, bin_px * (c - half) - x
                    if dy * dy + dx * dx < apart * apart:
                        votes[r, c] = 0
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
