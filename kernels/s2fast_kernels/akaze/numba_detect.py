"""Compiled detection on one level of one window: derivatives, determinant of the Hessian, and its refined maxima."""

from __future__ import annotations

import numpy as np

from s2fast_kernels.akaze.numba_scale_space import PAD
from s2fast_kernels.compiled import njit
from s2fast_kernels.compiled_arrays import octets_of, zeros

_P = np.uint64(PAD)
_ONE = np.uint64(1)
_HALF, _QUARTER, _TWO = np.float32(0.5), np.float32(0.25), np.float32(2.0)
_BLOCK, _NONE = np.uint64(64), np.uint64(0)
_FLAGS, _NOTHING = np.int64(64), np.int64(0)  # not plain numbers: see `compiled_arrays`

RING = 4
"""Number of scratch rows that `detect` needs."""


@njit(nogil=True, error_model="numpy")
def _gradient_row(src, row, radius, dx, dy, w, centre, corner):  # type: ignore[no-untyped-def]
    up, down = row - radius, row + radius
    s = np.uint64(radius)
    first, last = _P - s, _P + s
    for j in range(w):
        left, c, right = j + first, j + _P, j + last
        dx[row, c] = centre * (src[row, right] - src[row, left]) + corner * (
            (src[up, right] - src[up, left]) + (src[down, right] - src[down, left])
        )
        dy[row, c] = (centre * src[down, c] + corner * (src[down, left] + src[down, right])) - (
            centre * src[up, c] + corner * (src[up, left] + src[up, right])
        )


@njit("(f4[:,::1], f4[:,::1], f4[:,::1], i8, i8, i8, f4, f4)", nogil=True, error_model="numpy")
def gradient(smoothed, dx, dy, height, width, radius, centre, corner):  # type: ignore[no-untyped-def]
    """Compute the first derivatives of a level with Scharr-like 3 x 3 taps, `radius` pixels apart.

    The frame of the smoothed plane must contain its reflection.
    """
    w = np.uint64(width)
    for row in range(PAD, PAD + height):
        _gradient_row(smoothed, row, radius, dx, dy, w, centre, corner)


@njit(nogil=True, error_model="numpy")
def _determinant_row(dx, dy, row, radius, out, slot, x0, w, centre, corner, scale):  # type: ignore[no-untyped-def]
    up, down = row - radius, row + radius
    s = np.uint64(radius)
    mid = _P + x0
    first, last = mid - s, mid + s
    for j in range(w):
        left, c, right = j + first, j + mid, j + last
        upper_left, upper_right, lower_left, lower_right = dx[up, left], dx[up, right], dx[down, left], dx[down, right]
        xx = centre * (dx[row, right] - dx[row, left]) + corner * (
            (upper_right - upper_left) + (lower_right - lower_left)
        )
        xy = (centre * dx[down, c] + corner * (lower_left + lower_right)) - (
            centre * dx[up, c] + corner * (upper_left + upper_right)
        )
        yy = (centre * dy[down, c] + corner * (dy[down, left] + dy[down, right])) - (
            centre * dy[up, c] + corner * (dy[up, left] + dy[up, right])
        )
        out[slot, j] = (xx * yy - xy * xy) * scale


@njit(nogil=True, error_model="numpy")
def _refine(det, above, here, below, j):  # type: ignore[no-untyped-def]
    """Return the offset of the extremum of the quadratic through a maximum's neighbours: x, y [px], float32.

    The 2 x 2 system is solved in float64, as in OpenCV; the offset of a singular system is 0.
    """
    v = det[here, j]
    gx = _HALF * (det[here, j + _ONE] - det[here, j - _ONE])
    gy = _HALF * (det[below, j] - det[above, j])
    xx = det[here, j + _ONE] + det[here, j - _ONE] - _TWO * v
    yy = det[below, j] + det[above, j] - _TWO * v
    xy = _QUARTER * (det[below, j + _ONE] + det[above, j - _ONE] - det[above, j + _ONE] - det[below, j - _ONE])
    determinant = np.float64(xx) * np.float64(yy) - np.float64(xy) * np.float64(xy)
    if determinant == 0.0:
        return np.float32(0.0), np.float32(0.0)
    inverse = 1.0 / determinant
    x = (np.float64(gy) * np.float64(xy) - np.float64(gx) * np.float64(yy)) * inverse
    y = (np.float64(gx) * np.float64(xy) - np.float64(gy) * np.float64(xx)) * inverse
    return np.float32(x), np.float32(y)


