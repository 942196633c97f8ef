"""Compiled suppression: which maxima of neighbouring levels speak of one and the same structure.

OpenCV marks candidates in one mask a level and scans it in raster order. Here candidates stay sorted lists, looked up
by row with cursors that only move forward: the order of visits, and with it every decision, is the same. Working on
the whole image's lists keeps it exact however far a chain of decisions runs, which windows could not promise.
"""

from __future__ import annotations

import numpy as np

from s2fast_kernels.compiled import njit


@njit(nogil=True, error_model="numpy")
def _open_rows(starts, y, radius, cursor, end):  # type: ignore[no-untyped-def]
    """Point a cursor at the first candidate of each row of [y - radius, y + radius)."""
    last = len(starts) - 1
    for k in range(2 * radius):
        row = y - radius + k
        inside = 0 <= row < last
        cursor[k] = starts[row] if inside else 0
        end[k] = starts[row + 1] if inside else 0


@njit(nogil=True, error_model="numpy")
def _first_alive(columns, alive, x, radius, rows, cursor, end):  # type: ignore[no-untyped-def]
    """Index of the first living candidate, in raster order, in [-radius, radius) within a circle of radius; or -1.

    Calls for one row come with growing x, so that the cursors only move forward.
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


@njit(nogil=True, error_model="numpy")
def row_starts(rows, row_count):  # type: ignore[no-untyped-def]
    """Index of the first candidate of each row, and the number of candidates at the end: (row_count + 1,) int64."""
    starts = np.zeros(row_count + 1, np.int64)
    for row in rows:
        starts[row + 1] += 1
    for row in range(row_count):
        starts[row + 1] += starts[row]
    return starts


@njit(nogil=True, error_model="numpy")
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
    cursor, end = np.zeros(2 * radius, np.int64), np.zeros(2 * radius, np.int64)
    opened = -1
    for i in range(len(rows)):
        if rows[i] != opened:
            opened = rows[i]
            _open_rows(starts, opened, radius, cursor, end)
        # Candidates further on are not alive yet; those of later rows need no look.
        other = _first_alive(columns, alive, columns[i], radius, radius + 1, cursor, end)
        if other >= 0:
            if response[i] > response[other]:
                alive[other] = False
            else:
                continue
        alive[i] = True
    return alive


@njit(nogil=True, error_model="numpy")
def kill_weaker(  # type: ignore[no-untyped-def]
    rows, columns, response, alive, up, down, radius, other_columns, other_starts, other_response, other_alive
):
    """Let each living candidate of one level kill the first living one near it on another, if that is weaker.

    Positions times `up` over `down` are the other level's pixels. ``other_alive`` is changed.
    """
    cursor, end = np.zeros(2 * radius, np.int64), np.zeros(2 * radius, np.int64)
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
