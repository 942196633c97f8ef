"""Compiled non-maximum suppression within a level and between neighbouring levels.

OpenCV marks candidates in one mask per level and scans it in raster order. Here candidates are sorted lists, searched
by row with cursors that only move forward. The order of visits, and therefore every decision, is the same. The lists
cover the whole image, so the result is exact for chains of decisions of any length; in windows it would not be.
"""

from __future__ import annotations

import numpy as np

from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import zeros


@njit(nogil=True, error_model="numpy")
def _open_rows(starts, y, radius, cursor, end):  # type: ignore[no-untyped-def]
    """Set a cursor to the first candidate of each row of [y - radius, y + radius)."""
    last = len(starts) - 1
    for k in range(2 * radius):
        row = y - radius + k
        inside = 0 <= row < last
        cursor[k] = starts[row] if inside else 0
        end[k] = starts[row + 1] if inside else 0


@njit(nogil=True, error_model="numpy")
def _first_alive(columns, alive, x, radius, rows, cursor, end):  # type: ignore[no-untyped-def]
    """Return the first surviving candidate in raster order, in [-radius, radius) within a circle of radius; or -1.

    Calls for one row must have ascending x, so that the cursors only move forward.
    """
    for k in range(rows):
        at, stop = cursor[k], end[k]
        while at < stop and columns[at] < x - radius:
            at += 1
        cursor[k] = at
        dy = k - radius
        while at < stop and columns[at] < x + radius:
            dx = columns[at] - x
            if alive[at] and dx * dx + dy * dy <= radius * radius:
                return at
            at += 1
    return -1


@njit("(i4[::1], i8)", nogil=True, error_model="numpy")
def row_starts(rows, row_count):  # type: ignore[no-untyped-def]
    """Return the index of the first candidate of each row, then the number of candidates: (row_count + 1,) int64."""
    starts = zeros(row_count + 1, np.int64)
    for row in rows:
        starts[row + 1] += 1
    for row in range(row_count):
        starts[row + 1] += starts[row]
    return starts


@njit("(i4[::1], i4[::1], i8[::1], f4[::1], i8)", nogil=True, error_model="numpy")
def same_level(rows, columns, starts, response, radius):  # type: ignore[no-untyped-def]
    """Suppress candidates within a level: in raster order, compare each with the first surviving one near it.

    Parameters
    ----------
    rows, columns : (n,) int32
        Positions [px of the octave], sorted by row, then column.
    starts
        See `row_starts`.
    response : (n,) float32
        Determinants.
    radius : int
        The level's radius.

    Returns
    -------
    (n,) bool
        True: the candidate survives. The stronger of two survives; ties go to the first.
    """
    alive = zeros(len(rows), np.bool_)
    cursor, end = zeros(2 * radius, np.int64), zeros(2 * radius, np.int64)
    opened = -1
    for i in range(len(rows)):
        if rows[i] != opened:
            opened = rows[i]
            _open_rows(starts, np.int64(opened), radius, cursor, end)
        # Candidates that follow do not survive yet, so later rows need not be searched.
        other = _first_alive(columns, alive, np.int64(columns[i]), radius, radius + 1, cursor, end)
        if other >= 0:
            if response[i] > response[other]:
                alive[other] = False
            else:
                continue
        alive[i] = True
    return alive


@njit(
    "(i4[::1], i4[::1], f4[::1], b1[::1], i8, i8, i8, i4[::1], i8[::1], f4[::1], b1[::1])",
    nogil=True,
    error_model="numpy",
)
def kill_weaker(  # type: ignore[no-untyped-def]
    rows, columns, response, alive, up, down, radius, other_columns, other_starts, other_response, other_alive
):
    """For each surviving candidate of one level, suppress the first surviving one near it on another level, if weaker.

    Positions times `up` over `down` are pixels of the other level. ``other_alive`` is modified.
    """
    cursor, end = zeros(2 * radius, np.int64), zeros(2 * radius, np.int64)
    opened = -1
    for i in range(len(rows)):
        if not alive[i]:
            continue
        if rows[i] != opened:
            opened = rows[i]
            _open_rows(other_starts, opened * up // down, radius, cursor, end)
        x = columns[i] * up // down
        other = _first_alive(other_columns, other_alive, x, radius, 2 * radius, cursor, end)
        if other >= 0 and response[i] > other_response[other]:
            other_alive[other] = False