@njit(nogil=True, error_model="numpy")
def _mark(det, above, here, below, start, stop, threshold, marks):  # type: ignore[no-untyped-def]
    """Mark strict 3 x 3 maxima above the threshold in a range of columns: one byte each, without branches."""
    for j in range(start, stop):
        left, right = j - _ONE, j + _ONE
        v = det[here, j]
        marks[j - start] = (
            (v > threshold)
            & (v > det[here, left])
            & (v > det[here, right])
            & (v > det[above, left])
            & (v > det[above, j])
            & (v > det[above, right])
            & (v > det[below, left])
            & (v > det[below, j])
            & (v > det[below, right])
        )


@njit(nogil=True, error_model="numpy")
def _scan_row(det, above, here, below, w, threshold, row, x0, found, position, shape, marks):  # type: ignore[no-untyped-def]
    """Append the strict maxima of one row above the threshold; keep counting after the arrays are full."""
    capacity = len(shape)
    octets = octets_of(marks)
    for start in range(_ONE, w - _ONE, _BLOCK):
        stop = min(start + _BLOCK, w - _ONE)
        above_threshold = 0
        for j in range(start, stop):
            above_threshold += det[here, j] > threshold
        if above_threshold == 0:
            continue
        for octet in range(len(octets)):
            octets[octet] = _NONE
        _mark(det, above, here, below, start, stop, threshold, marks)
        for octet in range(len(octets)):
            if octets[octet] == 0:
                continue
            for k in range(8 * octet, 8 * octet + 8):
                if marks[k] == 0:
                    continue
                if found < capacity:
                    at = start + np.uint64(k)
                    position[found, 0] = row
                    position[found, 1] = np.int64(x0) + np.int64(at) - 1
                    x, y = _refine(det, above, here, below, at)
                    shape[found, 0] = det[here, at]
                    shape[found, 1] = x
                    shape[found, 2] = y
                found += 1
    return found


@njit(
    "(f4[:,::1], f4[:,::1], i8, i8, i8, i8, i8, f4, f4, f4, f4[:,::1], i4[:,::1], f4[:,::1])",
    nogil=True,
    error_model="numpy",
)
def detect(dx, dy, y0, y1, x0, x1, radius, centre, corner, threshold, det, position, shape):  # type: ignore[no-untyped-def]
    """Find the strict 3 x 3 maxima of the Hessian's determinant in rows [y0, y1), columns [x0, x1).

    The determinant is stored in `det`, `RING` scratch rows, never as a plane. Positions are in window pixels, in
    row-major order.

    Returns
    -------
    int
        Number of maxima found. ``position`` (row, column) and ``shape`` (determinant, x and y offset) contain the first
        ``len(shape)`` of them; if more were found, call again with longer arrays.
    """
    found = _NOTHING
    if y1 <= y0 or x1 <= x0:
        return found
    scale = np.float32(radius * radius * radius * radius)
    first = np.uint64(x0 - 1)
    w = np.uint64(x1 - x0 + 2)
    marks = zeros(_FLAGS, np.uint8)
    for i in range(y0 - 1, y1 + 1):
        _determinant_row(dx, dy, PAD + i, radius, det, i & 3, first, w, centre, corner, scale)
        here = i - 1
        if here >= y0:
            found = _scan_row(
                det, (here - 1) & 3, here & 3, i & 3, w, threshold, here, x0, found, position, shape, marks
            )
    return found
