"""Compiled loops over the matches of a pair: the estimate of the shift, its scatter, its trend, its spread.

`fitted` is all of them.

Constants are arguments: the cache of compiled code would not notice that one of another module has changed.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import empty, filled, zeros, zeros_table

_NONE, _TWO, _THREE = np.int64(-1), np.int64(2), np.int64(3)  # not plain numbers: see `compiled_arrays`

Fitted: TypeAlias = tuple[
    tuple[float, float, float, float],
    tuple[int, float, float, float, float],
    tuple[int, float, float, float],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.bool_],
]
"""Result of `fitted`."""

_MOST_CELLS = 1 << 20
"""Squares are numbered by their place in their bounding box, which may have at most this many."""


@njit(nogil=True)
def biweight_mean(
    points: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], x: float, y: float, reach: float, rounds: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]:
    """Compute the biweight mean from a start x, y; see `s2fast.geometry.shift.biweight_mean`."""
    count, limit = len(points), reach * reach
    for _ in range(rounds):
        total, east, north = 0.0, 0.0, 0.0
        for i in range(count):
            dx, dy = points[i, 0] - x, points[i, 1] - y
            near = max(0.0, 1 - (dx * dx + dy * dy) / limit)
            counted = weight[i] * (near * near)
            total += counted
            east += counted * points[i, 0]
            north += counted * points[i, 1]
        if total == 0:
            break
        before_x, before_y = x, y
        x, y = east / total, north / total
        if max(abs(x - before_x), abs(y - before_y)) < 1e-5 * reach:
            break
    slope = 0.0
    final = empty(count, np.float64)
    for i in range(count):
        dx, dy = points[i, 0] - x, points[i, 1] - y
        near = max(0.0, 1 - (dx * dx + dy * dy) / limit)
        final[i] = weight[i] * (near * near)
        slope += weight[i] * (near * near - 2 * (1 - near) * near)
    middle = empty(_TWO, np.float64)
    middle[0], middle[1] = x, y
    return middle, final, slope


@njit(nogil=True)
def near(points: npt.NDArray[np.float64], middle: npt.NDArray[np.float64], reach: float) -> npt.NDArray[np.bool_]:
    """Return which of (k, 2) points are at most `reach` from the middle: (k,) bool."""
    found: npt.NDArray[np.bool_] = empty(len(points), np.bool_)
    for i in range(len(points)):
        found[i] = np.hypot(points[i, 0] - middle[0], points[i, 1] - middle[1]) <= reach
    return found


@njit(nogil=True)
def trend(
    at: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    weight: npt.NDArray[np.float64],
    inliers: npt.NDArray[np.bool_],
    grid: float,
    thinnest: float,
) -> tuple[int, float, float, float, float]:
    """Return how well a linear trend over the ground explains the inliers.

    Parameters
    ----------
    at : (k, 2) float64
        Positions [m].
    moved : (k, 2) float64
        Displacements [px].
    weight : (k,) float64
        Weight of each match.
    inliers : (k,) bool
        Matches to fit.
    grid
        Pixel size [m].
    thinnest
        Minimum of det / trace^2 of the positions' scatter matrix.

    Returns
    -------
    count : int
        Number of inliers; 0 if their positions do not determine a trend.
    simple, full : float
        Weighted squares without and with the trend [px2].
    free : float
        Degrees of freedom left.
    most : float
        Largest displacement of an inlier by the trend [px].
    """
    count, total, squared = 0, 0.0, 0.0
    x, y, east, north = 0.0, 0.0, 0.0, 0.0
    for i in range(len(at)):
        if inliers[i]:
            count += 1
            total += weight[i]
            squared += weight[i] * weight[i]
            x += weight[i] * (at[i, 0] / grid)
            y += weight[i] * (at[i, 1] / grid)
            east += weight[i] * moved[i, 0]
            north += weight[i] * moved[i, 1]
    if count == 0:
        return 0, 0.0, 0.0, 0.0, 0.0
    x, y, east, north = x / total, y / total, east / total, north / total
    xx, xy, yy, xe, xn, ye, yn, simple = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(len(at)):
        if inliers[i]:
            w, dx, dy = weight[i], at[i, 0] / grid - x, at[i, 1] / grid - y
            e, n = moved[i, 0] - east, moved[i, 1] - north
            xx, xy, yy = xx + w * dx * dx, xy + w * dx * dy, yy + w * dy * dy
            xe, xn, ye, yn = xe + w * dx * e, xn + w * dx * n, ye + w * dy * e, yn + w * dy * n
            simple += w * (e * e + n * n)
    determinant = xx * yy - xy * xy
    # With a margin for rounding: the plain version decides in doubt.
    if determinant <= (1 - 1e-6) * thinnest * (xx + yy) ** 2 or determinant <= 0:
        return 0, 0.0, 0.0, 0.0, 0.0
    east_x, east_y = (yy * xe - xy * ye) / determinant, (xx * ye - xy * xe) / determinant
    north_x, north_y = (yy * xn - xy * yn) / determinant, (xx * yn - xy * xn) / determinant
    full, most = 0.0, 0.0
    for i in range(len(at)):
        if inliers[i]:
            dx, dy = at[i, 0] / grid - x, at[i, 1] / grid - y
            e, n = east_x * dx + east_y * dy, north_x * dx + north_y * dy
            most = max(most, e * e + n * n)
            left_e, left_n = moved[i, 0] - east - e, moved[i, 1] - north - n
            full += weight[i] * (left_e * left_e + left_n * left_n)
    return count, simple, full, 2 * (total * total / squared) - 6, np.sqrt(most)


@njit(nogil=True)
def _numbered(
    column: npt.NDArray[np.int64], row: npt.NDArray[np.int64], counted: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], int]:
    """Return a number per match, the same for all of one square and -1 for those without weight, and their count.

    The count is -1 if the squares are too far apart.
    """
    number = filled(len(column), _NONE, np.int64)
    low_x, high_x, low_y, high_y = 1 << 62, -(1 << 62), 1 << 62, -(1 << 62)
    for i in range(len(column)):
        if counted[i] > 0:
            low_x, high_x = min(low_x, column[i]), max(high_x, column[i])
            low_y, high_y = min(low_y, row[i]), max(high_y, row[i])
    if high_x < low_x:
        return number, 0
    width, height, found = high_x - low_x + 1, high_y - low_y + 1, 0
    if float(width) * float(height) > _MOST_CELLS:
        return number, -1
    taken = filled(width * height, _NONE, np.int64)
    for i in range(len(column)):
        if counted[i] > 0:
            place = (row[i] - low_y) * width + column[i] - low_x
            if taken[place] < 0:
                taken[place] = found
                found += 1
            number[i] = taken[place]
    return number, found


@njit(nogil=True)
def scatter(
    at: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    counted: npt.NDArray[np.float64],
    middle: npt.NDArray[np.float64],
    grid: float,
    square_px: float,
) -> tuple[int, float, float, float]:
    """Return the scatter of the residuals between squares of the ground.

    Parameters
    ----------
    at : (k, 2) float64
        Positions [m].
    points : (k, 2) float64
        Displacements [px].
    counted : (k,) float64
        Weight of each; matches with weight 0 do not count.
    middle : (2,) float64
        The fitted displacement [px].
    grid
        Pixel size [m].
    square_px
        Side of the squares [px].

    Returns
    -------
    squares : int
        Number of squares with matches; -1 if they are too far apart, for the plain version.
    meat : float
        Sum over the squares of the squared sums of weighted residuals, mean of both axes.
    total, squared : float
        Sum of the squares' weights, and sum of their squares.
    """
    count = len(at)
    column, row = empty(count, np.int64), empty(count, np.int64)
    for i in range(count):
        column[i] = int(np.floor(at[i, 0] / grid / square_px))
        row[i] = int(np.floor(at[i, 1] / grid / square_px))
    number, squares = _numbered(column, row, counted)
    if squares < 0:
        return -1, 0.0, 0.0, 0.0
    sums = zeros_table(squares, _THREE, np.float64)
    for i in range(count):
        if number[i] >= 0:
            sums[number[i], 0] += counted[i] * (points[i, 0] - middle[0])
            sums[number[i], 1] += counted[i] * (points[i, 1] - middle[1])
            sums[number[i], 2] += counted[i]
    meat, total, squared = 0.0, 0.0, 0.0
    for square in range(squares):
        meat += (sums[square, 0] * sums[square, 0] + sums[square, 1] * sums[square, 1]) / 2
        total += sums[square, 2]
        squared += sums[square, 2] * sums[square, 2]
    return squares, meat, total, squared


@njit(nogil=True)
def _is_before(place: float, row: int, other_place: float, other_row: int) -> bool:
    """Compare places, and the rows of equal ones."""
    before: bool = (place < other_place) | ((place == other_place) & (row < other_row))
    return before


@njit(nogil=True)
def _halve(rows: npt.NDArray[np.int64], place: npt.NDArray[np.float64], half: int) -> None:
    """Reorder rows, and the place of each, so that the first `half` rows come first in the order of `_is_before`.

    It is Hoare's quickselect: rows need no order within a block, so that sorting them would be wasted.
    """
    low, high = 0, len(rows) - 1
    while low < high:
        middle = (low + high) // 2
        at, row = place[middle], rows[middle]
        i, j = low, high
        while i <= j:
            while _is_before(place[i], rows[i], at, row):
                i += 1
            while _is_before(at, row, place[j], rows[j]):
                j -= 1
            if i <= j:
                place[i], place[j] = place[j], place[i]
                rows[i], rows[j] = rows[j], rows[i]
                i, j = i + 1, j - 1
        if half <= j:
            high = j
        elif half >= i:
            low = i
        else:
            return


@njit(nogil=True)
def votes_of_blocks(
    at: npt.NDArray[np.float64], share: npt.NDArray[np.float64], agrees: npt.NDArray[np.bool_], halvings: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return votes and witnesses in blocks of equally many matches; see `s2fast.geometry.witnesses.holds_everywhere`.

    Parameters
    ----------
    at : (k, 2) float64
        Positions [m].
    share : (k,) float64
        Weight of each match.
    agrees : (k,) bool
        Matches that vote.
    halvings
        How often the ground is bisected.

    Returns
    -------
    votes, witnesses : (2 ** halvings,) float64
        Sums of the weights in every block, of those that agree and of all.
    """
    count = len(at)
    order, place, ends = empty(count, np.int64), empty(count, np.float64), empty(_TWO, np.int64)
    for i in range(count):
        order[i] = i
    ends[0], ends[1] = 0, count
    for _ in range(halvings):
        halved = empty(2 * len(ends) - 1, np.int64)
        for part in range(len(ends) - 1):
            first, end = ends[part], ends[part + 1]
            halved[2 * part], halved[2 * part + 1] = first, first + (end - first) // 2
            if end - first < 2:
                continue
            rows = order[first:end]
            low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
            for i in rows:
                low_x, high_x = min(low_x, at[i, 0]), max(high_x, at[i, 0])
                low_y, high_y = min(low_y, at[i, 1]), max(high_y, at[i, 1])
            axis = 1 if high_y - low_y > high_x - low_x else 0
            for k in range(first, end):
                place[k] = at[order[k], axis]
            _halve(rows, place[first:end], (end - first) // 2)
        halved[-1] = count
        ends = halved
    votes, witnesses = zeros(len(ends) - 1, np.float64), zeros(len(ends) - 1, np.float64)
    for part in range(len(ends) - 1):
        for i in order[ends[part] : ends[part + 1]]:
            witnesses[part] += share[i]
            if agrees[i]:
                votes[part] += share[i]
    return votes, witnesses


@njit(
    "(f8[:,::1], f8[:,::1], f8[::1], f8[::1], f8[:,::1], b1[::1], UniTuple(f8, 2), f8, f8, i8, f8, f8, i8)", nogil=True
)
def fitted(
    at: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    diameter: npt.NDArray[np.float64],
    share: npt.NDArray[np.float64],
    moved: npt.NDArray[np.float64],
    on_ground: npt.NDArray[np.bool_],
    start: tuple[float, float],
    grid: float,
    reach: float,
    rounds: int,
    thinnest: float,
    square_px: float,
    halvings: int,
) -> Fitted:
    """Estimate the shift from a peak, and all that its verdict needs, without returning to Python between the steps.

    Parameters
    ----------
    at, points, diameter, share, moved
        Results of `s2fast.geometry.compiled_votes.voted`.
    on_ground : (k,) bool
        Matches that may be evidence, of the k in `moved`.
    start
        The peak [px].
    grid
        Pixel size [m].
    reach
        Greatest distance of an inlier from the shift [px].
    rounds, thinnest, square_px, halvings
        See `biweight_mean`, `trend`, `scatter` and `votes_of_blocks`.

    Returns
    -------
    shift : tuple of float
        The shift in x and y [px], the slope of `biweight_mean`, and the witnesses that agree.
    trend, scatter
        Results of these functions.
    votes, witnesses : (2 ** halvings,) float64
        Results of `votes_of_blocks`.
    inlier : (k,) bool
        Matches on ground that agree with the shift.
    """
    weight = empty(len(at), np.float64)
    for i in range(len(at)):
        weight[i] = share[i] * grid / diameter[i]
    middle, counted, slope = biweight_mean(points, weight, start[0], start[1], reach, rounds)
    agrees = near(points, middle, reach)
    agreeing = 0.0
    for i in range(len(at)):
        if agrees[i]:
            agreeing += share[i]
    votes, witnesses = votes_of_blocks(at, share, agrees, halvings)
    inlier = near(moved, middle, reach)
    for i in range(len(inlier)):
        inlier[i] &= on_ground[i]
    return (
        (middle[0], middle[1], slope, agreeing),
        trend(at, points, weight, agrees, grid, thinnest),
        scatter(at, points, counted, middle, grid, square_px),
        votes,
        witnesses,
        inlier,
    )
