"""Compiled suppression: which maxima of neighbouring levels speak of one and the same structure.

OpenCV marks candidates in one mask a level and scans it in raster order. Here candidates stay sorted lists, looked up
by row and binary search: the order of visits, and with it every decision, is the same. Working on the whole image's
lists keeps it exact however far a chain of decisions runs, which windows could not promise.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def _first_alive(starts, columns, rows_known, alive, y, x, radius, last_row, stop_at):  # type: ignore[no-untyped-def]
    """Index of the first living candidate, in raster order, in [-radius, radius) within a circle of radius; or -1."""
    for row in range(max(y - radius, 0), min(y + radius - 1, last_row) + 1):
        if row >= rows_known:
            break
        low, high = starts[row], min(starts[row + 1], stop_at)
        end = high
        while low < high:
            middle = (low + high) >> 1
            if columns[middle] < x - radius:
                low = middle + 1
            else:
                high = middle
        dy = row - y
        while low < end and columns[low] < x + radius:
            dx = columns[low] - x
            if alive[low] and dx * dx + dy * dy <= radius * radius:
                return low
            low += 1
    return -1


@njit(nogil=True, cache=True)
def row_starts(rows, row_count):  # type: ignore[no-untyped-def]
    """Index of the first candidate of each row, and the number of candidates at the end: (row_count + 1,) int64."""
    starts = np.zeros(row_count + 1, np.int64)
    for row in rows:
        starts[row + 1] += 1
    for row in range(row_count):
        starts[row + 1] += starts[row]
    return starts


@njit(nogil=True, cache=True)
def same_level(rows, columns, starts, response, radius):  # type: ignore[no-untyped-def]
    """Thin one level's candidates: in raster order, each meets the first living one before it; the stronger lives.

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
        True: the candidate lives. Of equally strong ones the first lives.
    """
    alive = np.zeros(len(rows), np.bool_)
    known = len(starts) - 1
    for i in range(len(rows)):
        y, x = rows[i], columns[i]
        other = _first_alive(starts, columns, known, alive, y, x, radius, y, i)
        if other >= 0:
            if response[i] > response[other]:
                alive[other] = False
            else:
                continue
        alive[i] = True
    return alive


@njit(nogil=True, cache=True)
def kill_weaker(  # type: ignore[no-untyped-def]
    rows, columns, response, alive, up, down, radius, other_columns, other_starts, other_response, other_alive
):
    """Let each living candidate of one level kill the first living one near it on another, if that is weaker.

    Positions times `up` over `down` are the other level's pixels. ``other_alive`` is changed.
    """
    known = len(other_starts) - 1
    for i in range(len(rows)):
        if not alive[i]:
            continue
        y, x = rows[i] * up // down, columns[i] * up // down
        other = _first_alive(other_starts, other_columns, known, other_alive, y, x, radius, known, len(other_columns))
        if other >= 0 and response[i] > other_response[other]:
            other_alive[other] = False
